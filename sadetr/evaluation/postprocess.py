"""Turns predicted spans into the windows of a submission (docs/metrics.md, "Post-processing")."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

DECIMALS = 4
"""Digits of scores and of decoded windows in prediction files."""


def rank_windows(spans_cw: ArrayLike, scores: ArrayLike, duration: float, clamp: bool = True) -> NDArray[np.float64]:
    """Decode one query's spans and rank them.

    Args:
        spans_cw: (N, 2) centre and width, normalised by the video.
        scores: (N,) confidence.
        duration: of the video, in seconds.
        clamp: whether windows end with their video; none starts before it in any case.

    Returns:
        (N, 3) start and end in seconds and score: descending, equal scores in the given
        order, four decimals. Ranks are those of the unrounded scores.
    """
    spans = np.asarray(spans_cw, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    half = spans[:, 1] / 2
    ends = np.stack([spans[:, 0] - half, spans[:, 0] + half], axis=1) * duration
    windows = np.column_stack([np.clip(ends, 0.0, duration if clamp else None), scores])
    ranked = windows[np.argsort(-scores, kind="stable")]
    return np.round(ranked, DECIMALS) + 0.0  # no negative zeros in files


def postprocess_windows(
    windows: ArrayLike, clamp: tuple[float, float] | None, round_to: float | None
) -> NDArray[np.float64]:
    """Fit ranked windows to a benchmark's grid; the order is kept, also where rounding makes windows equal.

    Args:
        windows: (n, 3) start and end in seconds, and score.
        clamp: smallest and largest second, or None.
        round_to: grid in seconds, or None; halfway points go to the even multiple.

    Returns:
        (n, 3) a new array, scores with four decimals.
    """
    result = np.array(windows, dtype=np.float64).reshape(-1, 3)
    if clamp is not None:
        result[:, :2] = np.clip(result[:, :2], *clamp)
    if round_to is not None:
        result[:, :2] = np.round(result[:, :2] / round_to) * round_to
    result[:, 2] = np.round(result[:, 2], DECIMALS)
    return result + 0.0
