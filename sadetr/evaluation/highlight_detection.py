"""Highlight detection metrics: HD mAP and HIT@1 at three levels of agreement (docs/metrics.md)."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVELS = {"Fair": 2, "Good": 3, "VeryGood": 4}
"""Least annotator score of a positive clip."""
REPORTED_LEVEL = "VeryGood"


def highlight_contributions(
    scores: Sequence[Floats], clips: Sequence[NDArray[np.int64]], saliency: Sequence[NDArray[np.int64]], counts: NDArray
) -> dict[str, Floats]:
    """What each query adds to HD mAP and HIT@1.

    Args:
        scores: per query the predicted score of each clip; shorter or longer than the labels where features were.
        clips: per query (m,) labelled clips.
        saliency: per query (m, 3) one score per annotator.
        counts: (Q,) clips of each video by its duration, at least 1.

    Returns:
        Metric name -> (Q,) contribution in [0, 1]; ``HD_mAP`` and ``HIT@1`` are the VeryGood level.
    """
    labels = np.zeros((len(scores), int(counts.max()), 3), dtype=np.int8)
    padded = np.zeros(labels.shape[:2])
    top = np.full(len(scores), -1)
    for row, (values, relevant, marks) in enumerate(zip(scores, clips, saliency, strict=True)):
        labels[row, relevant] = marks
        # Clips without a prediction count as predicted with 0.
        padded[row, : min(len(values), counts[row])] = values[: counts[row]]
        if len(values):
            top[row] = np.argmax(values)
    valid = np.arange(labels.shape[1]) < counts[:, None]
    precision = _average_precision(padded, labels, valid)
    inside = (top >= 0) & (top < counts)
    at_top = labels[np.arange(len(top)), np.where(inside, top, 0)].max(1) * inside
    results = {}
    for column, (name, level) in enumerate(LEVELS.items()):
        results[f"HD_mAP@{name}"] = precision[:, column]
        results[f"HIT@1@{name}"] = (at_top >= level).astype(np.float64)
    return {
        "HD_mAP": results[f"HD_mAP@{REPORTED_LEVEL}"],
        "HIT@1": results[f"HIT@1@{REPORTED_LEVEL}"],
        **results,
    }


def _average_precision(scores: Floats, labels: NDArray, valid: NDArray[np.bool_]) -> Floats:
    """(Q, L) scores and (Q, L, 3) labels -> (Q, 3 levels), mean over annotators.

    Equal scores form one step. AP is the plain mean of the precision envelope over the steps that add a positive:
    a step counts once, however many positives it adds.
    """
    order = np.argsort(np.where(valid, -scores, np.inf), axis=1, kind="stable")
    scores = np.take_along_axis(scores, order, 1)
    valid = np.take_along_axis(valid, order, 1)
    labels = np.take_along_axis(labels, order[..., None], 1)
    following = np.concatenate((scores[:, 1:] != scores[:, :-1], np.ones((len(scores), 1), bool)), axis=1)
    last_valid = np.concatenate((valid[:, :-1] & ~valid[:, 1:], valid[:, -1:]), axis=1)
    step_end = (valid & (following | last_valid))[..., None]
    clips = valid.sum(1)
    ranks = np.arange(1, scores.shape[1] + 1)[:, None]
    columns = []
    for level in LEVELS.values():
        found = np.cumsum(labels >= level, axis=1, dtype=np.int32)
        precision = np.where(step_end, found / ranks, 0)
        envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
        before = np.maximum.accumulate(np.where(step_end, found, 0), axis=1)
        before = np.concatenate((np.zeros_like(before[:, :1]), before[:, :-1]), axis=1)
        adds = step_end & (found > before)
        positives, steps = found[:, -1], adds.sum(1)
        average = (envelope * adds).sum(1) / np.maximum(steps, 1)
        columns.append(np.where(positives == clips[:, None], 1.0, average).mean(1))
    return np.stack(columns, axis=1)
