"""Trivial predictors: what a model must beat to have learned anything."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.postprocess import rank_windows

SEED = 2018
RANDOM_SPANS = 10

Spans = Callable[[Query], tuple[NDArray[np.float64], NDArray[np.float64]]]


def whole_video(train: Sequence[Query]) -> Spans:
    """One window: the whole video."""
    return lambda query: (np.array([[0.5, 1.0]]), np.ones(1))


def mean_span(train: Sequence[Query]) -> Spans:
    """One window: mean centre and mean width of all training windows.

    Raises:
        DataError: no training annotations with windows.
    """
    windows = [query.windows / query.duration for query in train if query.windows is not None]
    if not windows:
        raise DataError("the mean span needs training annotations with windows: give --train-annotations")
    ends = np.concatenate(windows)
    mean = np.array([[ends.mean(), (ends[:, 1] - ends[:, 0]).mean()]])
    return lambda query: (mean, np.ones(1))


def random_spans(train: Sequence[Query]) -> Spans:
    """Ten windows with uniform ends, in an order that is as random; the same for every call."""
    rng = np.random.default_rng(SEED)

    def draw(query: Query) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        ends = np.sort(rng.random((RANDOM_SPANS, 2)), axis=1)
        spans = np.stack((ends.mean(1), ends[:, 1] - ends[:, 0]), axis=1)
        return spans, np.linspace(1, 0, RANDOM_SPANS, endpoint=False)

    return draw


BASELINES: dict[str, Callable[[Sequence[Query]], Spans]] = {
    "whole_video": whole_video,
    "mean_span": mean_span,
    "random_spans": random_spans,
}


def baseline_predictions(
    name: str, queries: Sequence[Query], train: Sequence[Query], clip_length: float
) -> list[dict[str, Any]]:
    """Submission rows of a trivial predictor for ``queries``; ``train`` is what it may learn from.

    Saliency is the same for every clip.

    Raises:
        DataError: unknown name, or nothing to learn from.
    """
    if name not in BASELINES:
        raise DataError(f"no trivial predictor {name!r}; known: {', '.join(BASELINES)}")
    spans = BASELINES[name](train)
    return [
        {
            "qid": query.qid,
            "query": query.query,
            "vid": query.vid,
            "pred_relevant_windows": rank_windows(*spans(query), query.duration).tolist(),
            "pred_saliency_scores": [0.0] * max(int(query.duration / clip_length), 1),
        }
        for query in queries
    ]
