"""All metrics of a prediction file: percent, unrounded, from the contributions of its queries (docs/metrics.md)."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.highlight_detection import LEVELS, HighlightScores, HighlightTruth
from sadetr.evaluation.moment_retrieval import (
    FULL,
    PRECISION_THRESHOLDS,
    RANGES,
    RECALL_THRESHOLDS,
    MomentTruth,
    RangeScores,
)
from sadetr.evaluation.prediction_arrays import PredictionArrays
from sadetr.evaluation.predictions import align
from sadetr.settings import DatasetSettings

CHUNK = 8192
"""Queries scored at once: bounds the memory for intermediate arrays."""
REPORTED_LEVEL = "VeryGood"
"""Level of the plain names HD_mAP and HIT@1, as in the field's tables."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Contributions of all queries, in annotation order; those without labels have none."""

    count: int
    """Number of queries, with or without labels."""
    moments: dict[str, RangeScores]
    highlights: HighlightScores | None


def evaluate(
    predictions: Sequence[Mapping[str, Any]], queries: Sequence[Query], *, highlights: bool, clip_length: float
) -> dict[str, float | None]:
    """Metrics of ``predictions``.

    Args:
        predictions: submission rows, one per query, in any order.
        queries: the annotations.
        highlights: whether highlight detection is defined.
        clip_length: seconds per clip of the saliency.

    Returns:
        Percent, not rounded; None where no query counts (an empty length range, no labels). ``R1@0.3`` to
        ``R1@0.95``, ``mIoU``, ``mAP@0.5`` to ``mAP@0.95`` and their mean ``mAP``; the same per length range after
        ``short/``, ``middle/`` and ``long/``; ``HD_mAP@LEVEL`` and ``HIT@1@LEVEL`` for Fair, Good and VeryGood, the
        last also as ``HD_mAP`` and ``HIT@1``.

    Raises:
        DataError: predictions and annotations do not hold the same qids, or a number is not finite.
    """
    return metrics_of(score(predictions, queries, highlights=highlights, clip_length=clip_length))


def score(
    predictions: Sequence[Mapping[str, Any]], queries: Sequence[Query], *, highlights: bool, clip_length: float
) -> Scores:
    """Contributions of every query; arguments and errors are those of :func:`evaluate`.

    A query without windows counts for no moment metric, one without saliency for no highlight metric.
    """
    if not queries:
        raise DataError("there are no annotations to score against")
    rated = _highlight_truths(queries, clip_length) if highlights else None
    return _scores(PredictionArrays.of_rows(align(predictions, queries)), _moment_truths(queries, RANGES), rated)


class GroundTruth:
    """The labels of one split, laid out once to score what is predicted for it again and again."""

    def __init__(
        self, queries: Sequence[Query], *, highlights: bool, clip_length: float, ranges: Sequence[str] = RANGES
    ) -> None:
        """As for :func:`evaluate`; ``ranges`` are the length ranges whose metrics are wanted."""
        self._moments = list(_moment_truths(queries, ranges))
        self._highlights = list(_highlight_truths(queries, clip_length)) if highlights else None

    def score(self, predictions: PredictionArrays) -> Scores:
        """What :func:`score` gives for the rows of ``predictions``, which are in the order of the annotations.

        Raises:
            DataError: a number is not finite.
        """
        return _scores(predictions, self._moments, self._highlights)


_Indices = NDArray[np.int64]


def _moment_truths(queries: Sequence[Query], ranges: Sequence[str]) -> Iterator[tuple[_Indices, MomentTruth]]:
    """Queries with windows, CHUNK at a time, and their windows."""
    labelled = [i for i, query in enumerate(queries) if query.windows is not None and len(query.windows)]
    for chosen in _chunks(labelled):
        yield chosen, MomentTruth([queries[i].windows for i in chosen], ranges)


def _highlight_truths(queries: Sequence[Query], clip_length: float) -> Iterator[tuple[_Indices, HighlightTruth]]:
    """Queries with saliency, CHUNK at a time, and their labels."""
    for chosen in _chunks([i for i, query in enumerate(queries) if query.saliency is not None]):
        yield chosen, HighlightTruth([queries[i] for i in chosen], clip_length)


