"""The record ``extraction.json`` beside feature files that were made here: by what, from what, and their checksums.

A folder of a stream holds extracted files or downloaded ones. Where the record lies, every file must be in it.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sadetr.errors import DataError
from sadetr.files import atomic_write_text

FILE = "extraction.json"
JOURNAL = ".extraction.jsonl"
"""Files since the record was written, a line each."""


@dataclass
class Extraction:
    """A record.

    Attributes:
        made_with: weights, sampling and whatever else decides on the content of all files.
        files: by path relative to the folder: checksum, rows, and what is known about the source.
        failed: vid or qid -> why it has no file.
    """

    made_with: dict[str, Any]
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    failed: dict[str, str] = field(default_factory=dict)

    def write(self, folder: Path) -> None:
        """Put it beside its files.

        Raises:
            ResultsError: it cannot be written.
        """
        lines = ",\n".join(f"  {_json(name)}: {_json(entry)}" for name, entry in sorted(self.files.items()))
        failed = ",\n".join(f"  {_json(name)}: {_json(why)}" for name, why in sorted(self.failed.items()))
        text = f'{{"made_with": {_json(self.made_with)},\n"files": {{\n{lines}\n}},\n"failed": {{\n{failed}\n}}}}\n'
        atomic_write_text(folder / FILE, text)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def read(folder: Path) -> Extraction | None:
    """The record of a folder; None where there is none: its files come from elsewhere.

    Raises:
        DataError: it is damaged.
    """
    path = folder / FILE
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = {name: dict(entry) for name, entry in record["files"].items()}
        extraction = Extraction(dict(record["made_with"]), files, dict(record["failed"]))
        if not all(isinstance(entry.get("sha256"), str) for entry in files.values()):
            raise ValueError("a file has no checksum")
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DataError(
            f"{path}: the record of extracted features cannot be read ({type(error).__name__}: {error}). Put it back, "
            "or move the folder away and extract again."
        ) from error
    return extraction


def check_listed(folder: Path, names: Iterable[str]) -> Extraction | None:
    """Refuse a folder of which only some files were extracted; returns its record.

    Raises:
        DataError: names the first file that is not in the record.
    """
    extraction = read(folder)
    strangers = [] if extraction is None else [name for name in names if name not in extraction.files]
    if strangers:
        why = (
            "its extraction was not finished: run it again"
            if (folder / JOURNAL).exists()
            else "it comes from elsewhere"
        )
        raise DataError(
            f"{folder / strangers[0]}: is not in {FILE} ({len(strangers):,} files are not): {why}. Extracted and "
            "downloaded features of one stream do not mix: their numbers differ."
        )
    return extraction


def check_unchanged(folder: Path, extraction: Extraction, sums: Mapping[str, str]) -> None:
    """Refuse files that are not the extracted ones any more.

    Args:
        folder: of the stream.
        extraction: its record.
        sums: file, relative to the folder -> SHA-256.

    Raises:
        DataError: names the first of them.
    """
    changed = [name for name, found in sums.items() if found != extraction.files[name]["sha256"]]
    if changed:
        raise DataError(
            f"{folder / changed[0]}: is not the file that {FILE} lists ({len(changed):,} such files). Extracted and "
            "downloaded features of one stream do not mix: delete it and extract again, or move the folder away."
        )
