"""A device per training: a slot of a GPU is claimed with a file lock and kept until the training ends."""

import contextlib
import itertools
import os
import platform
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import torch

from sadetr.errors import SettingsError
from sadetr.files import raise_unwritable

POLL_SECONDS = 5.0
MIB = 2**20
RESERVE_MIB = 8192
"""GPU memory that features leave to a training whose need is not checked: three times as much as the hungriest method
has resident on a processor at QVHighlights' size (``benchmarks/results/training_step.cpu.jsonl``)."""


@dataclass(frozen=True)
class Share:
    """How much of a GPU a training takes."""

    runs: int = 1
    """Trainings that a GPU has slots for; all that run on a machine at a time must agree on it."""
    need_mib: float | None = None
    """GPU memory that the training needs beside its features; None where that is not known, and not checked."""
    features_mib: float = 0.0
    """What its features take, which lie on the GPU if there is room for them."""
    reserve_mib: float = RESERVE_MIB
    """What they leave free where no need is checked."""


WHOLE = Share()


@dataclass(frozen=True)
class Claim:
    """Where a training runs."""

    device: torch.device
    slot: int | None = None
    """Of the GPU, from 0; None on a processor."""
    runs_per_gpu: int | None = None
    """Slots that the GPU has."""
    features_mib: float = 0.0
    """GPU memory for features: of the slot's part, what is free and not needed otherwise."""


@contextlib.contextmanager
def claimed_device(
    requested: str, lock_folder: Path | None = None, allotted: int = 0, option: str = "execution.device"
) -> Iterator[torch.device]:
    """Yield a device with nobody else on its slot; as :func:`claimed` for a whole one."""
    with claimed(requested, lock_folder, allotted, option=option) as claim:
        yield claim.device


@contextlib.contextmanager
def claimed(
    requested: str,
    lock_folder: Path | None = None,
    allotted: int = 0,
    share: Share = WHOLE,
    option: str = "execution.device",
) -> Iterator[Claim]:
    """Yield the device to compute on; waits until a slot of a visible GPU is free.

    Args:
        requested: ``auto`` (a GPU if there is one), ``cpu`` or ``cuda``.
        lock_folder: where the locks of this machine's GPUs lie; all jobs must share it.
        allotted: GPUs that the job was given: with any, ``auto`` does not fall back to the CPU.
        share: slots of a GPU, the memory that must be free on it, and that of features.
        option: where a user says which device.

    Raises:
        SettingsError: ``cuda`` was requested or a GPU allotted, and torch sees none; or too little memory is free.
        ResultsError: ``lock_folder`` cannot be written.
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
        yield Claim(torch.device("cpu"))
        return
    folder = lock_folder or Path(tempfile.gettempdir()) / f"sadetr-gpus-{os.getuid()}"
    try:
        lock, index, slot = _first_free(folder, share.runs)
    except OSError as error:
        raise_unwritable(folder, error)
    try:
        torch.cuda.set_device(index)
        # One after another: whoever looks at the free memory must see what those before it are going to use.
        with filelock.FileLock(folder / f"{_uuid(index)}.memory"):
            features_mib = _take_memory(index, share)
        yield Claim(torch.device("cuda", index), slot, share.runs, features_mib)
    finally:
        lock.release()


def _first_free(folder: Path, slots: int) -> tuple[filelock.FileLock, int, int]:
    """Hold the lock of the first free slot: of every GPU the first, then of every GPU the second.

    Locks are named by UUID, as the same GPU has other indices elsewhere.
    """
    folder.mkdir(parents=True, exist_ok=True)
    waiting = False
    while True:
        for slot, index in itertools.product(range(slots), range(torch.cuda.device_count())):
            lock = filelock.FileLock(folder / f"{_uuid(index)}{f'.{slot}' if slot else ''}.lock")
            with contextlib.suppress(filelock.Timeout):
                lock.acquire(timeout=0)
                return lock, index, slot
        if not waiting:
            print("every visible GPU is in use by another job; waiting", flush=True)
            waiting = True
        time.sleep(POLL_SECONDS)


def _uuid(index: int) -> str:
    return str(torch.cuda.get_device_properties(index).uuid)


def _take_memory(index: int, share: Share) -> float:
    """MiB of a GPU that features may take; occupies what is needed, theirs included, where others share the GPU.

    Raises:
        SettingsError: too little memory is free.
    """
    if share.need_mib is None and share.runs > 1:
        print("how much GPU memory this training needs is neither recorded nor stated: not checked", flush=True)
    if share.need_mib is None and not share.features_mib:
        return 0.0
    free, total = (size / MIB for size in torch.cuda.mem_get_info(index))
    if share.need_mib is not None and share.need_mib > free:
        raise SettingsError(
            f"GPU {index} has {free:,.0f} of {total:,.0f} MiB free, and this training needs {share.need_mib:,.0f}; "
            "lower runs_per_gpu, wait for what else runs there, or state another need with --gpu-memory (Snakemake: "
            "--config gpu_memory=MIB)"
        )
    # Whoever comes first takes no more than an equal part, so that all runs find what they need.
    room = min(free, total / share.runs) - (share.reserve_mib if share.need_mib is None else share.need_mib)
    taken = (share.need_mib or 0) + (share.features_mib if share.features_mib <= room else 0)
    if share.runs > 1 and taken:
        occupy(index, int(taken * MIB))
    return room


def occupy(index: int, size: int) -> None:
    """Let torch's allocator take ``size`` bytes of a GPU, which it keeps for what this process computes later."""
    torch.empty(size, dtype=torch.uint8, device=torch.device("cuda", index))
    torch.cuda.reset_peak_memory_stats(index)


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
