"""Moment retrieval: R1, mIoU and mAP of many queries at once (docs/metrics.md, "Moment retrieval").

A query is scored once over all of its ground-truth windows and once per length range over those in the range.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.errors import DataError

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


def score_moments(
    predictions: Sequence[Sequence[Sequence[float]]], targets: Sequence[NDArray[np.float64]]
) -> dict[str, RangeScores]:
    """Score the predicted windows of N queries.

    Args:
        predictions: per query its windows [start s, end s, score] in file order.
        targets: per query its ground-truth windows (n, 2) in seconds.

    Returns:
        ``full`` and each of LENGTH_RANGES.

    Raises:
        DataError: a predicted number is not finite, or a window ends before its start.
    """
    windows, counts = _pad(predictions)
    first = windows[:, 0, :2].copy()
    windows = _ranked(windows, counts)
    owners = np.repeat(np.arange(len(targets)), [len(target) for target in targets])
    truth = np.concatenate([np.empty((0, 2)), *targets])
    iou = pairwise_iou(windows[owners, :, :2], truth[:, None])
    first_iou = pairwise_iou(first[owners], truth)
    lengths = truth[:, 1] - truth[:, 0]
    scores = {}
    for name in RANGES:
        low, high = LENGTH_RANGES.get(name, (-np.inf, np.inf))
        inside = np.flatnonzero((low < lengths) & (lengths <= high))
        queries, starts, sizes = np.unique(owners[inside], return_index=True, return_counts=True)
        best = np.empty(len(queries))
        precision = np.empty((len(queries), len(PRECISION_THRESHOLDS)))
        # Queries with about as many windows go together, so that little is spent on padding.
        for rows in _by_magnitude(sizes):
            columns = np.arange(sizes[rows].max())
            valid = columns < sizes[rows, None]
            index = inside[np.where(valid, starts[rows, None] + columns, 0)]
            choice = np.argmax(np.where(valid, first_iou[index], -1.0), axis=1)
            chosen = truth[index[np.arange(len(rows)), choice]]
            best[rows] = hull_iou(first[queries[rows]], chosen)
            overlaps = np.where(valid[:, None], iou[index].transpose(0, 2, 1), 0.0)
            precision[rows] = average_precision(overlaps, sizes[rows])
        scores[name] = RangeScores(queries, best, precision, counts[queries] > 0)
    return scores


def average_precision(iou: NDArray[np.float64], sizes: NDArray[np.int64]) -> NDArray[np.float64]:
    """Average precision of M queries at each of the T PRECISION_THRESHOLDS.

    Args:
        iou: (M, P, G) overlaps of ranked predictions with ground-truth windows, 0 where either is padding.
        sizes: (M,) number of ground-truth windows.

    Returns:
        (M, T) area under precision over recall, precision being the highest at the same or a higher recall.
    """
    thresholds = np.array(PRECISION_THRESHOLDS)
    # Equal overlaps go to the later window: reversed, that is the first maximum.
    iou = iou[:, :, ::-1]
    free = np.ones((len(iou), len(thresholds), iou.shape[2]), dtype=bool)
    matched = np.zeros((iou.shape[1], len(iou), len(thresholds)), dtype=bool)
    slots = np.arange(iou.shape[2])
    for rank in range(iou.shape[1]):
        overlap = iou[:, rank, None, :]
        candidates = np.where(free & (overlap >= thresholds[:, None]), overlap, 0.0)
        choice = np.argmax(candidates, axis=2)
        matched[rank] = candidates.max(axis=2) > 0
        free &= ~((slots == choice[..., None]) & matched[rank][..., None])
    positives = np.cumsum(matched, axis=0)
    ranks = np.arange(1, len(matched) + 1)[:, None, None]
    envelope = np.maximum.accumulate((positives / ranks)[::-1], axis=0)[::-1]
    recall = positives / sizes[:, None]
    gains = np.diff(recall, axis=0, prepend=0.0)
    area = np.zeros(recall.shape[1:])
    for gain, precision in zip(gains, envelope, strict=True):
        area += gain * precision
    return area


def _pad(predictions: Sequence[Sequence[Sequence[float]]]) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(N, 10, 3) the first windows of each query, zeros behind them, and how many there are, (N,)."""
    kept = [windows[:MAX_PREDICTIONS] for windows in predictions]
    counts = np.array([len(windows) for windows in kept], dtype=np.int64)
    padded = np.zeros((len(kept), MAX_PREDICTIONS, 3))
    flat = np.array([window for windows in kept for window in windows], dtype=np.float64).reshape(-1, 3)
    if not np.isfinite(flat).all():
        raise DataError("a predicted window holds NaN or an infinite number; check whether the model has diverged")
    if (flat[:, 0] > flat[:, 1]).any():
        raise DataError("a predicted window ends before its start; write windows as [start, end, score]")
    padded[np.arange(MAX_PREDICTIONS) < counts[:, None]] = flat
    return padded, counts


def _ranked(windows: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
    """Windows by descending score, equal ones in file order, padding last."""
    keys = np.where(np.arange(MAX_PREDICTIONS) < counts[:, None], -windows[..., 2], np.inf)
    order = np.argsort(keys, axis=1, kind="stable")
    return np.take_along_axis(windows, order[..., None], axis=1)


def _by_magnitude(sizes: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Indices grouped by the power of two that holds the size."""
    magnitudes = np.frexp(sizes - 0.5)[1]
    return [np.flatnonzero(magnitudes == magnitude) for magnitude in set(magnitudes.tolist())]
