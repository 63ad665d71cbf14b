"""One device per training: a free GPU is claimed with a file lock and kept until the training ends."""

import contextlib
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import filelock
import torch

from sadetr.errors import SettingsError

POLL_SECONDS = 5.0


@contextlib.contextmanager
def claimed_device(requested: str, lock_folder: Path | None = None) -> Iterator[torch.device]:
    """Yield the device to train on; waits until a visible GPU is free.

    Args:
        requested: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        lock_folder: where the locks of this machine's GPUs lie; all trainings must share it.

    Raises:
        SettingsError: ``cuda`` was requested and none is visible.
    """
    if requested == "cuda" and not torch.cuda.is_available():
        raise SettingsError("execution.device is 'cuda', but torch sees no GPU here: use 'auto' or 'cpu'")
    if requested == "cpu" or not torch.cuda.is_available():
        yield torch.device("cpu")
        return
    lock, index = _first_free(lock_folder or Path(tempfile.gettempdir()) / f"sadetr-gpus-{os.getuid()}")
    try:
        torch.cuda.set_device(index)
        yield torch.device("cuda", index)
    finally:
        lock.release()


def _first_free(folder: Path) -> tuple[filelock.FileLock, int]:
    """Hold the lock of the first free GPU. Locks are named by UUID, as the same GPU has other indices elsewhere."""
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for index in range(torch.cuda.device_count()):
            lock = filelock.FileLock(folder / f"{torch.cuda.get_device_properties(index).uuid}.lock")
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0)
                return lock, index
        if not waiting:
            print("every visible GPU is in use by another training; waiting", flush=True)
            waiting = True
        time.sleep(POLL_SECONDS)


def device_name(device: torch.device) -> str:
    """Name of the hardware, for the provenance of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
