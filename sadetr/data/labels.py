"""Training labels of a split, as arrays over all its queries, and what is drawn anew in every epoch.

Clips are indexed from 0; Q queries, L clips of the longest video, G windows at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings

IntArray = NDArray[np.int64]
FloatArray = NDArray[np.float32]


@dataclass(frozen=True)
class Draws:
    """One epoch's random choices per query: G windows, saliency pairs, the aligned clip."""

    spans: FloatArray
    """(Q, G, 2) ``cw``, zero-padded."""
    spans_mask: NDArray[np.bool_]
    positive_clips: IntArray
    """(Q, 2)."""
    negative_clips: IntArray
    aligned_clip: IntArray
    """(Q,)."""


class Labels:
    """Labels of the queries of one split whose saliency comes from annotators (docs/interpretation.md, section 3)."""

    def __init__(self, queries: Sequence[Query], lengths: IntArray, dataset: DatasetSettings) -> None:
        """Build the arrays.

        Args:
            queries: of one split, with windows and saliency.
            lengths: (Q,) clips in each query's features, L_b.
            dataset: clip length and the most windows per query.

        Raises:
            DataError: a query has no labels to train on.
        """
        for query in queries:
            if query.windows is None or query.saliency is None or query.relevant_clip_ids is None:
                raise DataError(f"query {query.qid}: no windows or saliency to train on; use a split with labels")
        self._lengths = lengths
        self._max_windows = dataset.max_windows
        longest = int(lengths.max())
        self.saliency = np.zeros((len(queries), longest), np.float32)
        self.relevant = np.zeros((len(queries), longest), bool)
        for row, (query, length) in enumerate(zip(queries, lengths, strict=True)):
            inside = query.relevant_clip_ids < length
            clips = query.relevant_clip_ids[inside]
            self.saliency[row, clips] = query.saliency[inside].sum(1)
            self.relevant[row, clips] = True
        valid = np.arange(longest) < lengths[:, None]
        # A query whose only relevant clips lie beyond its features trains on its last clip.
        lost = ~self.relevant.any(1)
        self.relevant[lost, lengths[lost] - 1] = True
        self._relevant_order = _front(self.relevant)
        self._irrelevant_order = _front(valid & ~self.relevant)
        self._hardest = np.where(self.relevant, self.saliency, -1).argmax(1)
        self._easiest = np.where(self.relevant, self.saliency, np.inf).argmin(1)
        self._windows, self._windows_mask = _normalised_windows(queries, lengths, dataset.clip_length)

    def draw(self, stream: Callable[[str], np.random.Generator]) -> Draws:
        """Make one epoch's choices; ``stream`` gives the private generator of a consumer."""
        spans, mask = self._draw_windows(stream("windows"))
        saliency = stream("saliency clips")
        positive = _pick(self._relevant_order, self.relevant.sum(1), saliency)
        irrelevant = self._lengths - self.relevant.sum(1)
        negative = _pick(self._irrelevant_order, np.maximum(irrelevant, 1), saliency)
        # Without an irrelevant clip the random pair repeats the hard one.
        positive = np.where(irrelevant > 0, positive, self._hardest)
        negative = np.where(irrelevant > 0, negative, self._easiest)
        return Draws(
            spans,
            mask,
            np.stack((self._hardest, positive), 1),
            np.stack((self._easiest, negative), 1),
            _pick(self._relevant_order, self.relevant.sum(1), stream("aligned clip")),
        )

    def _draw_windows(self, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
        """A random subset of ``max_windows`` where there are more (D70), in their order in the file."""
        spans, mask = self._windows, self._windows_mask
        keep = min(self._max_windows, spans.shape[1])
        # Every window draws a key, the smallest stay; padding never does.
        keys = np.where(mask, rng.random(mask.shape), np.inf)
        kept = np.sort(keys.argsort(1, kind="stable")[:, :keep], axis=1)
        chosen = np.take_along_axis(mask, kept, 1)
        return np.take_along_axis(spans, kept[..., None], 1) * chosen[..., None], chosen


def _front(mask: NDArray[np.bool_]) -> IntArray:
    """(Q, L) bool -> (Q, L) indices with those of True entries in front, each group ascending."""
    return np.argsort(~mask, axis=1, kind="stable")


def _pick(order: IntArray, counts: IntArray, rng: np.random.Generator) -> IntArray:
    """One of the first ``counts`` entries of each row, uniformly."""
    place = (rng.random(len(order)) * counts).astype(np.int64)
    return np.take_along_axis(order, place[:, None], 1)[:, 0]


def _normalised_windows(
    queries: Sequence[Query], lengths: IntArray, clip_length: float
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """All windows as ``cw`` of the features' duration L_b x clip length, ends clamped to [0, 1], valid ones first."""
    most = max(len(query.windows) for query in queries)
    spans = np.zeros((len(queries), most, 2), np.float32)
    mask = np.zeros((len(queries), most), bool)
    for row, (query, length) in enumerate(zip(queries, lengths, strict=True)):
        ends = np.clip(query.windows / (length * clip_length), 0, 1)
        # A window beyond the features (one clip short, say) keeps no width and cannot be learned.
        ends = ends[ends[:, 1] > ends[:, 0]]
        ends = ends if len(ends) else np.array([[1 - 1 / length, 1.0]])
        spans[row, : len(ends), 0] = ends.mean(1)
        spans[row, : len(ends), 1] = ends[:, 1] - ends[:, 0]
        mask[row, : len(ends)] = True
    return spans, mask
