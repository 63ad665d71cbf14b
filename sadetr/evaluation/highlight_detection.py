"""Highlight detection: mAP and HIT@1 of many queries at once (docs/metrics.md, "Highlight detection")."""

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import ANNOTATORS, Query, clip_count
from sadetr.data.clip_labels import clip_labels
from sadetr.errors import DataError

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Smallest annotator score of a positive clip."""
_MINIMA = np.array(list(LEVELS.values()), dtype=np.int8)
MAX_QUERIES, MAX_CLIPS = 512, 1 << 16
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


def score_highlights(
    predictions: Sequence[Sequence[float]], queries: Sequence[Query], clip_length: float
) -> HighlightScores:
    """Score the predicted saliency of N queries.

    Args:
        predictions: per query one score per clip, at least one; too many are cut, missing ones count as 0.
        queries: with saliency.
        clip_length: seconds per clip of the predictions; labels that count longer clips hold for each clip in them.

    Raises:
        DataError: a prediction is empty or not finite, or the clips do not divide those of the labels.
    """
    if not all(predictions):
        raise DataError("a query has no predicted saliency; give one score per clip")
    lengths = np.array([clip_count(query.duration, clip_length) for query in queries])
    labels = [clip_labels(query, clip_length) for query in queries]
    relevant = np.array([len(clips) for clips, _ in labels])
    precision = np.empty((len(LEVELS), len(queries), ANNOTATORS))
    hit = np.empty((len(LEVELS), len(queries)), dtype=bool)
    for block in _blocks(relevant, lengths):
        clips, saliency = _padded([labels[index] for index in block], relevant[block])
        scores = _scores([predictions[index] for index in block], lengths[block])
        precision[:, block] = _average_precision(_step_ends(scores), clips, saliency)
        # The top clip is sought among all predictions: one beyond the video is a miss, as no label is there.
        top = np.array([predictions[index].index(max(predictions[index])) for index in block])
        best = np.where(clips == top[:, None], saliency.max(axis=2), 0).max(axis=1)
        hit[:, block] = best >= _MINIMA[:, None]
    return HighlightScores(np.arange(len(queries)), precision, hit)


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


def _padded(
    labels: Sequence[tuple[NDArray[np.int64], NDArray[np.int64]]], relevant: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int8]]:
    """Relevant clips (n, R) and their scores (n, R, annotators); -1 fills both up."""
    valid = np.arange(max(1, relevant.max())) < relevant[:, None]
    clips = np.full(valid.shape, -1, dtype=np.int64)
    clips[valid] = np.concatenate([ids for ids, _ in labels])
    saliency = np.full((*valid.shape, ANNOTATORS), -1, dtype=np.int8)
    saliency[valid] = np.concatenate([scores for _, scores in labels])
    return clips, saliency


def _scores(predictions: Sequence[Sequence[float]], lengths: NDArray[np.int64]) -> NDArray[np.float64]:
    """(n, L) scores per clip, 0 where the prediction is too short, -inf beyond the video."""
    kept = [prediction[:length] for prediction, length in zip(predictions, lengths.tolist(), strict=True)]
    flat = np.fromiter(itertools.chain.from_iterable(kept), dtype=np.float64)
    if not np.isfinite(flat).all():
        raise DataError("a saliency score is NaN or infinite; check whether the model has diverged")
    clips = np.arange(lengths.max())
    scores = np.where(clips < lengths[:, None], 0.0, -np.inf)
    scores[clips < np.array([len(prediction) for prediction in kept])[:, None]] = flat
    return scores


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
    ends = np.take_along_axis(ends, clips, axis=1)
    order = np.argsort(ends, axis=1)
    ends = np.take_along_axis(ends, order, axis=1)
    # Ranks go first: running sums then work on contiguous rows.
    labels = np.take_along_axis(saliency, order[..., None], axis=1).swapaxes(0, 1)[..., None] >= _MINIMA
    positives = np.cumsum(labels, axis=0, dtype=np.float64)
    last = np.ones(ends.shape, dtype=bool)
    last[:, :-1] = ends[:, 1:] != ends[:, :-1]
    reached = np.where(last.T[..., None, None], positives, 0.0)
    envelope = np.maximum.accumulate((reached / ends.T[..., None, None])[::-1], axis=0)[::-1]
    reached = np.maximum.accumulate(reached, axis=0)
    adds = np.diff(reached, axis=0, prepend=0.0) > 0
    total = np.where(adds, envelope, 0.0).sum(axis=0)
    return (total / np.maximum(adds.sum(axis=0), 1)).transpose(2, 0, 1)
