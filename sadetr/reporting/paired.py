"""Tests of single comparisons, two-sided, and what becomes of them in conjunctions and families.

Written for contrasts: a sum of scores less a sum of others, of which a difference is the simplest.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

MIN_SEEDS = 3
"""Seeds in common from which on a test over seeds says something."""

Test = Literal["queries", "seeds", "spread"]


@dataclass(frozen=True)
class Evidence:
    """One contrast of ours, in percentage points, with the two-sided p of "it is nothing" and the test that gave it."""

    difference: float
    test: Test
    p: float


def queries_p(contrasts: NDArray[np.float64]) -> float:
    """Two-sided p of a paired randomisation test over queries, in its normal limit.

    Under the null hypothesis the sign of every query's contrast is a coin's: their sum then spreads with the root of
    the sum of their squares. Sums lie on a grid wherever all contrasts are multiples of the smallest, as hits and
    misses are; the continuity correction by half its step keeps few differing queries from looking like many (for hits
    alone it is McNemar's test with Edwards' correction).

    Args:
        contrasts: (N,) one per query.
    """
    sizes = np.abs(contrasts[contrasts != 0])
    if not len(sizes):
        return 1.0
    excess = abs(float(contrasts.sum())) - float(sizes.min())
    return _normal_p(max(excess, 0.0) / math.sqrt(float(np.square(sizes).sum())))


def seeds_p(contrasts: Sequence[float]) -> float | None:
    """Two-sided p of a paired t-test over seeds; None with fewer than MIN_SEEDS, or where nothing varies.

    Args:
        contrasts: one per common seed.
    """
    from scipy.special import stdtr

    if len(contrasts) < MIN_SEEDS or np.ptp(contrasts) == 0:
        return None
    error = float(np.std(contrasts, ddof=1)) / math.sqrt(len(contrasts))
    return float(2 * stdtr(len(contrasts) - 1, -abs(float(np.mean(contrasts))) / error))


def spread_p(contrast: float, deviation: float) -> float:
    """Two-sided p of a contrast that spreads normally with a known positive standard deviation."""
    return _normal_p(abs(contrast) / deviation)


def _normal_p(z: float) -> float:
    return math.erfc(z / math.sqrt(2))


@dataclass(frozen=True)
class Conjunction:
    """What is known of the statement that all of some contrasts are positive.

    ``p`` is two-sided: of the more likely of "all are" and "not all are". ``deciding`` is the index of the contrast
    that it comes from.
    """

    supported: bool
    p: float
    deciding: int


def conjunction(evidence: Sequence[Evidence]) -> Conjunction:
    """Join the contrasts of a statement.

    That all are positive is tested by intersection and union: every one has to be shown, so p is the largest, without
    a correction. That one is negative is shown by the smallest p among these, times the number of contrasts.
    """
    support = [part.p if part.difference > 0 else 1.0 for part in evidence]
    against = [part.p if part.difference < 0 else 1.0 for part in evidence]
    weakest = max(range(len(evidence)), key=lambda index: (support[index], -evidence[index].difference))
    worst = min(range(len(evidence)), key=lambda index: (against[index], evidence[index].difference))
    refuted = min(1.0, len(evidence) * against[worst])
    if refuted < support[weakest]:
        return Conjunction(False, refuted, worst)
    return Conjunction(True, support[weakest], weakest)


def holm(ps: Sequence[float]) -> list[float]:
    """p-values corrected for their number by Holm's method: at a level, one of the rejected is wrong that often."""
    corrected, highest = [0.0] * len(ps), 0.0
    for place, index in enumerate(sorted(range(len(ps)), key=ps.__getitem__)):
        highest = max(highest, min(1.0, (len(ps) - place) * ps[index]))
        corrected[index] = highest
    return corrected
