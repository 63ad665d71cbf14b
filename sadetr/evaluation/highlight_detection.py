"""Highlight detection: mAP and HIT@1 of many queries at once (docs/metrics.md, "Highlight detection")."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import ANNOTATORS, Query, clip_count
from sadetr.data.clip_labels import clip_labels
from sadetr.errors import DataError
from sadetr.evaluation.prediction_arrays import PredictionArrays, padded

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Smallest annotator score of a positive clip."""
_MINIMA = np.array(list(LEVELS.values()), dtype=np.int8)
MAX_QUERIES, MAX_CLIPS = 256, 1 << 16
"""Queries, and clips including padding, ranked at once: bounds the memory and keeps the arrays in the cache."""


@dataclass(frozen=True, slots=True)
class HighlightScores:
    """Contributions of the N queries that have saliency."""

    queries: NDArray[np.int64]
    """(N,) index of the query, ascending."""
    precision: NDArray[np.float64]
    """(levels, N, annotators) average precision."""
    hit: NDArray[np.bool_]
    """(levels, N) whether the top clip is positive for any annotator."""


class HighlightTruth:
    """The saliency labels of N queries, laid out once for scoring any number of predictions."""

    def __init__(self, queries: Sequence[Query], clip_length: float) -> None:
        """
        Args:
            queries: with saliency.
            clip_length: seconds per clip of the predictions; labels that count longer clips hold for each clip in them.

        Raises:
            DataError: the clips do not divide those of the labels.
        """
        self._lengths = np.array([clip_count(query.duration, clip_length) for query in queries], dtype=np.int64)
        labels = [clip_labels(query, clip_length) for query in queries]
        relevant = np.array([len(clips) for clips, _ in labels], dtype=np.int64)
        self._blocks = [
            (block, *_label_arrays([labels[index] for index in block], relevant[block]))
            for block in _blocks(relevant, self._lengths)
        ]

    def score(self, predictions: PredictionArrays) -> HighlightScores:
        """Score the predicted saliency of the N queries: too many scores are cut, missing ones count as 0.

        Raises:
            DataError: a query has no saliency, or some that is not finite.
        """
        counts, count = predictions.saliency_counts, len(self._lengths)
        if not counts.all():
            raise DataError("a query has no predicted saliency; give one score per clip")
        if not np.isfinite(predictions.saliency).all():
            raise DataError("a saliency score is NaN or infinite; check whether the model has diverged")
        starts = np.cumsum(counts) - counts
        precision = np.empty((len(LEVELS), count, ANNOTATORS))
        hit = np.empty((len(LEVELS), count), dtype=bool)
        for block, clips, saliency in self._blocks:
            scores = padded(predictions.saliency, starts[block], counts[block], counts[block].max(), -np.inf)
            # The top clip is sought among all predictions: one beyond the video is a miss, as no label is there.
            top = scores.argmax(axis=1)
            best = np.where(clips == top[:, None], saliency.max(axis=2), 0).max(axis=1)
            hit[:, block] = best >= _MINIMA[:, None]
            scores = _fitted(scores, counts[block], self._lengths[block])
            precision[:, block] = _average_precision(_step_ends(scores), clips, saliency)
        return HighlightScores(np.arange(count), precision, hit)


def _blocks(relevant: NDArray[np.int64], lengths: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Indices of queries with about as many relevant clips, so that little is spent on padding."""
    order = np.argsort(relevant, kind="stable")
    start = 0
    while start < len(order):
        stop = min(start + MAX_QUERIES, len(order))
        while stop - start > 1 and (stop - start) * lengths[order[start:stop]].max() > MAX_CLIPS:
            stop = start + (stop - start) // 2
        yield order[start:stop]
        start = stop


def _label_arrays(
    labels: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], relevant: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Relevant clips (n, R) and their scores (n, R, annotators); -1 fills both up."""
    valid = np.arange(max(1, relevant.max())) < relevant[:, None]
    clips = np.full(valid.shape, -1, dtype=np.int64)
    clips[valid] = np.concatenate([ids for ids, _ in labels])
    saliency = np.full((*valid.shape, ANNOTATORS), -1, dtype=np.int8)
    saliency[valid] = np.concatenate([scores for _, scores in labels])
    return clips, saliency


def _fitted(scores: NDArray[np.float64], counts: NDArray[np.int64], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, L) scores per clip of the videos, 0 where the prediction is too short, -inf beyond the video."""
    clips = np.arange(lengths.max())
    fitted = np.where(clips < lengths[:, None], 0.0, -np.inf)
    there = clips < np.minimum(counts, lengths)[:, None]
    width = min(scores.shape[1], len(clips))
    np.copyto(fitted[:, :width], scores[:, :width], where=there[:, :width])
    return fitted


def _step_ends(scores: NDArray[np.float64]) -> NDArray[np.int64]:
    """(n, L + 1) per clip: how many clips score at least as high; the last column, L + 1, serves as padding."""
    size = scores.shape[1]
    order = np.argsort(-scores, axis=1)
    ranked = np.take_along_axis(scores, order, axis=1)
    ends = np.broadcast_to(np.arange(1, size + 1), scores.shape).copy()
    # Within a run of equal scores every clip gets the rank of the last one.
    ends[:, :-1][ranked[:, 1:] == ranked[:, :-1]] = size
    ends = np.minimum.accumulate(ends[:, ::-1], axis=1)[:, ::-1]
    result = np.full((len(scores), size + 1), size + 1)
    np.put_along_axis(result, order, ends, axis=1)
    return result


def _average_precision(
    ends: NDArray[np.int64], clips: NDArray[np.int64], saliency: NDArray[np.int8]
) -> NDArray[np.float64]:
    """(levels, n, annotators) mean precision over the score steps that add a positive clip.

    Clips of equal score form one step. Precision is the highest at the same or a later step, and only steps with
    relevant clips can be the highest. Steps are told apart by counts of positives: their float32 recalls differ
    whenever the counts do, as long as a video has fewer than 2**23 clips.
    """
    beyond = ends.shape[1]
    ends = np.take_along_axis(ends, clips, axis=1)
    order = np.argsort(ends, axis=1)
    ends = np.take_along_axis(ends, order, axis=1)
    last = np.ones(ends.shape, dtype=bool)
    last[:, :-1] = ends[:, 1:] != ends[:, :-1]
    # Ranks go first and queries last: running sums and everything else then work on long contiguous rows.
    ranked = np.take_along_axis(saliency, order[..., None], axis=1).transpose(1, 2, 0)
    labels = np.ascontiguousarray(ranked)[:, None] >= _MINIMA[:, None, None]
    positives = _accumulated(np.add, labels.astype(np.float64))
    # Within a step only its last clip has a precision.
    precision = positives / np.where(last, ends, np.inf).T[:, None, None]
    envelope = _accumulated(np.maximum, precision[::-1])[::-1]
    adds = labels
    tied = ~(last | (ends == beyond)).all(axis=1)
    if tied.any():
        reached = np.where(last[tied].T[:, None, None], positives[..., tied], 0.0)
        adds[..., tied] = np.diff(_accumulated(np.maximum, reached), axis=0, prepend=0.0) > 0
    total = np.where(adds, envelope, 0.0).sum(axis=0)
    return (total / np.maximum(adds.sum(axis=0), 1)).swapaxes(1, 2)


def _accumulated(function: np.ufunc, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``function.accumulate`` along the first axis, in place: row by row, which is several times as fast."""
    for before, row in itertools.pairwise(values):
        function(before, row, out=row)
    return values
