"""Writing files so that a reader never sees half of one."""

import contextlib
import os
import secrets
from collections.abc import Iterator
from pathlib import Path

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
        # Errors about other files (an input that vanished, say) are not ours to explain.
        if error.filename is not None and Path(error.filename).parent != path.parent:
            raise
        raise ResultsError(
            f"{path}: cannot be written ({error.strerror or error}). Check that the folder is writable and the disk "
            "has room, then run the same command again; nothing was left half-written."
        ) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def atomic_write_bytes(path: Path | str, data: bytes) -> None:
    """Write ``data`` to ``path`` in one step, durable once this returns."""
    with atomic_path(path) as temporary, open(temporary, "wb") as stream:
        stream.write(data)
        stream.flush()
        os.fsync(stream.fileno())


def atomic_write_text(path: Path | str, text: str) -> None:
    """Write ``text`` as UTF-8 to ``path`` in one step."""
    atomic_write_bytes(path, text.encode("utf-8"))