def _chunks(chosen: Sequence[int]) -> Iterator[_Indices]:
    """Indices, CHUNK at a time; of none at all once."""
    for start in range(0, max(1, len(chosen)), CHUNK):
        yield np.array(chosen[start : start + CHUNK], dtype=np.int64)


def _scores(
    predictions: PredictionArrays,
    moments: Iterable[tuple[_Indices, MomentTruth]],
    highlights: Iterable[tuple[_Indices, HighlightTruth]] | None,
) -> Scores:
    parts = [(chosen, truth.score(predictions.take(chosen))) for chosen, truth in moments]
    found = {name: _join([(chosen, scores[name]) for chosen, scores in parts]) for name in parts[0][1]}
    rated = None
    if highlights is not None:
        rated = _join_highlights([(chosen, truth.score(predictions.take(chosen))) for chosen, truth in highlights])
    return Scores(len(predictions), found, rated)


def metric_names(highlights: bool) -> tuple[str, ...]:
    """Names of all metrics that :func:`evaluate` gives, with or without highlight detection."""
    truth = GroundTruth([], highlights=highlights, clip_length=1.0)
    return tuple(metrics_of(truth.score(PredictionArrays.of_rows([]))))


def unknown_metrics(dataset: DatasetSettings) -> Iterator[str]:
    """A message for every metric by which a setting selects checkpoints although validation does not give it.

    Validation gives the metrics of all lengths, and of highlight detection where the setting has it.
    """
    known = [name for name in metric_names(dataset.highlights) if "/" not in name]
    for checkpoint, rule in dataset.checkpoints.items():
        key = "selection" if checkpoint == "best" else f"{checkpoint}_selection"
        for metric in rule.metrics if rule is not None else ():
            if metric not in known:
                yield f"{key}: metric {metric!r} is not validated; known: {', '.join(known)}"


def metrics_of(scores: Scores) -> dict[str, float | None]:
    """Means over the contributions, under the names that :func:`evaluate` lists."""
    metrics: dict[str, float | None] = {}
    for name, values in scores.moments.items():
        prefix = "" if name == FULL else f"{name}/"
        metrics |= {f"{prefix}{metric}": value for metric, value in _moment_metrics(values).items()}
    if scores.highlights is not None:
        precision, hit = scores.highlights.precision, scores.highlights.hit
        scored = len(scores.highlights.queries) > 0
        levels = {
            level: (100 * float(precision[index].mean()), 100 * float(hit[index].mean())) if scored else (None, None)
            for index, level in enumerate(LEVELS)
        }
        metrics["HD_mAP"], metrics["HIT@1"] = levels[REPORTED_LEVEL]
        for level, (mean_precision, hit_rate) in levels.items():
            metrics[f"HD_mAP@{level}"], metrics[f"HIT@1@{level}"] = mean_precision, hit_rate
    return metrics


def _moment_metrics(scores: RangeScores) -> dict[str, float | None]:
    metrics: dict[str, float | None] = {}
    scored = len(scores.iou) > 0
    for threshold in RECALL_THRESHOLDS:
        metrics[f"R1@{threshold}"] = 100 * float((scores.iou >= threshold).mean()) if scored else None
    metrics["mIoU"] = 100 * float(scores.iou.mean()) if scored else None
    precision = scores.precision[scores.predicted]
    means = precision.mean(axis=0) if len(precision) else None
    for column, threshold in enumerate(PRECISION_THRESHOLDS):
        metrics[f"mAP@{threshold}"] = None if means is None else 100 * float(means[column])
    metrics["mAP"] = None if means is None else 100 * float(means.mean())
    return metrics


def _join(parts: Sequence[tuple[_Indices, RangeScores]]) -> RangeScores:
    """Scores of all chunks; each counts its queries from 0."""
    return RangeScores(
        np.concatenate([chosen[part.queries] for chosen, part in parts]),
        np.concatenate([part.iou for _, part in parts]),
        np.concatenate([part.precision for _, part in parts]),
        np.concatenate([part.predicted for _, part in parts]),
    )


def _join_highlights(parts: Sequence[tuple[_Indices, HighlightScores]]) -> HighlightScores:
    return HighlightScores(
        np.concatenate([chosen[part.queries] for chosen, part in parts]),
        np.concatenate([part.precision for _, part in parts], axis=1),
        np.concatenate([part.hit for _, part in parts], axis=1),
    )
