"""How much of a metric, or of a difference between two, is chance: resampling over queries.

Both procedures draw queries, never windows or clips, because the windows of a query depend on each other
(docs/metrics.md, "Significance").
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.evaluation.highlight_detection import LEVELS
from sadetr.evaluation.moment_retrieval import FULL, PRECISION_THRESHOLDS, RECALL_THRESHOLDS, RangeScores
from sadetr.evaluation.scorer import REPORTED_LEVEL, Scores

CONFIDENCE = 0.95
PERMUTATIONS = 10_000
BLOCK_CELLS = 1 << 22
"""Drawn numbers held at once."""
# Sums in another order differ in their last bits; permutations that change nothing must still count as ties.
TIE = 1e-9


@dataclass(frozen=True, slots=True)
class Contributions:
    """What each of N queries adds to each of M metrics: a metric is the mean over the queries that count for it."""

    names: list[str]
    """(M,) as in the scorer."""
    values: NDArray[np.float64]
    """(N, M) percent; 0 where the query does not count."""
    counted: NDArray[np.bool_]
    """(N, M)."""


@dataclass(frozen=True, slots=True)
class Difference:
    """One metric of two prediction files."""

    value: float
    """First minus second, in percentage points."""
    p: float
    """Two-sided p-value of a paired permutation test, not corrected for the number of metrics."""


def contributions_of(scores: Scores) -> Contributions:
    """Every metric of the scorer, split into its queries' parts."""
    columns = dict(_columns(scores))
    values = np.zeros((scores.count, len(columns)))
    counted = np.zeros(values.shape, dtype=bool)
    for column, (queries, parts) in enumerate(columns.values()):
        values[queries, column] = 100 * parts
        counted[queries, column] = True
    return Contributions(list(columns), values, counted)


def confidence_intervals(
    contributions: Contributions, resamples: int, seed: int
) -> dict[str, tuple[float, float] | None]:
    """95 % percentile bootstrap intervals; None where no query counts.

    Args:
        contributions: of N queries.
        resamples: how often N queries are drawn with replacement.
        seed: of the draws.
    """
    count = len(contributions.values)
    rng = np.random.default_rng(seed)
    means = []
    for size in _block_sizes(resamples, count):
        # One offset per resample: a single bincount then yields all of them.
        drawn = rng.integers(count, size=(size, count)) + count * np.arange(size)[:, None]
        weights = np.bincount(drawn.ravel(), minlength=size * count).reshape(size, count).astype(np.float64)
        means.append(_ratio(weights @ contributions.values, weights @ contributions.counted))
    tail = (1 - CONFIDENCE) / 2
    intervals: dict[str, tuple[float, float] | None] = {}
    for name, column in zip(contributions.names, np.concatenate(means).T, strict=True):
        drawn_means = column[~np.isnan(column)]
        ends = np.quantile(drawn_means, [tail, 1 - tail]) if len(drawn_means) else None
        intervals[name] = None if ends is None else (float(ends[0]), float(ends[1]))
    return intervals


def paired_permutation_test(
    first: Contributions, second: Contributions, seed: int, permutations: int = PERMUTATIONS
) -> dict[str, Difference | None]:
    """Test whether two predictions of the same queries differ; None where no query counts.

    Under the null hypothesis the two predictions of a query are exchangeable: each permutation swaps those of a
    random half of the queries. p = (1 + permutations with at least the observed difference) / (1 + permutations).

    Args:
        first, second: contributions of the same N queries, in the same order.
        seed: of the swaps.
        permutations: their number.
    """
    sums, other_sums = first.values.sum(axis=0), second.values.sum(axis=0)
    counts, other_counts = first.counted.sum(axis=0), second.counted.sum(axis=0)
    change = second.values - first.values
    count_change = second.counted.astype(np.float64) - first.counted
    observed = _ratio(sums, counts) - _ratio(other_sums, other_counts)
    extreme, valid = np.zeros(len(first.names)), np.zeros(len(first.names))
    rng = np.random.default_rng(seed)
    for size in _block_sizes(permutations, len(change)):
        swapped = rng.integers(2, size=(size, len(change)), dtype=np.uint8).astype(np.float64)
        moved = swapped @ change
        counts_moved = swapped @ count_change if count_change.any() else 0.0
        drawn = _ratio(sums + moved, counts + counts_moved) - _ratio(other_sums - moved, other_counts - counts_moved)
        extreme += (np.abs(drawn) >= np.abs(observed) - TIE).sum(axis=0)
        valid += (~np.isnan(drawn)).sum(axis=0)
    p = (1 + extreme) / (1 + valid)
    return {
        name: None if np.isnan(value) else Difference(float(value), float(chance))
        for name, value, chance in zip(first.names, observed, p, strict=True)
    }


def _columns(scores: Scores) -> Iterator[tuple[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]:
    """Metric names with the queries that count and their parts, as fractions."""
    for name, values in scores.moments.items():
        for metric, column in _moment_columns(values):
            yield metric if name == FULL else f"{name}/{metric}", column
    if scores.highlights is None:
        return
    queries, precision = scores.highlights.queries, scores.highlights.precision.mean(axis=2)
    for index, level in enumerate(LEVELS):
        # The reported level comes under its plain name as well.
        for suffix in ("", f"@{level}") if level == REPORTED_LEVEL else (f"@{level}",):
            yield f"HD_mAP{suffix}", (queries, precision[index])
            yield f"HIT@1{suffix}", (queries, scores.highlights.hit[index])


def _moment_columns(scores: RangeScores) -> Iterator[tuple[str, tuple[NDArray[np.int64], NDArray[np.float64]]]]:
    for threshold in RECALL_THRESHOLDS:
        yield f"R1@{threshold}", (scores.queries, scores.iou >= threshold)
    yield "mIoU", (scores.queries, scores.iou)
    queries, precision = scores.queries[scores.predicted], scores.precision[scores.predicted]
    for column, threshold in enumerate(PRECISION_THRESHOLDS):
        yield f"mAP@{threshold}", (queries, precision[:, column])
    yield "mAP", (queries, precision.mean(axis=1))


def _block_sizes(draws: int, count: int) -> Iterator[int]:
    block = max(1, BLOCK_CELLS // count)
    for start in range(0, draws, block):
        yield min(block, draws - start)


def _ratio(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Quotients of sums and counts: means; NaN where nothing was counted."""
    return np.divide(sums, counts, out=np.full(np.shape(sums), np.nan), where=counts > 0)
