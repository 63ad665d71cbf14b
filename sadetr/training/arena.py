"""Memory of a taped step: what is not needed at the same time shares it."""

import bisect
import heapq
import math
from collections.abc import Sequence
from typing import NamedTuple

ALIGNMENT = 64
"""Bytes; torch's own on a processor, on which the order of a vectorised sum may depend."""


class Lifetime(NamedTuple):
    """When a piece of memory is needed."""

    size: int
    """Bytes."""
    first: int
    """Number of the call that fills it."""
    last: int
    """Number of the last call that reads it."""


def placed(lifetimes: Sequence[Lifetime]) -> tuple[list[int], int]:
    """Offset of each in one block, and the bytes of the block; two that overlap in time do not overlap in memory.

    Each goes to the first gap that it fits, so that a small part of the block, which the cache holds, is used most.
    """
    offsets = [0] * len(lifetimes)
    # Begin and end, in order; nothing lies behind the last.
    gaps: list[tuple[float, float]] = [(0, math.inf)]
    ending: list[tuple[int, int, int]] = []
    total = 0
    for number in sorted(range(len(lifetimes)), key=lambda number: lifetimes[number].first):
        size, first, last = lifetimes[number]
        size += -size % ALIGNMENT
        while ending and ending[0][0] < first:
            _release(gaps, *heapq.heappop(ending)[1:])
        chosen = next(index for index, (begin, end) in enumerate(gaps) if end - begin >= size)
        start, end = gaps[chosen]
        gaps[chosen : chosen + 1] = [(start + size, end)] if start + size < end else []
        heapq.heappush(ending, (last, start, start + size))
        offsets[number] = start
        total = max(total, start + size)
    return offsets, total


def _release(gaps: list[tuple[float, float]], begin: float, end: float) -> None:
    """A gap more, one with those beside it."""
    index = bisect.bisect(gaps, (begin, end))
    if gaps[index][0] == end:
        end = gaps.pop(index)[1]
    if index and gaps[index - 1][1] == begin:
        index -= 1
        begin = gaps.pop(index)[0]
    gaps.insert(index, (begin, end))
