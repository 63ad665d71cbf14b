"""The zip that the QVHighlights evaluation server took: predictions of val and test under fixed names."""

import zipfile
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sadetr.data.annotations import Query, clip_count
from sadetr.data.jsonl import Row
from sadetr.evaluation.moment_retrieval import MAX_PREDICTIONS
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, iterate_predictions
from sadetr.files import atomic_path

MEMBERS = {"val": "hl_val_submission.jsonl", "test": "hl_test_submission.jsonl"}
TOLERANCE = 1e-4
"""Seconds by which a window may exceed its video: files carry four decimals."""
EPOCH = (1980, 1, 1, 0, 0, 0)
"""Time of the zip's members, so that equal predictions give equal archives."""


@dataclass
class Checked:
    """A prediction file that the server takes."""

    count: int = 0
    """Lines."""
    unusual: dict[str, list[int]] = field(default_factory=lambda: defaultdict(list))
    """What the format allows but may not be meant -> numbers of the lines."""

    @property
    def notes(self) -> list[str]:
        """What is unusual, one sentence per kind."""
        return [
            f"{what}: {len(lines):,} of {self.count:,} lines (first: line {lines[0]})"
            for what, lines in self.unusual.items()
        ]


def validate_submission(path: Path | str, queries: Sequence[Query], clip_length: float) -> Checked:
    """Check every line of a prediction file for the server.

    Each query has exactly one line with its own vid, at least one window, and one saliency score per clip. One score
    too few is accepted: the published features of some videos are a clip short. The format fixes neither the number
    of windows nor their order nor where they end; what is unusual there is noted.

    ``clip_length`` are the seconds per clip of the annotations, which the server counts.

    Raises:
        DataError: names the first line at fault.
    """
    index = {query.qid: query for query in queries}
    checked = Checked()
    for row, prediction in iterate_predictions(path, queries, highlights=True):
        query = index[prediction["qid"]]
        _check(row, prediction, query, clip_length)
        for what in _unusual(prediction[WINDOWS], query):
            checked.unusual[what].append(row.number)
        checked.count += 1
    return checked


def write_submission(out: Path | str, val: Path | str, test: Path | str) -> None:
    """Pack two validated prediction files; equal files give an equal zip.

    Raises:
        ResultsError: the zip cannot be written.
    """
    with atomic_path(out) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, path in ((MEMBERS["val"], val), (MEMBERS["test"], test)):
            member = zipfile.ZipInfo(name, EPOCH)
            member.external_attr = 0o644 << 16
            archive.writestr(member, Path(path).read_bytes(), zipfile.ZIP_DEFLATED)


def _check(row: Row, prediction: dict[str, Any], query: Query, clip_length: float) -> None:
    row.get("query", (str,))
    if row.get("vid", (str,)) != query.vid:
        row.fail(f"vid is {prediction['vid']!r} but qid {query.qid!r} belongs to {query.vid!r}", "correct vid or qid")
    if not prediction[WINDOWS]:
        row.fail(f"{WINDOWS} is empty", "the server reads the first window of every query: give at least one")
    clips, found = clip_count(query.duration, clip_length), len(prediction[SALIENCY])
    if found not in (clips, clips - 1):
        remedy = "give one score per clip of the annotations, of finer clips their mean"
        row.fail(f"{found} saliency scores for {clips} clips of {clip_length:g} s", remedy)


def _unusual(windows: Sequence[Sequence[float]], query: Query) -> Iterator[str]:
    if len(windows) > MAX_PREDICTIONS:
        yield f"more than {MAX_PREDICTIONS} windows, of which mAP counts the first {MAX_PREDICTIONS}"
    scores = [score for _, _, score in windows]
    if scores != sorted(scores, reverse=True):
        yield "windows not ordered by descending score, while R1 counts the first one"
    if any(end > query.duration + TOLERANCE for _, end, _ in windows):
        yield "windows that end after their video"
