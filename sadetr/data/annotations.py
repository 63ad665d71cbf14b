"""Annotations in the field's JSONL format: QVHighlights with saliency, other benchmarks with windows alone."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.jsonl import Row, read_rows
from sadetr.files import atomic_write_text

TOLERANCE = 1e-6
"""Seconds by which a window may exceed its video, and share of a clip that counts as a whole one: rounding."""
SCORES = range(5)
"""Values of one annotator's saliency."""
ANNOTATORS = 3


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
    """(m,) clips inside the windows, ascending; None without saliency."""
    saliency: NDArray[np.int64] | None
    """(m, 3) one score from 0 to 4 per annotator."""


def clip_count(duration: float, clip_length: float) -> int:
    """Whole clips of ``clip_length`` seconds in a video of ``duration`` seconds."""
    return int(duration / clip_length + TOLERANCE)


def read_annotations(path: Path | str, clip_length: float = 2.0) -> list[Query]:
    """Read and validate an annotation file; fields that it does not know are ignored.

    Args:
        path: one JSON object per line.
        clip_length: seconds per clip; bounds the clip ids.

    Raises:
        DataError: names the file, the line and what is wrong with it. Nothing is skipped.
    """
    queries: list[Query] = []
    lines: dict[int | str, int] = {}
    for row in read_rows(Path(path)):
        query = parse_row(row, clip_length)
        if query.qid in lines:
            row.fail(f"qid {query.qid!r} was already used in line {lines[query.qid]}", "give every query its own qid")
        lines[query.qid] = row.number
        queries.append(query)
    return queries


def write_annotations(path: Path | str, queries: Iterable[Query]) -> None:
    """Write ``queries`` with the official field names, in one step; the inverse of :func:`read_annotations`.

    Raises:
        ResultsError: the file cannot be written.
    """
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


def parse_row(row: Row, clip_length: float) -> Query:
    """Read and validate one row.

    Raises:
        RowError: the first thing that is wrong with it.
    """
    duration = row.number_of("duration")
    if duration <= 0:
        row.fail(f"duration {duration} is not positive", "give the video's length in seconds")
    windows = _windows(row, duration)
    clips, saliency = _saliency(row, clip_count(duration, clip_length))
    qid = row.get("qid", (int, str))
    return Query(qid, row.get("query", (str,)), row.get("vid", (str,)), duration, windows, clips, saliency)


def _windows(row: Row, duration: float) -> NDArray[np.float64] | None:
    if not row.has("relevant_windows"):
        return None
    windows = row.table("relevant_windows", 2)
    if not windows:
        row.fail("field 'relevant_windows' is empty", "leave the field out where there are no labels")
    for start, end in windows:
        if start >= end:
            row.fail(f"window [{start:g}, {end:g}] does not end after its start", "swap its ends or remove it")
        if start < -TOLERANCE or end > duration + TOLERANCE:
            row.fail(
                f"window [{start:g}, {end:g}] leaves the video of {duration:g} s", "correct the window or the duration"
            )
    return np.array(windows, dtype=np.float64)


def _saliency(row: Row, clips: int) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    if not row.has("saliency_scores"):
        # Clip ids alone say no more than the windows do.
        return None, None
    ids = row.numbers("relevant_clip_ids", (int,))
    scores = row.table("saliency_scores", ANNOTATORS, (int,))
    if len(ids) != len(scores):
        row.fail(f"{len(ids)} relevant_clip_ids but {len(scores)} saliency_scores", "give one triple per clip")
    for clip in ids:
        if not 0 <= clip < clips:
            row.fail(f"relevant clip {clip} is not one of the video's {clips} clips", "correct relevant_clip_ids")
    if any(later <= earlier for earlier, later in pairwise(ids)):
        row.fail("relevant_clip_ids are not ascending or repeat a clip", "sort them and remove repetitions")
    for index, triple in enumerate(scores):
        if min(triple) < SCORES.start or max(triple) >= SCORES.stop:
            row.fail(f"saliency_scores[{index}] is {triple}, outside 0 to 4", "correct the scores")
    return np.array(ids, dtype=np.int64), np.array(scores, dtype=np.int64).reshape(-1, ANNOTATORS)
