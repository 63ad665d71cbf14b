"""All metrics of a prediction file: percent, unrounded, from the contributions of its queries (docs/metrics.md)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.highlight_detection import LEVELS, HighlightScores, score_highlights
from sadetr.evaluation.moment_retrieval import (
    FULL,
    PRECISION_THRESHOLDS,
    RANGES,
    RECALL_THRESHOLDS,
    RangeScores,
    score_moments,
)
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, align

CHUNK = 8192
"""Queries scored at once: bounds the memory for intermediate arrays."""
REPORTED_LEVEL = "VeryGood"
"""Level of the plain names HD_mAP and HIT@1, as in the field's tables."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Contributions of all queries, in annotation order."""

    count: int
    """Number of queries."""
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
        Percent, not rounded; None where no query counts (an empty length range). ``R1@0.3`` to ``R1@0.95``, ``mIoU``,
        ``mAP@0.5`` to ``mAP@0.95`` and their mean ``mAP``; the same per length range after ``short/``, ``middle/`` and
        ``long/``; ``HD_mAP@LEVEL`` and ``HIT@1@LEVEL`` for Fair, Good and VeryGood, the last also as ``HD_mAP`` and
        ``HIT@1``.

    Raises:
        DataError: predictions and annotations do not hold the same qids, a label is missing, or a number is not
            finite.
    """
    return metrics_of(score(predictions, queries, highlights=highlights, clip_length=clip_length))


def score(
    predictions: Sequence[Mapping[str, Any]], queries: Sequence[Query], *, highlights: bool, clip_length: float
) -> Scores:
    """Contributions of every query; arguments and errors are those of :func:`evaluate`."""
    if not queries:
        raise DataError("there are no annotations to score against")
    rows = align(predictions, queries)
    _check_labels(queries, highlights)
    moments: list[dict[str, RangeScores]] = []
    saliency: list[HighlightScores] = []
    for start in range(0, len(queries), CHUNK):
        part, chunk = rows[start : start + CHUNK], queries[start : start + CHUNK]
        moments.append(score_moments([row[WINDOWS] for row in part], [query.windows for query in chunk]))
        if highlights:
            saliency.append(score_highlights([row[SALIENCY] for row in part], chunk, clip_length))
    joined = None
    if highlights:
        precision = np.concatenate([part.precision for part in saliency], axis=1)
        joined = HighlightScores(precision, np.concatenate([part.hit for part in saliency], axis=1))
    return Scores(len(queries), {name: _join([part[name] for part in moments]) for name in RANGES}, joined)


def metrics_of(scores: Scores) -> dict[str, float | None]:
    """Means over the contributions, under the names that :func:`evaluate` lists."""
    metrics: dict[str, float | None] = {}
    for name, values in scores.moments.items():
        prefix = "" if name == FULL else f"{name}/"
        metrics |= {f"{prefix}{metric}": value for metric, value in _moment_metrics(values).items()}
    if scores.highlights is not None:
        precision, hit = scores.highlights.precision, scores.highlights.hit
        levels = {
            level: (100 * float(precision[index].mean()), 100 * float(hit[index].mean()))
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


def _check_labels(queries: Sequence[Query], highlights: bool) -> None:
    for query in queries:
        if query.windows is None or not len(query.windows):
            raise DataError(f"annotations: qid {query.qid!r} has no relevant_windows; use a split with labels")
        if highlights and query.saliency is None:
            raise DataError(
                f"annotations: qid {query.qid!r} has no saliency_scores; use a split with them, or a setting without "
                "highlight detection"
            )


def _join(parts: list[RangeScores]) -> RangeScores:
    return RangeScores(
        np.concatenate([part.queries + index * CHUNK for index, part in enumerate(parts)]),
        np.concatenate([part.iou for part in parts]),
        np.concatenate([part.precision for part in parts]),
        np.concatenate([part.predicted for part in parts]),
    )
