"""Feature files of one stream: made in parallel, each in one step, and continued where an earlier run stopped.

A file's record is durable before the file appears, so that whatever lies in the folder without a record comes from
elsewhere, however a run ended.
"""

import contextlib
import hashlib
import io
import json
import os
import re
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

import filelock
import numpy as np
from numpy.typing import NDArray

from sadetr.data import extracted
from sadetr.data.extracted import Extraction
from sadetr.errors import DataError, ResultsError
from sadetr.extraction.progress import Progress
from sadetr.files import atomic_write_bytes, raise_unwritable

LOCK = ".extraction.lock"
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}\.tmp")


@dataclass(frozen=True)
class Made:
    """The content of a feature file."""

    arrays: Mapping[str, NDArray] | NDArray
    """By key, for an ``.npz`` archive; or the array that is an ``.npy`` file."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What the record says about it beside checksum and rows."""


@dataclass(frozen=True)
class Item:
    """A file to be made."""

    name: str
    """Of the video or query."""
    file: str
    """Relative to the stream's folder."""
    make: Callable[[], Made]
    """Raises DataError where the item itself is at fault."""


@dataclass
class Outcome:
    """What became of a stream's items."""

    folder: Path
    made: int = 0
    kept: int = 0
    failed: dict[str, str] = field(default_factory=dict)
    """Video or query -> why it has no file."""
    remarked: int = 0
    """Files with warnings in their record."""


def make_files(folder: Path, made_with: Mapping[str, Any], items: Sequence[Item], what: str, workers: int) -> Outcome:
    """Make every file that is not there yet.

    Args:
        folder: of the stream.
        made_with: what decides on the content of all files; an earlier run must have had the same.
        items: all files that belong there.
        what: name of the stream, for the progress bar.
        workers: items at the same time.

    Raises:
        DataError: the folder holds files from elsewhere, or files that were made with something else.
        ResultsError: it cannot be written, or another extraction is at work in it.
    """
    with _alone(folder):
        _refuse_strangers(folder, items)
        extraction = _continued(folder, dict(made_with))
        pending = [item for item in items if not (folder / item.file).exists()]
        outcome = Outcome(folder, kept=len(items) - len(pending))
        with _Keeper(folder, extraction) as keeper, Progress(what, len(pending)) as progress:
            _make_all(pending, workers, keeper, outcome, progress)
        extraction.failed = outcome.failed
        _fold(folder, extraction)
    return outcome


def _make_all(pending: Sequence[Item], workers: int, keeper: "_Keeper", outcome: Outcome, progress: Progress) -> None:
    with ThreadPoolExecutor(workers) as pool:
        try:
            started = {pool.submit(_make, item, keeper): item for item in pending}
            for done in as_completed(started):
                item = started[done]
                try:
                    warnings = done.result()
                except DataError as error:
                    outcome.failed[item.name] = str(error)
                    progress.say(f"failed: {item.name}: {error}")
                else:
                    outcome.made += 1
                    outcome.remarked += bool(warnings)
                    for warning in warnings:
                        progress.say(f"warning: {item.name}: {warning}")
                progress.advance()
        except BaseException:
            # What is at work ends; nothing more begins.
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def _make(item: Item, keeper: "_Keeper") -> list[str]:
    made = item.make()
    keeper.keep(item, made)
    return made.details.get("warnings", [])


