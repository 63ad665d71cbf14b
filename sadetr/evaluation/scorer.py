"""All metrics of a prediction file against its annotations."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.highlight_detection import highlight_contributions
from sadetr.evaluation.moment_retrieval import moment_contributions

CHUNK = 4096
"""Queries scored at a time: bounds memory, and keeps the arrays in the processor's caches."""

Rows = Sequence[Mapping[str, Any]]


def evaluate(
    predictions: Rows, queries: Sequence[Query], *, highlights: bool, clip_length: float
) -> dict[str, float | None]:
    """Score predictions.

    Args:
        predictions: rows with ``qid``, ``pred_relevant_windows`` and (for highlights) ``pred_saliency_scores``, every
            qid of ``queries`` exactly once, in any order.
        queries: annotations with windows, and saliency where ``highlights``.
        highlights: whether highlight detection is scored.
        clip_length: seconds per clip.

    Returns:
        Metric name -> percent, not rounded; None where no query falls into a length range.

    Raises:
        DataError: qids do not match, or labels are missing.
    """
    sums: dict[str, float] = {}
    counts: dict[str, int] = {}
    for chunk in _chunks(predictions, queries, highlights, clip_length):
        for name, values in chunk.items():
            present = values[~np.isnan(values)]
            sums[name] = sums.get(name, 0.0) + float(present.sum())
            counts[name] = counts.get(name, 0) + len(present)
    return {name: 100 * sums[name] / counts[name] if counts[name] else None for name in sums}


def query_contributions(
    predictions: Rows, queries: Sequence[Query], *, highlights: bool, clip_length: float
) -> dict[str, NDArray[np.float64]]:
    """Contribution of every query (in the order of ``queries``) to each metric, as :func:`evaluate` averages them."""
    chunks = list(_chunks(predictions, queries, highlights, clip_length))
    return {name: np.concatenate([chunk[name] for chunk in chunks]) for name in chunks[0]}


def _chunks(
    predictions: Rows, queries: Sequence[Query], highlights: bool, clip_length: float
) -> Iterator[dict[str, NDArray[np.float64]]]:
    by_qid = _index(predictions, queries)
    for start in range(0, len(queries), CHUNK):
        part = queries[start : start + CHUNK]
        rows = [by_qid[query.qid] for query in part]
        windows = [np.asarray(row["pred_relevant_windows"], dtype=np.float64).reshape(-1, 3) for row in rows]
        contributions = moment_contributions(windows, [query.windows for query in part])
        if highlights:
            contributions |= highlight_contributions(
                [np.asarray(row["pred_saliency_scores"], dtype=np.float64) for row in rows],
                [query.relevant_clip_ids for query in part],
                [query.saliency for query in part],
                np.array([max(int(query.duration / clip_length), 1) for query in part]),
            )
        yield contributions


def _index(predictions: Rows, queries: Sequence[Query]) -> dict[Any, Mapping[str, Any]]:
    """qid -> prediction, after checking that both sides name the same queries and labels are there."""
    by_qid = {row["qid"]: row for row in predictions}
    if len(by_qid) != len(predictions):
        raise DataError("a qid is predicted twice; write one line per query")
    known = {query.qid for query in queries}
    for missing in (known - by_qid.keys(), by_qid.keys() - known):
        if missing:
            fault = "without a prediction" if missing <= known else "predicted but not annotated"
            raise DataError(f"{len(missing)} queries are {fault}, for example qid {next(iter(missing))!r}")
    for query in queries:
        if query.windows is None:
            raise DataError(f"query {query.qid!r} has no ground-truth windows; score against a split with labels")
    return by_qid
