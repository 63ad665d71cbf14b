"""How far a training is, as a small file in its run folder that others can read while it runs. Free of torch.

The file decides nothing: a training continues from its state, and no fingerprint, checksum or rule knows of it.
"""

import fcntl
import json
import os
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from sadetr.files import atomic_path

FILE = "progress.json"
"""Name in the run folder; there as long as the training is not finished."""
LOCK = ".lock"
"""File in the run folder that a training holds a lock of the operating system on while it is alive."""


@dataclass(frozen=True)
class Progress:
    """What a training has reached."""

    epoch: int
    """Finished epochs."""
    epochs: int
    """That it will have finished at its end."""
    seconds: float
    """That its finished epochs took, those before an interruption included."""
    metric: str
    """What its best epoch is selected by, with the split: ``val mAP``."""
    best: float | None
    """Highest value of it so far, in percent; None before the first validation."""
    device: str
    machine: str
    time: float
    """When this was written, in seconds since the epoch of the clock."""

    def left(self, now: float | None = None) -> float | None:
        """Seconds until the last epoch ends, at the speed of the finished ones; None before the first has ended.

        Args:
            now: time to count from, in seconds since the epoch of the clock; default: the present.
        """
        if not self.epoch:
            return None
        since = (time.time() if now is None else now) - self.time
        mean = self.seconds / self.epoch
        # An epoch that takes longer than usual is about to end; it does not end the others sooner.
        return max(0.0, (self.epochs - self.epoch) * mean - min(max(since, 0.0), mean))


def write(folder: Path, progress: Progress) -> None:
    """Write the progress of the training of a run folder in one step.

    Raises:
        ResultsError: the folder cannot be written.
    """
    # Not synchronised to the disk: after a crash of the machine nobody misses it.
    with atomic_path(folder / FILE) as temporary:
        temporary.write_text(json.dumps(asdict(progress)) + "\n", encoding="utf-8")


def read(folder: Path) -> Progress | None:
    """The progress of an unfinished training; None where there is none that can be read."""
    try:
        return Progress(**json.loads((folder / FILE).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None


def remove(folder: Path) -> None:
    """The training is finished."""
    (folder / FILE).unlink(missing_ok=True)


def is_alive(folder: Path) -> bool:
    """Whether a process is training in a run folder; one on another machine may go unseen."""
    try:
        descriptor = os.open(folder / LOCK, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:
        # A file system without locks.
        return False
    else:
        return False
    finally:
        os.close(descriptor)


def duration(seconds: float) -> str:
    """A length of time as people say it: ``40 s``, ``12 min``, ``1 h 05 min``, ``2 d 03 h``."""
    whole = round(seconds)
    if whole < 90:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 60:
        return f"{minutes} min"
    hours = minutes // 60
    return f"{hours} h {minutes % 60:02} min" if hours < 48 else f"{hours // 24} d {hours % 24:02} h"
