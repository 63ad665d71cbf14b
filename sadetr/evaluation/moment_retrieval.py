"""Moment retrieval: R1, mIoU and mAP of many queries at once (docs/metrics.md, "Moment retrieval").

A query is scored once over all of its ground-truth windows and once per length range over those in the range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.errors import DataError
from sadetr.evaluation.prediction_arrays import PredictionArrays, padded

# Rounded, because 0.3 + 12 * 0.05 is not the float 0.9 and ties at a threshold are common.
RECALL_THRESHOLDS = tuple(round(0.3 + 0.05 * step, 2) for step in range(14))
PRECISION_THRESHOLDS = tuple(round(0.5 + 0.05 * step, 2) for step in range(10))
MAX_PREDICTIONS = 10
"""Windows per query that count for mAP."""
LENGTH_RANGES = {"short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}
"""Lengths of ground-truth windows in seconds, above the first and up to the second number."""
FULL = "full"
RANGES = (FULL, *LENGTH_RANGES)


@dataclass(frozen=True, slots=True)
class RangeScores:
    """Contributions of the n queries that have a ground-truth window in one length range."""

    queries: NDArray[np.int64]
    """(n,) index of the query, ascending."""
    iou: NDArray[np.float64]
    """(n,) IoU of the first predicted window with its best ground-truth window; 0 without predictions."""
    precision: NDArray[np.float64]
    """(n, 10) average precision per threshold."""
    predicted: NDArray[np.bool_]
    """(n,) whether there is any predicted window; without one a query does not count for mAP."""


def pairwise_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of windows (..., 2), broadcast; the union is the sum of both lengths less the overlap."""
    overlap = np.minimum(first[..., 1], second[..., 1]) - np.maximum(first[..., 0], second[..., 0])
    overlap = np.maximum(overlap, 0.0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - overlap
    return np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)


def hull_iou(first: NDArray[np.float64], second: NDArray[np.float64]) -> NDArray[np.float64]:
    """IoU of windows (..., 2), broadcast; the union is the hull of both.

    Differs from :func:`pairwise_iou` by float rounding only, which decides ties at a threshold.
    """
    overlap = np.minimum(first[..., 1], second[..., 1]) - np.maximum(first[..., 0], second[..., 0])
    overlap = np.maximum(overlap, 0.0)
    hull = np.maximum(first[..., 1], second[..., 1]) - np.minimum(first[..., 0], second[..., 0])
    return np.divide(overlap, hull, out=np.zeros_like(overlap), where=hull > 0)


class MomentTruth:
    """The ground-truth windows of N queries, laid out once for scoring any number of predictions."""

    def __init__(self, targets: Sequence[NDArray[np.float64]], ranges: Sequence[str] = RANGES) -> None:
        """
        Args:
            targets: per query its ground-truth windows (n, 2) in seconds.
            ranges: which of RANGES are scored.
        """
        owners = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
        windows = np.concatenate([np.empty((0, 2)), *targets])
        lengths = windows[:, 1] - windows[:, 0]
        self._ranges: dict[str, tuple[NDArray[np.int64], list[_Group]]] = {}
        for name in ranges:
            low, high = LENGTH_RANGES.get(name, (-np.inf, np.inf))
            inside = np.flatnonzero((low < lengths) & (lengths <= high))
            queries, starts, sizes = np.unique(owners[inside], return_index=True, return_counts=True)
            groups = [_group(rows, windows[inside], starts, sizes) for rows in _by_magnitude(sizes)]
            self._ranges[name] = queries, groups

    def score(self, predictions: PredictionArrays) -> dict[str, RangeScores]:
        """Score the predicted windows of the N queries, range by range.

        Raises:
            DataError: a predicted number is not finite, or a window ends before its start.
        """
        windows, counts = predictions.leading_windows(MAX_PREDICTIONS), predictions.window_counts
        if not np.isfinite(windows).all():
            raise DataError("a predicted window holds NaN or an infinite number; check whether the model has diverged")
        if (windows[..., 0] > windows[..., 1]).any():
            raise DataError("a predicted window ends before its start; write windows as [start, end, score]")
        first, ranked = windows[:, 0, :2], _ranked(windows, counts)[..., :2]
        scores = {}
        for name, (queries, groups) in self._ranges.items():
            best = np.empty(len(queries))
            precision = np.empty((len(queries), len(PRECISION_THRESHOLDS)))
            for group in groups:
                chosen = queries[group.rows]
                best[group.rows] = _best_iou(first[chosen], group)
                iou = pairwise_iou(ranked[chosen, :, None], group.windows[:, None])
                precision[group.rows] = average_precision(np.where(group.valid[:, None], iou, 0.0), group.sizes)
            scores[name] = RangeScores(queries, best, precision, counts[queries] > 0)
        return scores


