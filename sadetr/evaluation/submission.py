"""The zip that the QVHighlights evaluation server took: predictions of val and test under fixed names."""

import zipfile
from collections.abc import Sequence
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


def validate_submission(path: Path | str, queries: Sequence[Query], clip_length: float) -> int:
    """Check every line of a prediction file for the server; returns the number of lines.

    Each query has exactly one line with its own vid, ten windows by descending score within the video, and one
    saliency score per clip. One score too few is accepted: the published features of some videos are a clip short.

    ``clip_length`` are the seconds per clip of the annotations, which the server counts.

    Raises:
        DataError: names the first line at fault.
    """
    index = {query.qid: query for query in queries}
    count = 0
    for row, prediction in iterate_predictions(path, queries, highlights=True):
        _check(row, prediction, index[prediction["qid"]], clip_length)
        count += 1
    return count


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
    windows = prediction[WINDOWS]
    if len(windows) != MAX_PREDICTIONS:
        row.fail(f"{len(windows)} windows", f"the server takes {MAX_PREDICTIONS}")
    scores = [score for _, _, score in windows]
    if scores != sorted(scores, reverse=True):
        row.fail("windows are not ordered by descending score", "put the best window first")
    for start, end, _ in windows:
        if end > query.duration + TOLERANCE:
            row.fail(
                f"window [{start:g}, {end:g}] ends after the video of {query.duration:g} s", "clamp it to the duration"
            )
    clips, found = clip_count(query.duration, clip_length), len(prediction[SALIENCY])
    if found not in (clips, clips - 1):
        remedy = "give one score per clip of the annotations, of finer clips their mean"
        row.fail(f"{found} saliency scores for {clips} clips of {clip_length:g} s", remedy)
