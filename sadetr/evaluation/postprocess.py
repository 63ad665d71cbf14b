"""Turns predicted spans into the windows of a submission (docs/metrics.md, "Post-processing")."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

DECIMALS = 4
"""Digits of scores and of decoded windows in prediction files."""


def rank_windows(
    spans_cw: ArrayLike, scores: ArrayLike, durations: ArrayLike, clamp: bool = True
) -> NDArray[np.float64]:
    """Decode spans and rank them, of one query or of many side by side.

    Args:
        spans_cw: (..., N, 2) centre and width, normalised by the video.
        scores: (..., N) confidence.
        durations: (...) of the videos, in seconds.
        clamp: whether windows end with their video; none starts before it in any case.

    Returns:
        (..., N, 3) start and end in seconds and score: descending, equal scores in the given
        order, four decimals. Ranks are those of the unrounded scores.
    """
    spans = np.asarray(spans_cw, dtype=np.float64)
    scores = np.asarray(scores, dtype=np.float64)
    durations = np.asarray(durations, dtype=np.float64)[..., None]
    order = np.argsort(-scores, axis=-1, kind="stable")
    centre, width = (np.take_along_axis(spans[..., part], order, axis=-1) for part in (0, 1))
    half = width / 2
    windows = np.stack([centre - half, centre + half, np.take_along_axis(scores, order, axis=-1)], axis=-1)
    windows[..., :2] *= durations[..., None]
    np.maximum(windows[..., :2], 0.0, out=windows[..., :2])
    if clamp:
        np.minimum(windows[..., :2], durations[..., None], out=windows[..., :2])
    return np.round(windows, DECIMALS) + 0.0  # no negative zeros in files


def postprocess_windows(
    windows: ArrayLike, clamp: tuple[float, float] | None, round_to: float | None
) -> NDArray[np.float64]:
    """Fit ranked windows to a benchmark's grid; the order is kept, also where rounding makes windows equal.

    Args:
        windows: (..., 3) start and end in seconds, and score; an empty list is no window.
        clamp: smallest and largest second, or None.
        round_to: grid in seconds, or None; halfway points go to the even multiple.

    Returns:
        (..., 3) a new array, scores with four decimals.
    """
    result = np.array(windows, dtype=np.float64)
    result = result if result.ndim > 1 else result.reshape(-1, 3)
    if clamp is not None:
        result[..., :2] = np.clip(result[..., :2], *clamp)
    if round_to is not None:
        result[..., :2] = np.round(result[..., :2] / round_to) * round_to
    result[..., 2] = np.round(result[..., 2], DECIMALS)
    return result + 0.0
