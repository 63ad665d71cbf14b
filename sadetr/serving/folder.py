"""The folder that holds uploaded files while a server runs."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from sadetr.errors import ResultsError
from sadetr.files import locked, remove_unless_in_use


@contextlib.contextmanager
def upload_folder(parent: Path | None = None) -> Iterator[Path]:
    """Yield a new folder that only this user can read, and remove it in the end.

    What servers left that were killed is removed first.

    Args:
        parent: None: the system's folder of temporary files (``TMPDIR``).

    Raises:
        ResultsError: it cannot be made.
    """
    parent = parent or Path(tempfile.gettempdir())
    prefix = f"sadetr-serve-{os.getuid()}-"
    for leftover in parent.glob(f"{prefix}*"):
        if not leftover.is_symlink() and leftover.stat().st_uid == os.getuid():
            remove_unless_in_use(leftover)
    try:
        folder = Path(tempfile.mkdtemp(prefix=prefix, dir=parent))
    except OSError as error:
        raise ResultsError(
            f"{parent}: no folder for uploads can be made there ({error.strerror}); name another one with TMPDIR=DIR"
        ) from error
    try:
        with locked(folder):
            yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
