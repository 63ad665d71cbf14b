"""Predictors that look at neither video nor text: the floor that every method must beat."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query, clip_count
from sadetr.errors import SettingsError
from sadetr.evaluation.moment_retrieval import MAX_PREDICTIONS
from sadetr.evaluation.postprocess import DECIMALS
from sadetr.evaluation.predictions import SALIENCY, WINDOWS

Baseline = Callable[[Sequence[Query], Sequence[Query] | None, np.random.Generator], list[NDArray[np.float64]]]


def whole_video(
    queries: Sequence[Query], training: Sequence[Query] | None, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The whole video for every query."""
    return [np.array([[0.0, query.duration, 1.0]]) for query in queries]


def mean_span(
    queries: Sequence[Query], training: Sequence[Query] | None, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """The mean start and end of all training windows, as fractions of their videos.

    Raises:
        SettingsError: there are no training windows.
    """
    spans = [query.windows / query.duration for query in training or () if query.windows is not None]
    if not spans:
        raise SettingsError("the baseline mean_span needs training annotations with windows; name their file")
    start, end = np.concatenate(spans).mean(axis=0)
    return [np.array([[start * query.duration, end * query.duration, 1.0]]) for query in queries]


def random_spans(
    queries: Sequence[Query], training: Sequence[Query] | None, rng: np.random.Generator
) -> list[NDArray[np.float64]]:
    """Ten windows between two uniformly drawn points each."""
    ends = np.sort(rng.random((len(queries), MAX_PREDICTIONS, 2)), axis=2)
    scores = np.sort(rng.random((len(queries), MAX_PREDICTIONS)), axis=1)[:, ::-1]
    return [
        np.column_stack([query_ends * query.duration, query_scores])
        for query, query_ends, query_scores in zip(queries, ends, scores, strict=True)
    ]


BASELINES: dict[str, Baseline] = {
    "whole_video": whole_video,
    "mean_span": mean_span,
    "random_spans": random_spans,
}


def baseline_rows(
    name: str, queries: Sequence[Query], *, training: Sequence[Query] | None, clip_length: float, seed: int
) -> list[dict[str, Any]]:
    """Submission rows of the baseline ``name``, with saliency 0 for every clip.

    Args:
        name: one of BASELINES.
        queries: what to predict.
        training: annotations that a baseline may learn from.
        clip_length: seconds per clip of the saliency.
        seed: of the random draws.

    Raises:
        SettingsError: unknown name, or the baseline lacks training annotations.
    """
    if name not in BASELINES:
        raise SettingsError(f"there is no baseline {name!r}; choose one of {', '.join(BASELINES)}")
    predicted = BASELINES[name](queries, training, np.random.default_rng(seed))
    return [
        {
            "qid": query.qid,
            "query": query.query,
            "vid": query.vid,
            WINDOWS: np.round(windows, DECIMALS).tolist(),
            SALIENCY: [0.0] * clip_count(query.duration, clip_length),
        }
        for query, windows in zip(queries, predicted, strict=True)
    ]
