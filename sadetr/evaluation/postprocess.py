"""From normalised spans to the windows of a submission line."""

import numpy as np
from numpy.typing import ArrayLike, NDArray

SCORE_DECIMALS = 4


def rank_windows(spans_cw: ArrayLike, scores: ArrayLike, duration: float) -> NDArray[np.float64]:
    """Decode and rank one query's spans.

    Args:
        spans_cw: (N, 2) normalised centre and width.
        scores: (N,).
        duration: seconds.

    Returns:
        (N, 3) start and end in seconds, clamped to the video, and score, best first (stable), to four decimals.
    """
    spans, scores = np.asarray(spans_cw, dtype=np.float64), np.asarray(scores, dtype=np.float64)
    half = spans[:, 1] / 2
    ends = np.stack((spans[:, 0] - half, spans[:, 0] + half), axis=1) * duration
    windows = np.column_stack((np.clip(ends, 0, duration), scores))
    return np.round(windows[np.argsort(-scores, kind="stable")], SCORE_DECIMALS)


def postprocess_windows(windows: ArrayLike, clamp: ArrayLike | None, round_to: float | None) -> NDArray[np.float64]:
    """Clamp and round windows (n, 3) of seconds and score; their order is kept.

    Args:
        windows: start, end, score.
        clamp: lowest and highest second, or None.
        round_to: round starts and ends to multiples of this many seconds, half to even; or None.
    """
    windows = np.array(windows, dtype=np.float64).reshape(-1, 3)
    ends = windows[:, :2]
    if clamp is not None:
        ends = np.clip(ends, *clamp)
    if round_to is not None:
        ends = np.round(ends / round_to) * round_to
    return np.column_stack((ends, np.round(windows[:, 2], SCORE_DECIMALS)))
