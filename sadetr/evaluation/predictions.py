"""Prediction files in the field's submission format, one JSON object per query and line.

Fields: ``qid``, ``query``, ``vid``, ``pred_relevant_windows`` as [start s, end s, score] with the best first, and
``pred_saliency_scores`` with one number per clip.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence, Set
from pathlib import Path
from typing import Any

from sadetr.data.annotations import Query
from sadetr.data.jsonl import Row, read_rows
from sadetr.errors import DataError
from sadetr.files import atomic_write_text

WINDOWS = "pred_relevant_windows"
SALIENCY = "pred_saliency_scores"


def read_predictions(
    path: Path | str, queries: Iterable[Query] | None = None, highlights: bool = True
) -> list[dict[str, Any]]:
    """Read and validate predictions; the order of rows and of windows is the file's.

    Zero-length windows, ends beyond the video, ties, repeated windows, empty window lists and saliency that is
    shorter or longer than the video are all valid: published files have them.

    Args:
        path: the file.
        queries: the annotations that it must cover, each exactly once; None = not checked.
        highlights: whether saliency is required.

    Raises:
        DataError: names the file, the line and what is wrong with it. Nothing is skipped.
    """
    return [prediction for _, prediction in iterate_predictions(path, queries, highlights)]


def iterate_predictions(
    path: Path | str, queries: Iterable[Query] | None = None, highlights: bool = True
) -> Iterator[tuple[Row, dict[str, Any]]]:
    """Lines with their predictions, validated one by one; arguments and errors are those of :func:`read_predictions`.

    A query without prediction is noticed after the last line.
    """
    expected = None if queries is None else dict.fromkeys(query.qid for query in queries)
    lines: dict[int | str, int] = {}
    for row in read_rows(Path(path)):
        prediction = _prediction(row, highlights)
        qid = prediction["qid"]
        if qid in lines:
            row.fail(f"qid {qid!r} was already used in line {lines[qid]}", "give every query one prediction")
        if expected is not None and qid not in expected:
            row.fail(f"qid {qid!r} is not in the annotations", _remedy(qid, expected.keys()))
        lines[qid] = row.number
        yield row, prediction
    if expected is not None and len(lines) < len(expected):
        missing = [qid for qid in expected if qid not in lines]
        row.fail(
            f"the file ends without a prediction for qid {_first(missing)}",
            "give every query of the annotations one line",
        )


def write_predictions(path: Path | str, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write submission rows in one step; the inverse of :func:`read_predictions`.

    Raises:
        ResultsError: the file cannot be written.
        ValueError: a row holds NaN or an infinite number.
    """
    atomic_write_text(path, "".join(json.dumps(row, ensure_ascii=False, allow_nan=False) + "\n" for row in rows))


def align(predictions: Sequence[Mapping[str, Any]], queries: Sequence[Query]) -> list[Mapping[str, Any]]:
    """Predictions in the order of ``queries``.

    Raises:
        DataError: the two do not hold the same qids, each once.
    """
    rows = {row["qid"]: row for row in predictions}
    known = {query.qid for query in queries}
    if len(rows) < len(predictions) or len(known) < len(queries):
        raise DataError("a qid occurs twice in the predictions or the annotations; give every query one row")
    if unknown := [qid for qid in rows if qid not in known]:
        raise DataError(f"predictions for qid {_first(unknown)} have no annotation; {_remedy(unknown[0], known)}")
    if missing := [query.qid for query in queries if query.qid not in rows]:
        raise DataError(f"there is no prediction for qid {_first(missing)}; give every query of the annotations one")
    return [rows[query.qid] for query in queries]


def _prediction(row: Row, highlights: bool) -> dict[str, Any]:
    prediction: dict[str, Any] = {"qid": row.get("qid", (int, str))}
    # The metrics ignore these two, and not every published file has them.
    prediction |= {name: row.get(name, (str,)) for name in ("query", "vid") if name in row}
    prediction[WINDOWS] = row.table(WINDOWS, 3)
    for start, end, _ in prediction[WINDOWS]:
        if start < 0 or end < start:
            fault = "starts before the video" if start < 0 else "ends before its start"
            row.fail(f"window [{start:g}, {end:g}] {fault}", "write start and end in seconds, 0 <= start <= end")
    if highlights or SALIENCY in row:
        prediction[SALIENCY] = row.numbers(SALIENCY)
        if highlights and not prediction[SALIENCY]:
            row.fail(f"{SALIENCY} is empty", "give one score per clip")
    return prediction


def _remedy(qid: int | str, expected: Set[int | str]) -> str:
    """What to do about an unknown ``qid``: the usual mix-ups are another split and a number written as text."""
    if not expected.isdisjoint({str(qid)} if isinstance(qid, int) else _as_number(qid)):
        kinds = ("a number", "text") if isinstance(qid, int) else ("text", "a number")
        return f"it is {kinds[0]} in the predictions but {kinds[1]} in the annotations"
    return "check that both belong to the same split"


def _as_number(qid: str) -> set[int | str]:
    return {int(qid)} if qid.isdecimal() else set()


def _first(qids: Sequence[int | str]) -> str:
    return repr(qids[0]) + (f" and {len(qids) - 1} more" if len(qids) > 1 else "")
