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
def claimed_device(
    requested: str, lock_folder: Path | None = None, allotted: int = 0, option: str = "execution.device"
) -> Iterator[torch.device]:
    """Yield the device to compute on; waits until a visible GPU is free.

    Args:
        requested: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        lock_folder: where the locks of this machine's GPUs lie; all jobs must share it.
        allotted: GPUs that the job was given: with any, ``auto`` does not fall back to the CPU.
        option: where a user says which device.

    Raises:
        SettingsError: ``cuda`` was requested or a GPU allotted, and torch sees none.
    """
    if requested != "cpu" and not torch.cuda.is_available():
        if requested == "cuda" or allotted:
            given = "and this job was given a GPU, " if allotted else ""
            raise SettingsError(
                f"{option} is {requested!r}, {given}but {_why_no_gpu()}; set {option} to 'cpu', or install a build of "
                "torch with CUDA that fits the driver"
            )
        print(f"{option} is 'auto' and {_why_no_gpu()}: computing on the CPU", flush=True)
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
            print("every visible GPU is in use by another job; waiting", flush=True)
            waiting = True
        time.sleep(POLL_SECONDS)


def _why_no_gpu() -> str:
    """What is known about why torch sees none."""
    if torch.version.cuda is None:
        return f"torch sees no GPU (torch {torch.__version__} is a build without CUDA)"
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    hint = "" if visible is None else f", CUDA_VISIBLE_DEVICES is {visible!r}"
    return f"torch sees no GPU (torch {torch.__version__} is built for CUDA {torch.version.cuda}{hint})"


def device_name(device: torch.device) -> str:
    """Name of the hardware, for the provenance of a run."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    return f"cpu ({platform.machine()}, {torch.get_num_threads()} threads)"
