"""Annotations in the field's JSONL format: QVHighlights with saliency, other benchmarks with windows alone."""

import itertools
import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sadetr.errors import DataError
from sadetr.files import atomic_write_text

TOLERANCE = 1e-6
"""Seconds by which a window may exceed its video: rounding of the files."""
SCORES = range(5)
"""Values of one annotator's saliency."""


@dataclass(frozen=True, slots=True)
class Query:
    """One query with its ground truth; a part that the file does not have is None."""

    qid: int | str
    query: str
    vid: str
    duration: float
    """Seconds."""
    windows: NDArray[np.float64] | None
    """(n, 2) start and end in seconds, start < end."""
    relevant_clip_ids: NDArray[np.int64] | None
    """(m,) clips inside the windows, ascending."""
    saliency: NDArray[np.int64] | None
    """(m, 3) one score from 0 to 4 per annotator."""


def read_annotations(path: Path | str, clip_length: float = 2.0) -> list[Query]:
    """Read and validate an annotation file.

    Args:
        path: one JSON object per line.
        clip_length: seconds per clip; bounds the clip ids.

    Raises:
        DataError: names the file, the line and what is wrong with it. Nothing is skipped.
    """
    path = Path(path)
    queries, lines = [], {}
    for number, line in read_lines(path):
        row = _Row(path, number, line)
        query = row.query(clip_length)
        if query.qid in lines:
            row.fail(f"qid {query.qid!r} was already used in line {lines[query.qid]}", "give every query its own qid")
        lines[query.qid] = number
        queries.append(query)
    if not queries:
        raise DataError(f"{path}: holds no annotations; download it again")
    return queries


def write_annotations(path: Path | str, queries: Iterable[Query]) -> None:
    """Write ``queries`` with the official field names, in one step; the inverse of :func:`read_annotations`."""
    rows = []
    for query in queries:
        row: dict[str, Any] = {"qid": query.qid, "query": query.query, "duration": query.duration, "vid": query.vid}
        if query.relevant_clip_ids is not None and query.saliency is not None:
            row["relevant_clip_ids"] = query.relevant_clip_ids.tolist()
            row["saliency_scores"] = query.saliency.tolist()
        if query.windows is not None:
            row["relevant_windows"] = query.windows.tolist()
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    atomic_write_text(path, "".join(rows))


def read_lines(path: Path) -> Iterable[tuple[int, str]]:
    """Non-blank lines of a JSONL file with their 1-based numbers.

    Raises:
        DataError: missing, compressed under a plain name, or not UTF-8.
    """
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        raise DataError(f"{path}: no such file; check the path or the data root") from None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    if content.startswith(b"\x1f\x8b"):
        raise DataError(f"{path}: line 1: is gzip-compressed under a plain name; decompress it with gunzip first")
    try:
        text = content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: is not UTF-8 text; download the file again") from None
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            yield number, line


class _Row:
    """One line while it is being validated."""

    def __init__(self, path: Path, number: int, line: str) -> None:
        self._place = f"{path}: line {number}"
        try:
            self._fields = json.loads(line)
        except json.JSONDecodeError as error:
            self.fail(f"is not valid JSON ({error.msg}); the line may be truncated", "download the file again")
        if not isinstance(self._fields, dict):
            self.fail("is not a JSON object", "every line must hold one query's fields")

    def fail(self, fault: str, remedy: str) -> NoReturn:
        raise DataError(f"{self._place}: {fault}; {remedy}")

    def query(self, clip_length: float) -> Query:
        duration = self._number("duration")
        if duration <= 0:
            self.fail(f"duration {duration} is not positive", "give the video's length in seconds")
        windows = self._windows(duration)
        clips, saliency = self._saliency(math.floor(duration / clip_length + TOLERANCE))
        qid = self._get("qid", (int, str))
        return Query(qid, self._get("query", (str,)), self._get("vid", (str,)), duration, windows, clips, saliency)

    def _get(self, name: str, kinds: tuple[type, ...]) -> Any:
        if name not in self._fields:
            self.fail(f"field {name!r} is missing", f"fields found: {', '.join(self._fields) or 'none'}")
        value = self._fields[name]
        if not isinstance(value, kinds) or isinstance(value, bool):
            wanted = " or ".join(kind.__name__ for kind in kinds)
            self.fail(f"field {name!r} is {value!r}", f"expected {wanted}")
        return value

    def _number(self, name: str) -> float:
        value = float(self._get(name, (int, float)))
        if not math.isfinite(value):
            self.fail(f"field {name!r} is {value}", "expected a finite number")
        return value

    def _array(self, name: str, columns: int, kinds: tuple[type, ...]) -> NDArray:
        """A list of rows of ``columns`` numbers each."""
        rows = self._get(name, (list,))
        for index, row in enumerate(rows):
            if not isinstance(row, list) or len(row) != columns:
                self.fail(f"{name}[{index}] is {row!r}", f"expected a list of {columns} numbers")
            for value in row:
                if not isinstance(value, kinds) or isinstance(value, bool) or not math.isfinite(value):
                    wanted = " or ".join(kind.__name__ for kind in kinds)
                    self.fail(f"{name}[{index}] is {row!r}", f"expected finite values of type {wanted}")
        return np.array(rows).reshape(-1, columns)

    def _windows(self, duration: float) -> NDArray[np.float64] | None:
        if "relevant_windows" not in self._fields:
            return None
        windows = self._array("relevant_windows", 2, (int, float)).astype(np.float64)
        if not len(windows):
            self.fail("field 'relevant_windows' is empty", "leave the field out where there are no labels")
        for start, end in windows:
            if start >= end:
                self.fail(f"window [{start:g}, {end:g}] does not end after its start", "swap or remove it")
            if start < -TOLERANCE or end > duration + TOLERANCE:
                self.fail(
                    f"window [{start:g}, {end:g}] leaves the video of {duration:g} s", "correct the window or duration"
                )
        return windows

    def _saliency(self, clips: int) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
        if "relevant_clip_ids" not in self._fields and "saliency_scores" not in self._fields:
            return None, None
        ids: Sequence[Any] = self._get("relevant_clip_ids", (list,))
        scores = self._array("saliency_scores", 3, (int,)).astype(np.int64)
        if len(ids) != len(scores):
            self.fail(f"{len(ids)} relevant_clip_ids but {len(scores)} saliency_scores", "there must be one per clip")
        for clip in ids:
            if not isinstance(clip, int) or isinstance(clip, bool) or not 0 <= clip < clips:
                self.fail(
                    f"relevant clip {clip!r} is not one of the video's {clips} clips", "correct relevant_clip_ids"
                )
        if any(later <= earlier for earlier, later in itertools.pairwise(ids)):
            self.fail("relevant_clip_ids are not ascending or repeat a clip", "sort them and remove repetitions")
        if ((scores < SCORES.start) | (scores >= SCORES.stop)).any():
            self.fail("a saliency score is outside 0 to 4", "correct saliency_scores")
        return np.array(ids, dtype=np.int64), scores
