"""A record of the files that a preparation read, so that a changed input is noticed."""

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sadetr.data.parallel import in_parallel
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, TokenFiles

FILE = "sources.json"
"""Name of the record in a feature store."""


class Change(NamedTuple):
    """One input that is not what it was."""

    file: str
    """Relative to the data root."""
    kind: Literal["changed", "removed", "added"]


def input_files(dataset: DatasetSettings, vids: Iterable[str], qids: Iterable[int | str]) -> list[str]:
    """What a preparation reads, relative to the data root."""
    features = f"features/{dataset.name}"
    files = annotation_files(dataset)
    for stream in dataset.video_streams:
        files += [f"{features}/{stream.directory}/{vid}{stream.suffix}" for vid in vids]
    text = dataset.text_stream
    if isinstance(text, TokenFiles):
        return files + [f"{features}/{text.directory}/{text.prefix}{qid}.npz" for qid in qids]
    return [*files, f"{features}/{text.file}"]


def annotation_files(dataset: DatasetSettings) -> list[str]:
    """The part of it that holds the annotations."""
    return [f"annotations/{dataset.annotations_in}/{name}" for name in dataset.annotations.values()]


def record(root: Path, files: Iterable[str]) -> dict[str, dict[str, Any]]:
    """File, relative to the data root -> size and SHA-256.

    Raises:
        DataError: a file cannot be read.
    """
    names = sorted(files)
    found = in_parallel(lambda name: _entry(root / name), names, "checksums")
    return dict(zip(names, found, strict=True))


def as_text(entries: dict[str, dict[str, Any]]) -> str:
    """The record as the content of a file, one line per input."""
    lines = ",\n".join(f"{json.dumps(name)}: {json.dumps(entry)}" for name, entry in entries.items())
    return f"{{\n{lines}\n}}\n"


def read(path: Path) -> dict[str, dict[str, Any]]:
    """Read a record.

    Raises:
        DataError: it is missing or damaged.
    """
    try:
        entries = json.loads(path.read_text(encoding="utf-8"))
        if all({"bytes", "sha256"} <= entry.keys() for entry in entries.values()):
            return entries
        reason = "an entry lacks its size or checksum"
    except (OSError, ValueError, AttributeError) as error:
        reason = str(error)
    raise DataError(f"{path}: record of the prepared files cannot be read ({reason}). Run `prepare` again.")


def changed(
    entries: dict[str, dict[str, Any]], root: Path, present: Iterable[str] = (), sizes_only: bool = False
) -> list[Change]:
    """What differs from the record: sizes first, then content.

    Args:
        entries: the record.
        root: the data root.
        present: files that a preparation would read now; those without an entry count as added.
        sizes_only: do not read the files.
    """
    kinds = in_parallel(lambda name: _difference(root / name, entries[name], sizes_only), list(entries), "checksums")
    changes = [Change(name, kind) for name, kind in zip(entries, kinds, strict=True) if kind is not None]
    return changes + [Change(name, "added") for name in sorted(set(present) - set(entries))]


def _difference(file: Path, entry: dict[str, Any], sizes_only: bool) -> Literal["changed", "removed"] | None:
    if not file.is_file():
        return "removed"
    if file.stat().st_size != entry["bytes"]:
        return "changed"
    return "changed" if not sizes_only and sha256(file) != entry["sha256"] else None


def _entry(file: Path) -> dict[str, Any]:
    try:
        return {"bytes": file.stat().st_size, "sha256": sha256(file)}
    except OSError as error:
        raise DataError(f"{file}: cannot be read ({error.strerror}). Check the data root.") from error


def sha256(file: Path) -> str:
    """SHA-256 of a file's content as hexadecimal digits."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
