"""Training labels of a split, as arrays over all its queries, and what is drawn anew in every epoch.

Clips are indexed from 0; Q queries, L clips of the longest video, G windows at most.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.data.clip_labels import GRID_SLACK, clip_labels
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
    """Labels of the queries of one split, by the dataset's saliency rule (docs/interpretation.md, section 3)."""

    def __init__(self, queries: Sequence[Query], lengths: IntArray, dataset: DatasetSettings) -> None:
        """Build the arrays.

        Args:
            queries: of one split, with windows, and with saliency where the rule is ``annotators``.
            lengths: (Q,) clips in each query's features, L_b.
            dataset: clip length, saliency rule and the most windows per query.

        Raises:
            DataError: a query has no labels to train on, or labels of clips that those of the features do not divide.
        """
        rule = RULES[dataset.saliency]
        for query in queries:
            missing = [field for field in rule.needs if getattr(query, field) is None]
            if missing:
                raise DataError(
                    f"query {query.qid}: no {' and no '.join(missing)} to train on; use a split with labels, or "
                    f"correct the setting's saliency rule ({dataset.saliency!r})"
                )
        self._lengths = lengths
        self._max_windows = dataset.max_windows
        self._draw_pairs = rule.draw_pairs
        clip_lengths = [
            dataset.clip_length_in(query.duration, int(length)) for query, length in zip(queries, lengths, strict=True)
        ]
        labelled = [
            _labelled(rule, query, int(length), clip_length)
            for query, length, clip_length in zip(queries, lengths, clip_lengths, strict=True)
        ]
        longest = max(int(lengths.max()), *(int(clips.max()) + 1 for clips, _ in labelled))
        self.saliency = np.zeros((len(queries), longest), np.float32)
        """(Q, L) label of every clip, those that lie beyond the features too; what it counts is the rule's."""
        self.relevant = np.zeros((len(queries), longest), bool)
        """(Q, L) clips of the features that belong to a window: what L_local asks for, and where the aligned clip is
        drawn."""
        self.salient = np.zeros((len(queries), longest), bool)
        """(Q, L) clips that saliency pairs take as positive, also beyond the features; their others are negative."""
        for row, (query, length, clip_length) in enumerate(zip(queries, lengths, clip_lengths, strict=True)):
            relevant = rule.relevant_clips(query, clip_length)
            self.relevant[row, relevant[relevant < length]] = True
            clips, labels = labelled[row]
            self.saliency[row, clips] = labels
            self.salient[row, clips] = True
        valid = np.arange(longest) < lengths[:, None]
        # A query whose only relevant clips lie beyond its features trains on its last clip.
        lost = ~self.relevant.any(1)
        self.relevant[lost, lengths[lost] - 1] = True
        self.relevant_counts = self.relevant.sum(1)
        self.relevant_order = _front(self.relevant)
        self.salient_counts = self.salient.sum(1)
        self.rest_counts = (valid & ~self.salient).sum(1)
        self.salient_order = _front(self.salient)
        self.rest_order = _front(valid & ~self.salient)
        self.least_salient, self.most_salient = np.array([_extremes(*each) for each in labelled]).T
        """(Q,) clips of the lowest and of the highest label among the salient ones."""
        self._windows, self._windows_mask = _normalised_windows(queries, lengths, clip_lengths)

    def draw(self, stream: Callable[[str], np.random.Generator]) -> Draws:
        """Make one epoch's choices; ``stream`` gives the private generator of a consumer."""
        spans, mask = self._draw_windows(stream("windows"))
        # A salient clip beyond the features stands for their last one, as in Moment-DETR.
        positive, negative = (
            np.minimum(clips, self._lengths[:, None] - 1) for clips in self._draw_pairs(self, stream("saliency clips"))
        )
        aligned = _pick(self.relevant_order, self.relevant_counts, stream("aligned clip"))
        return Draws(spans, mask, positive, negative, aligned)

    def _draw_windows(self, rng: np.random.Generator) -> tuple[FloatArray, NDArray[np.bool_]]:
        """A random subset of ``max_windows`` where there are more (D70), in their order in the file."""
        spans, mask = self._windows, self._windows_mask
        keep = min(self._max_windows, spans.shape[1])
        # Every window draws a key, the smallest stay; padding never does.
        keys = np.where(mask, rng.random(mask.shape), np.inf)
        kept = np.sort(keys.argsort(1, kind="stable")[:, :keep], axis=1)
        chosen = np.take_along_axis(mask, kept, 1)
        return np.take_along_axis(spans, kept[..., None], 1) * chosen[..., None], chosen


def covered_clips(windows: NDArray[np.float64], clip_length: float) -> IntArray:
    """Clips that the windows (n, 2) in seconds touch, ascending, at least one per window.

    A clip lasts ``clip_length``, the same in every video, not duration / L: the windows are normalised by
    L x clip length, and only so do a query's clips lie under its own spans.
    """
    first = np.floor(windows[:, 0] / clip_length + GRID_SLACK).astype(np.int64)
    last = np.ceil(windows[:, 1] / clip_length - GRID_SLACK).astype(np.int64)
    return np.unique(np.concatenate([np.arange(a, max(a + 1, b)) for a, b in zip(first, last, strict=True)]))


def window_clips(query: Query, length: int) -> IntArray:
    """Clips that count as salient in a query's first window: CG-DETR's recipe (wjun0830/CGDETR, D23).

    A clip lasts duration / L_b here, and a clip that the window leaves before its end does not count, unless it is the
    only one.
    """
    start, end = query.windows[0]
    clip = query.duration / length
    last = max(0, min(int(end / clip), length) - 1)
    return np.arange(min(int(start / clip), last), last + 1)


