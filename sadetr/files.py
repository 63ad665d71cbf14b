"""Writing files so that a reader never sees half of one."""

import contextlib
import fcntl
import glob
import itertools
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NoReturn

from sadetr.errors import ResultsError


@contextlib.contextmanager
def atomic_path(path: Path | str) -> Iterator[Path]:
    """Yield a temporary path beside ``path``; rename it to ``path`` on success, remove it on failure.

    Raises:
        ResultsError: the folder cannot be created or written (read-only, full, not a folder).
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        os.replace(temporary, path)
    except OSError as error:
        raise_unwritable(path, error)
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def synchronise(path: Path) -> None:
    """Wait until what was written to a file is on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def remove_leftovers(paths: Iterable[Path]) -> None:
    """Remove what killed writers of ``paths``, which nobody else may be writing, left beside them."""
    for leftover in itertools.chain.from_iterable(map(_temporaries, paths)):
        if leftover.is_dir():
            shutil.rmtree(leftover, ignore_errors=True)
        else:
            leftover.unlink(missing_ok=True)


def _temporaries(path: Path) -> list[Path]:
    """What is being written to become ``path``, or was when its writer was killed."""
    return sorted(path.parent.glob(f".{glob.escape(path.name)}.*.tmp"))


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step, durable once this returns."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` in one step."""
    atomic_write_bytes(path, text.encode("utf-8"))


@contextlib.contextmanager
def atomic_folder(path: Path | str, marker: str) -> Iterator[Path]:
    """Yield a temporary folder beside ``path``; rename it to ``path`` on success, remove it on failure.

    An existing folder is replaced only if it is empty or contains the file ``marker``, that is, if an earlier run of
    the same step made it. What a killed run left behind is removed by the next one.

    Raises:
        ResultsError: the folder cannot be written, or something else already lies there.
    """
    path = Path(path)
    stem = f".{path.name}.{secrets.token_hex(4)}"
    temporary, replaced = path.with_name(f"{stem}.tmp"), path.with_name(f"{stem}.old.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.exists() and not ((path / marker).is_file() or (path.is_dir() and not any(path.iterdir()))):
            raise ResultsError(
                f"{path}: already exists and holds no {marker}, so it is not an earlier output of this step and is not "
                "overwritten. Choose another folder, or move this one away."
            )
        for leftover in _temporaries(path):
            remove_unless_in_use(leftover)
        temporary.mkdir()
        with locked(temporary):
            yield temporary
            if path.exists():
                path.rename(replaced)
            temporary.rename(path)
    except OSError as error:
        raise_unwritable(path, error)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold a lock on ``folder`` that disappears with the process, however it ends.

    Raises:
        BlockingIOError: another process holds it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    finally:
        os.close(descriptor)


def remove_unless_in_use(folder: Path) -> None:
    """Remove what a killed process left; a folder that another one has :func:`locked` stays."""
    with contextlib.suppress(OSError), locked(folder):
        shutil.rmtree(folder, ignore_errors=True)


def raise_unwritable(path: Path, error: OSError) -> NoReturn:
    """Explain a failure to write ``path``; an error about another file (an input that vanished, say) goes on as it is.

    Raises:
        ResultsError: ``path``, a parent or a sibling could not be written.
    """
    named = path if error.filename is None else Path(error.filename)
    if named not in path.parents and path.parent not in named.parents:
        raise error
    raise ResultsError(
        f"{path}: cannot be written ({error.strerror or error}). Check that the folder is writable and the disk "
        "has room, then run the same command again; nothing was left half-written."
    ) from error
