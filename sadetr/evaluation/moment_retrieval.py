"""Moment retrieval metrics: R1@t, mIoU and mAP@t, as the field's evaluators define them (docs/metrics.md).

Everything is computed per query and over all thresholds at once, in float64: windows lie on a clip grid, so IoUs that
equal a threshold are common and float32 would miss them.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

R1_THRESHOLDS = tuple(round(0.30 + 0.05 * step, 2) for step in range(14))
MAP_THRESHOLDS = tuple(round(0.50 + 0.05 * step, 2) for step in range(10))
MAX_PREDICTIONS = 10
"""Windows per query that mAP looks at."""
LENGTH_RANGES = {"full": None, "short": (0.0, 10.0), "middle": (10.0, 30.0), "long": (30.0, 150.0)}
"""Seconds; a window belongs to a range if low < length <= high. ``full`` keeps every window, over 150 s too."""


def moment_contributions(predicted: Sequence[Floats], truth: Sequence[Floats]) -> dict[str, Floats]:
    """What each query adds to every moment retrieval metric.

    Args:
        predicted: per query (n, 3) start, end (seconds) and score, in file order; n may be 0.
        truth: per query (m, 2) start and end in seconds.

    Returns:
        Metric name -> (Q,) contribution in [0, 1]; the metric is 100 times the mean over queries that are not NaN.
        Names of length ranges other than ``full`` carry their range in front: ``short/mAP``.
    """
    top, ranked = _pad_predictions(predicted)
    counts = np.array([len(windows) for windows in predicted])
    results: dict[str, Floats] = {}
    for name, bounds in LENGTH_RANGES.items():
        kept = truth if bounds is None else [_within(windows, *bounds) for windows in truth]
        prefix = "" if bounds is None else f"{name}/"
        results |= {f"{prefix}{key}": value for key, value in _range_contributions(top, ranked, counts, kept).items()}
    return results


def _within(windows: Floats, low: float, high: float) -> Floats:
    length = windows[:, 1] - windows[:, 0]
    return windows[(length > low) & (length <= high)]


def _pad_predictions(predicted: Sequence[Floats]) -> tuple[Floats, Floats]:
    """First window in file order (Q, 2), and the first ten by score, stable, (Q, K, 2); NaN where there is none."""
    top = np.full((len(predicted), 2), np.nan)
    ranked = np.full((len(predicted), MAX_PREDICTIONS, 2), np.nan)
    scores = np.full((len(predicted), MAX_PREDICTIONS), -np.inf)
    for row, windows in enumerate(predicted):
        if len(windows):
            first = windows[:MAX_PREDICTIONS]
            top[row] = first[0, :2]
            ranked[row, : len(first)] = first[:, :2]
            scores[row, : len(first)] = first[:, 2]
    order = np.argsort(-scores, axis=1, kind="stable")
    return top, np.take_along_axis(ranked, order[..., None], 1)


def _range_contributions(top: Floats, ranked: Floats, counts: NDArray, truth: Sequence[Floats]) -> dict[str, Floats]:
    sizes = np.array([len(windows) for windows in truth])
    best = np.full(len(truth), np.nan)
    precision = np.full((len(truth), len(MAP_THRESHOLDS)), np.nan)
    # Few queries have many windows: similar counts are padded together.
    for low, high in _buckets(int(sizes.max(initial=0))):
        rows = np.flatnonzero((sizes >= low) & (sizes <= high))
        if len(rows):
            padded = np.full((len(rows), high, 2), np.nan)
            for place, row in enumerate(rows):
                padded[place, : sizes[row]] = truth[row]
            best[rows] = _best_iou(top[rows], padded)
            precision[rows] = _average_precision(ranked[rows], padded, sizes[rows])
    # Queries without any prediction disappear from mAP, not from R1.
    precision[counts == 0] = np.nan
    results = {f"R1@{threshold:g}": _hits(best, threshold) for threshold in R1_THRESHOLDS}
    results["mIoU"] = best
    results |= {f"mAP@{threshold:g}": precision[:, column] for column, threshold in enumerate(MAP_THRESHOLDS)}
    results["mAP"] = precision.mean(1)
    return results


def _buckets(largest: int) -> list[tuple[int, int]]:
    """1, 2, 3-4, 5-8, 9-16, ... up to ``largest``."""
    buckets, high = [(1, 1)], 1
    while high < largest:
        buckets.append((high + 1, 2 * high))
        high *= 2
    return buckets


def _hits(best: Floats, threshold: float) -> Floats:
    return np.where(np.isnan(best), np.nan, best >= threshold)


def _iou(first: Floats, second: Floats) -> Floats:
    """IoU of broadcastable (..., 2) windows; NaN windows and empty unions give 0."""
    intersection = np.minimum(first[..., 1], second[..., 1]) - np.maximum(first[..., 0], second[..., 0])
    intersection = np.maximum(intersection, 0)
    union = (first[..., 1] - first[..., 0]) + (second[..., 1] - second[..., 0]) - intersection
    return np.divide(intersection, union, out=np.zeros_like(union), where=union > 0)


def _best_iou(top: Floats, truth: Floats) -> Floats:
    """IoU of the first prediction (Q, 2) with the ground truth (Q, G, 2) it fits best (the first on a tie).

    The value is taken over the hull of the two windows, which is their union where they overlap: the evaluators do
    so, and the last bit decides hits at a threshold.
    """
    overlap = _iou(top[:, None], truth)
    chosen = truth[np.arange(len(truth)), overlap.argmax(1)]
    intersection = np.maximum(np.minimum(top[:, 1], chosen[:, 1]) - np.maximum(top[:, 0], chosen[:, 0]), 0)
    hull = np.maximum(top[:, 1], chosen[:, 1]) - np.minimum(top[:, 0], chosen[:, 0])
    return np.divide(intersection, hull, out=np.zeros_like(hull), where=hull > 0)


def _average_precision(ranked: Floats, truth: Floats, sizes: NDArray) -> Floats:
    """Interpolated AP of (Q, K, 2) ranked predictions for (Q, G, 2) truth -> (Q, T).

    Down the ranking, each prediction takes the free ground truth it overlaps most (the later on a tie) if that
    reaches the threshold.
    """
    overlap = _iou(ranked[:, :, None], truth[:, None])
    valid = np.arange(truth.shape[1]) < sizes[:, None]
    # Reversed, so that the first maximum is the later ground truth.
    overlap = np.where(valid[:, None], overlap, -1.0)[:, :, ::-1]
    thresholds = np.array(MAP_THRESHOLDS)
    if truth.shape[1] == 1:
        hits = np.cumsum(overlap >= thresholds, axis=1) > 0
        matched = np.diff(hits, axis=1, prepend=False)
    else:
        matched = _greedy_matches(overlap, thresholds)
    ranks = np.arange(1, ranked.shape[1] + 1)
    precision = np.cumsum(matched, axis=1) / ranks[:, None]
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    return (envelope * matched).sum(1) / sizes[:, None]


def _greedy_matches(overlap: Floats, thresholds: Floats) -> NDArray[np.bool_]:
    """(Q, K, G) IoU -> (Q, K, T) whether prediction k finds a free ground truth at each threshold."""
    queries, ranks, windows = overlap.shape
    free = np.ones((queries, len(thresholds), windows), dtype=bool)
    matched = np.zeros((queries, ranks, len(thresholds)), dtype=bool)
    for rank in range(ranks):
        candidate = np.where(free, overlap[:, rank, None], -1.0)
        choice = candidate.argmax(2)
        found = np.take_along_axis(candidate, choice[..., None], 2)[..., 0] >= thresholds
        matched[:, rank] = found
        query, threshold = np.nonzero(found)
        free[query, threshold, choice[found]] = False
    return matched
