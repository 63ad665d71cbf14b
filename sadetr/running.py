"""Which Snakemake processes are alive in a working folder, so that a killed one blocks nobody.

Snakemake's own locks name files, not processes: after ``kill -9`` it cannot know that nobody holds them and asks for
``--unlock``. Here every process that may hold such locks also holds a lock of the operating system, which disappears
with the process however it ends. Whoever finds itself alone may remove what dead processes left.
"""

import fcntl
import os
import platform
import sys
from pathlib import Path

_held: dict[Path, int] = {}
"""Descriptor of the lock by working folder: kept until the process ends."""


def register(folder: Path) -> None:
    """Hold this process's lock on Snakemake's folder until it ends; first remove locks that dead processes left.

    Locks are left alone where another process is alive, or where one of another machine may be: a lock of the
    operating system need not be visible across a network file system. Without support for such locks nothing happens.

    Args:
        folder: ``.snakemake`` of the working folder.
    """
    folder = folder.resolve()
    if folder in _held:
        return
    try:
        folder.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(folder / "running", os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        _held[folder] = descriptor
        if _alone(descriptor):
            _remove_stale(folder / "locks", descriptor)
            _add_machine(descriptor)
            fcntl.flock(descriptor, fcntl.LOCK_SH)
        else:
            fcntl.flock(descriptor, fcntl.LOCK_SH)
            _add_machine(descriptor)
    except OSError:
        # A file system without locks, or a read-only one: Snakemake's own message remains.
        return


def _alone(descriptor: int) -> bool:
    """Whether no other process holds the lock; if so, this one holds it alone."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _remove_stale(locks: Path, descriptor: int) -> None:
    stale = sorted(locks.glob("*.lock"))
    # The file lists the machines that have run Snakemake here since there were no locks.
    if stale and _machines(descriptor) != {platform.node()}:
        return
    for path in stale:
        path.unlink(missing_ok=True)
    if stale:
        print(f"{locks}: removed the locks of a Snakemake that was killed", file=sys.stderr)
    os.ftruncate(descriptor, 0)


def _machines(descriptor: int) -> set[str]:
    return set(os.pread(descriptor, os.fstat(descriptor).st_size, 0).decode().split("\n")) - {""}


def _add_machine(descriptor: int) -> None:
    if platform.node() not in _machines(descriptor):
        os.write(descriptor, f"{platform.node()}\n".encode())
