"""Predictions of many queries as arrays: what is scored, and what a network's predictions are kept in."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from sadetr.data.query import Query
from sadetr.evaluation.predictions import SALIENCY, WINDOWS


@dataclass(frozen=True, slots=True)
class PredictionArrays:
    """Windows and saliency of Q queries, one query's behind the other's, with the digits that a file has."""

    windows: NDArray[np.float64]
    """(W, 3) start s, end s, score; each query's in the order of its file, the best first."""
    window_counts: NDArray[np.int64]
    """(Q,) windows of each query."""
    saliency: NDArray[np.float64]
    """(S,) a score per clip."""
    saliency_counts: NDArray[np.int64]
    """(Q,) saliency scores of each query."""

    def __len__(self) -> int:
        return len(self.window_counts)

    @classmethod
    def of_rows(cls, rows: Sequence[Mapping[str, Any]]) -> Self:
        """Arrays of submission rows, in their order; a row may lack saliency."""
        saliency = [row.get(SALIENCY, ()) for row in rows]
        return cls(
            np.array([window for row in rows for window in row[WINDOWS]], dtype=np.float64).reshape(-1, 3),
            np.array([len(row[WINDOWS]) for row in rows], dtype=np.int64),
            np.fromiter(itertools.chain.from_iterable(saliency), dtype=np.float64),
            np.array([len(scores) for scores in saliency], dtype=np.int64),
        )

    def rows(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Submission rows: qid, query and vid of the Q ``queries``, windows and saliency."""
        windows, saliency = self.windows.tolist(), self.saliency.tolist()
        window_ends, saliency_ends = np.cumsum(self.window_counts).tolist(), np.cumsum(self.saliency_counts).tolist()
        return [
            {
                "qid": query.qid,
                "query": query.query,
                "vid": query.vid,
                WINDOWS: windows[first:last],
                SALIENCY: saliency[start:stop],
            }
            for query, first, last, start, stop in zip(
                queries, [0, *window_ends], window_ends, [0, *saliency_ends], saliency_ends, strict=False
            )
        ]

    @classmethod
    def join(cls, parts: Sequence[Self]) -> Self:
        """The queries of all ``parts``, of which there is at least one, in their order."""
        return cls(*(np.concatenate([getattr(part, name) for part in parts]) for name in cls.__slots__))

    def take(self, indices: NDArray[np.int64]) -> Self:
        """The queries ``indices``, in this order."""
        windows = _places(self.window_counts, indices)
        saliency = _places(self.saliency_counts, indices)
        return type(self)(
            self.windows[windows],
            self.window_counts[indices],
            self.saliency[saliency],
            self.saliency_counts[indices],
        )

    def leading_windows(self, most: int) -> NDArray[np.float64]:
        """(Q, most, 3) the first windows of each query, zeros behind them."""
        return padded(self.windows, np.cumsum(self.window_counts) - self.window_counts, self.window_counts, most)


def padded(
    values: NDArray[np.float64],
    starts: NDArray[np.int64],
    counts: NDArray[np.int64],
    width: int,
    fill: float = 0.0,
) -> NDArray[np.float64]:
    """(N, width, ...) the ``counts`` (N,) first values from each of the ``starts`` (N,) on, ``fill`` behind them."""
    columns = np.arange(width)
    there = columns < counts[:, None]
    result = np.full((*there.shape, *values.shape[1:]), fill)
    result[there] = values[(starts[:, None] + columns)[there]]
    return result


def _places(counts: NDArray[np.int64], indices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Where the values of the queries ``indices`` lie among those of all queries, of which each has ``counts``."""
    sizes = counts[indices]
    shifts = (np.cumsum(counts) - counts)[indices] - (np.cumsum(sizes) - sizes)
    return np.arange(sizes.sum()) + np.repeat(shifts, sizes)