@dataclass(frozen=True)
class SaliencyRule:
    """Where clip labels and saliency pairs come from."""

    needs: tuple[str, ...]
    """Fields of a query that must be there."""
    relevant_clips: Callable[[Query, float], IntArray]
    """Query and clip length -> clips that belong to a window."""
    clip_labels: Callable[[Query, int, float], tuple[IntArray, IntArray]]
    """Query, L_b and clip length -> salient clips and their labels."""
    draw_pairs: Callable[[Labels, np.random.Generator], tuple[IntArray, IntArray]]
    """(Q, 2) positive and (Q, 2) negative clips."""


def _annotators_clips(query: Query, clip_length: float) -> IntArray:
    return clip_labels(query, clip_length)[0]


def _annotators_labels(query: Query, length: int, clip_length: float) -> tuple[IntArray, IntArray]:
    clips, scores = clip_labels(query, clip_length)
    return clips, scores.sum(1)


def _annotators_pairs(labels: Labels, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Most against least salient relevant clip, and a random relevant against a random irrelevant one."""
    hardest, easiest = labels.most_salient, labels.least_salient
    positive = _pick(labels.salient_order, labels.salient_counts, rng)
    negative = _pick(labels.rest_order, np.maximum(labels.rest_counts, 1), rng)
    # Without an irrelevant clip the random pair repeats the hard one.
    positive = np.where(labels.rest_counts > 0, positive, hardest)
    negative = np.where(labels.rest_counts > 0, negative, easiest)
    return np.stack((hardest, positive), 1), np.stack((easiest, negative), 1)


def _window_relevant_clips(query: Query, clip_length: float) -> IntArray:
    return covered_clips(query.windows, clip_length)


def _window_labels(query: Query, length: int, clip_length: float) -> tuple[IntArray, IntArray]:
    clips = window_clips(query, length)
    return clips, np.ones_like(clips)


def _window_pairs(labels: Labels, rng: np.random.Generator) -> tuple[IntArray, IntArray]:
    """Two random clips inside against two outside, all different where there are enough.

    With fewer than two clips outside the negatives repeat the positives, as in CG-DETR: such pairs have a constant
    loss and no gradient.
    """
    positive = _pick_two(labels.salient_order, labels.salient_counts, rng)
    negative = _pick_two(labels.rest_order, np.maximum(labels.rest_counts, 1), rng)
    return positive, np.where(labels.rest_counts[:, None] < 2, positive, negative)


RULES = {
    "annotators": SaliencyRule(
        ("windows", "saliency", "relevant_clip_ids"), _annotators_clips, _annotators_labels, _annotators_pairs
    ),
    "window": SaliencyRule(("windows",), _window_relevant_clips, _window_labels, _window_pairs),
}


def _labelled(rule: SaliencyRule, query: Query, length: int, clip_length: float) -> tuple[IntArray, IntArray]:
    """Salient clips of a query and their labels: its last clip without a label where there are none."""
    clips, labels = rule.clip_labels(query, length, clip_length)
    return (clips, labels) if len(clips) else (np.array([length - 1]), np.zeros(1, np.int64))


def _extremes(clips: IntArray, labels: IntArray) -> tuple[int, int]:
    """The clips of the lowest and the highest label; of equal ones those that Moment-DETR and its descendants take.

    They sort with numpy's introsort, which keeps the order of equal ones for up to 16 clips (so the first of the lowest
    and the last of the highest) and follows no simple rule beyond. numpy now sorts wide integers by the processor's
    vector instructions, another way on every machine; those of 16 bits it sorts as it always did.
    """
    order = np.argsort(labels.astype(np.int16))
    return clips[order[0]], clips[order[-1]]


def _front(mask: NDArray[np.bool_]) -> IntArray:
    """(Q, L) bool -> (Q, L) indices with those of True entries in front, each group ascending."""
    return np.argsort(~mask, axis=1, kind="stable")


def _pick(order: IntArray, counts: IntArray, rng: np.random.Generator) -> IntArray:
    """One of the first ``counts`` entries of each row, uniformly."""
    place = (rng.random(len(order)) * counts).astype(np.int64)
    return np.take_along_axis(order, place[:, None], 1)[:, 0]


def _pick_two(order: IntArray, counts: IntArray, rng: np.random.Generator) -> IntArray:
    """(Q, 2) two different ones of the first ``counts`` entries of each row, the same twice where there is one."""
    draws = rng.random((len(order), 2))
    first = (draws[:, 0] * counts).astype(np.int64)
    second = (draws[:, 1] * np.maximum(counts - 1, 1)).astype(np.int64)
    second = np.where(counts > 1, second + (second >= first), first)
    return np.take_along_axis(order, np.stack((first, second), 1), 1)


def _normalised_windows(
    queries: Sequence[Query], lengths: IntArray, clip_lengths: Sequence[float]
) -> tuple[FloatArray, NDArray[np.bool_]]:
    """All windows as ``cw`` of the features' duration L_b x clip length, valid ones first.

    A window may end after the features, one clip short, say: it keeps its length and its end, as in Moment-DETR.
    """
    most = max(len(query.windows) for query in queries)
    spans = np.zeros((len(queries), most, 2), np.float32)
    mask = np.zeros((len(queries), most), bool)
    for row, (query, length, clip_length) in enumerate(zip(queries, lengths, clip_lengths, strict=True)):
        ends = query.windows / (length * clip_length)
        spans[row, : len(ends), 0] = ends.mean(1)
        spans[row, : len(ends), 1] = ends[:, 1] - ends[:, 0]
        mask[row, : len(ends)] = True
    return spans, mask