@dataclass(frozen=True, slots=True)
class _Group:
    """M queries with about as many ground-truth windows, so that little is spent on padding."""

    rows: NDArray[np.int64]
    """(M,) their places among the queries of the range."""
    windows: NDArray[np.float64]
    """(M, G, 2)."""
    valid: NDArray[np.bool_]
    """(M, G) False where there is padding."""
    sizes: NDArray[np.int64]
    """(M,) number of windows."""


def _group(
    rows: NDArray[np.int64], windows: NDArray[np.float64], starts: NDArray[np.int64], sizes: NDArray[np.int64]
) -> _Group:
    """Those of the queries ``rows``, whose windows begin at ``starts``."""
    sizes = sizes[rows]
    width = sizes.max()
    return _Group(rows, padded(windows, starts[rows], sizes, width), np.arange(width) < sizes[:, None], sizes)


def _best_iou(first: NDArray[np.float64], group: _Group) -> NDArray[np.float64]:
    """(M,) IoU of the first predicted windows (M, 2) with the ground-truth window that they overlap best."""
    overlaps = np.where(group.valid, pairwise_iou(first[:, None], group.windows), -1.0)
    return hull_iou(first, group.windows[np.arange(len(first)), np.argmax(overlaps, axis=1)])


def average_precision(iou: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision of M queries at each of the T PRECISION_THRESHOLDS.

    Args:
        iou: (M, P, G) overlaps of ranked predictions with ground-truth windows, 0 where either is padding.
        sizes: (M,) number of ground-truth windows.

    Returns:
        (M, T) area under precision over recall, precision being the highest at the same or a higher recall.
    """
    thresholds = np.array(PRECISION_THRESHOLDS)[:, None, None]
    # Queries go last: all that follows works on long contiguous rows. Equal overlaps go to the later window: reversed,
    # that is the first maximum.
    iou = np.ascontiguousarray(iou[:, :, ::-1].transpose(1, 2, 0))
    ranks, windows, queries = iou.shape
    free = np.ones((len(thresholds), windows, queries), dtype=bool)
    matched = np.zeros((ranks, len(thresholds), queries), dtype=bool)
    for overlap, found in zip(iou, matched, strict=True):
        candidates = np.where(free & (overlap >= thresholds), overlap, 0.0)
        best = candidates.max(axis=1)
        np.greater(best, 0, out=found)
        taken = (candidates == best[:, None]) & found[:, None]
        if windows > 1:
            taken &= np.cumsum(taken, axis=1) == 1
        free &= ~taken
    positives = np.cumsum(matched, axis=0)
    envelope = np.maximum.accumulate((positives / np.arange(1, ranks + 1)[:, None, None])[::-1], axis=0)[::-1]
    gains = np.diff(positives / sizes, axis=0, prepend=0.0)
    area = np.zeros(matched.shape[1:])
    for gain, precision in zip(gains, envelope, strict=True):
        area += gain * precision
    return area.T


def _ranked(windows: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Windows by descending score, equal ones in file order, padding last."""
    keys = np.where(np.arange(MAX_PREDICTIONS) < counts[:, None], -windows[..., 2], np.inf)
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(windows, order[..., None], axis=1)


def _by_magnitude(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices grouped by the power of two that holds the size."""
    magnitudes = np.frexp(sizes - 0.5)[1]
    return [np.flatnonzero(magnitudes == magnitude) for magnitude in set(magnitudes.tolist())]