class _Keeper:
    """Writes files and their records; a context manager."""

    def __init__(self, folder: Path, extraction: Extraction):
        self._folder = folder
        self._extraction = extraction
        self._lock = threading.Lock()
        self._journal: IO[str] | None = None

    def __enter__(self) -> "_Keeper":
        path = self._folder / extracted.JOURNAL
        with _writing(path):
            self._journal = open(path, "a", encoding="utf-8")
        return self

    def __exit__(self, *exception: object) -> None:
        # After a failed write (disk full) closing tries to flush again; the first error is the one to report.
        with contextlib.suppress(OSError):
            self._journal.close()

    def keep(self, item: Item, made: Made) -> None:
        """Write one file.

        Raises:
            ResultsError: it cannot be written.
        """
        content = _content(made.arrays)
        first = made.arrays if isinstance(made.arrays, np.ndarray) else next(iter(made.arrays.values()))
        entry = {"sha256": hashlib.sha256(content).hexdigest(), "rows": len(first), **made.details}
        with self._lock, _writing(self._folder / extracted.JOURNAL):
            self._journal.write(json.dumps({item.file: entry}, ensure_ascii=False) + "\n")
            self._journal.flush()
            os.fsync(self._journal.fileno())
            self._extraction.files[item.file] = entry
        atomic_write_bytes(self._folder / item.file, content)


def _content(arrays: Mapping[str, NDArray] | NDArray) -> bytes:
    """Bytes of an uncompressed archive or of a bare array; the same for the same numbers, whenever it is."""
    content = io.BytesIO()
    if isinstance(arrays, np.ndarray):
        np.save(content, arrays)
    else:
        np.savez(content, **arrays)
    return content.getvalue()


@contextlib.contextmanager
def _writing(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise_unwritable(path, error)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """Hold the folder for this process, without what a killed one left half written."""
    lock = filelock.FileLock(folder / LOCK)
    with _writing(folder / LOCK):
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock.acquire(timeout=0)
        except filelock.Timeout as error:
            raise ResultsError(f"{folder}: another extraction is at work here; wait for it, or stop it.") from error
    try:
        with _writing(folder):
            for file in folder.rglob(".*.tmp"):
                if _TEMPORARY.fullmatch(file.name):
                    file.unlink(missing_ok=True)
        yield
    finally:
        lock.release()


def _refuse_strangers(folder: Path, items: Iterable[Item]) -> None:
    extraction = extracted.read(folder)
    known = {**({} if extraction is None else extraction.files), **_journalled(folder)}
    strangers = [item.file for item in items if item.file not in known and (folder / item.file).exists()]
    if strangers:
        raise DataError(
            f"{folder / strangers[0]}: was not extracted here ({len(strangers):,} such files), and extracted features "
            "do not mix with others. Move the folder away and run the same command again."
        )


def _continued(folder: Path, made_with: dict[str, Any]) -> Extraction:
    """The record of earlier runs with what they did not come to fold in; a new one where there is none."""
    extraction = extracted.read(folder)
    if extraction is None:
        extraction = Extraction(made_with)
    elif other := [
        key
        for key in {**extraction.made_with, **made_with}
        if _identity(extraction.made_with.get(key)) != _identity(made_with.get(key))
    ]:
        raise DataError(
            f"{folder / extracted.FILE}: the files here were made with {extraction.made_with.get(other[0])!r} as "
            f"{other[0]!r}, and now it is {made_with.get(other[0])!r}. Move the folder away, or use the same again."
        )
    extraction.files |= _journalled(folder)
    # A run that ended between the record of a file and the file left the record alone.
    extraction.files = {file: entry for file, entry in extraction.files.items() if (folder / file).exists()}
    _fold(folder, extraction)
    return extraction


def _identity(value: Any) -> Any:
    """What decides on the files' content: of weights their checksum, whatever the file is called."""
    return value["sha256"] if isinstance(value, dict) and "sha256" in value else value


def _fold(folder: Path, extraction: Extraction) -> None:
    extraction.write(folder)
    with _writing(folder / extracted.JOURNAL):
        (folder / extracted.JOURNAL).unlink(missing_ok=True)


def _journalled(folder: Path) -> dict[str, dict[str, Any]]:
    """Files that a run recorded before it was stopped; its last line may be half written."""
    try:
        lines = (folder / extracted.JOURNAL).read_text(encoding="utf-8", errors="replace").splitlines()
    except FileNotFoundError:
        return {}
    entries: dict[str, dict[str, Any]] = {}
    for line in lines:
        with contextlib.suppress(ValueError):
            entries |= json.loads(line)
    return entries
