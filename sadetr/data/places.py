"""Feature files by the names that annotations give: what may be a name, and which files are there."""

import os
from collections.abc import Iterable
from pathlib import Path, PurePosixPath

from sadetr.data.annotations import Query
from sadetr.errors import DataError


def name_fault(name: str) -> str | None:
    """Why ``name``, a vid or qid that may hold folders (``part1/x``), names no file below a feature folder."""
    path = PurePosixPath(name)
    if not name or "\0" in name:
        return "names no file"
    if path.is_absolute():
        return "is an absolute path; write it relative to the stream's folder"
    if ".." in path.parts:
        return "leaves the stream's folder; write it without '..'"
    if str(path) != name:
        return f"is not written as files are found; write {str(path)!r}"
    return None


def check_names(queries: Iterable[Query]) -> None:
    """Refuse names that lead out of the feature folders.

    Raises:
        DataError: the first one, with the qid of its row.
    """
    for query in queries:
        for field, name in (("vid", query.vid), ("qid", str(query.qid))):
            if fault := name_fault(name):
                raise DataError(f"annotations: qid {query.qid!r}: {field} {name!r} {fault}")


def present(folder: Path, names: Iterable[str]) -> set[str]:
    """Names of all that lies in ``folder`` and in those of its subfolders that occur in ``names``, relative to it.

    Raises:
        OSError: ``folder`` cannot be listed; a missing subfolder holds nothing.
    """
    found = {entry.name for entry in os.scandir(folder)}
    for inner in sorted({parent for name in names if (parent := name.rpartition("/")[0])}):
        if (folder / inner).is_dir():
            found.update(f"{inner}/{entry.name}" for entry in os.scandir(folder / inner))
    return found


def spelled_otherwise(name: str) -> str:
    """A hint for a missing file whose name looks as written on Windows; '' for all others."""
    return f" Its name holds backslashes: for files in folders write {name.replace(chr(92), '/')!r}." * ("\\" in name)
