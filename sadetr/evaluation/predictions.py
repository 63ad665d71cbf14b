"""Prediction files in the field's submission format: one JSON object per query and line."""

import json
import math
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from sadetr.data.annotations import Query, read_lines
from sadetr.errors import DataError
from sadetr.files import atomic_write_text


def write_predictions(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of ``qid, query, vid, pred_relevant_windows, pred_saliency_scores`` in one step."""
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_predictions(path: Path | str, queries: Iterable[Query], highlights: bool) -> list[dict[str, Any]]:
    """Read a prediction file and check every line against the annotations.

    Zero-length windows and ends beyond the video are accepted, as published files hold them.

    Raises:
        DataError: names file, line and remedy for the first fault; nothing is skipped.
    """
    path = Path(path)
    known = {query.qid for query in queries}
    rows, seen = [], {}
    for number, line in read_lines(path):
        place = f"{path}: line {number}"
        row = _parse(line, place)
        qid = row.get("qid")
        if not isinstance(qid, int | str) or isinstance(qid, bool):
            raise DataError(f"{place}: qid is {qid!r}; expected the query's int or str qid")
        if qid in seen:
            raise DataError(f"{place}: qid {qid!r} was already predicted in line {seen[qid]}; keep one line per query")
        if qid not in known:
            raise DataError(f"{place}: qid {qid!r} is not annotated; use the annotations of the same split")
        seen[qid] = number
        _check_windows(row.get("pred_relevant_windows"), place)
        if highlights:
            _check_scores(row.get("pred_saliency_scores"), place)
        rows.append(row)
    missing = known - seen.keys()
    if missing:
        example = next(query.qid for query in queries if query.qid in missing)
        raise DataError(
            f"{path}: line {len(rows) + 1}: the file ends, but {len(missing)} annotated queries have no prediction, "
            f"for example qid {example!r}; predict every query of the split"
        )
    return rows


def _parse(line: str, place: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        raise DataError(
            f"{place}: is not valid JSON ({error.msg}); the line may be truncated: write the file again"
        ) from None
    if not isinstance(row, dict):
        raise DataError(f"{place}: is not a JSON object; every line must hold one query's prediction")
    return row


def _check_windows(windows: Any, place: str) -> None:
    if not isinstance(windows, list):
        raise DataError(f"{place}: pred_relevant_windows is {windows!r}; expected a list of [start, end, score]")
    for index, window in enumerate(windows):
        where = f"{place}: pred_relevant_windows[{index}] is {window!r}"
        if not isinstance(window, list) or len(window) != 3 or not all(_is_finite(value) for value in window):
            raise DataError(f"{where}; expected three finite numbers [start, end, score]")
        if window[0] < 0 or window[0] > window[1]:
            raise DataError(f"{where}; expected 0 <= start <= end in seconds")


def _check_scores(scores: Any, place: str) -> None:
    if not isinstance(scores, list) or not scores or not all(_is_finite(value) for value in scores):
        shown = repr(scores) if not isinstance(scores, list) or not scores else "a list with a value that is no number"
        raise DataError(f"{place}: pred_saliency_scores is {shown}; expected one finite number per clip")


def _is_finite(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
