"""Which of a query's windows are kept, and in which order (docs/metrics.md, "Ranking")."""

import numpy as np
from numpy.typing import NDArray

from sadetr.errors import SettingsError
from sadetr.evaluation.moment_retrieval import hull_iou
from sadetr.evaluation.postprocess import DECIMALS
from sadetr.training_settings import GaussianSuppression, HardSuppression, Ranking, ScoreRanking

Array = NDArray[np.float64]
Mask = NDArray[np.bool_]


def rerank(windows: Array, ranking: Ranking) -> tuple[Array, Mask]:
    """Suppress what overlaps better windows, as the run's settings say; greedy, all queries side by side.

    Again and again the best window left is taken (the first of equal ones), and those left that overlap it by an IoU
    above the threshold are dropped or lose score. As in Moment-DETR's, BAM-DETR's and 2D-TAN's evaluation a window of
    exactly the threshold stays as it is, and two equal windows of no length do not overlap.

    Args:
        windows: (B, N, 3) post-processed windows in seconds and scores, best first. Those with a score of -inf are no
            candidates and are left out.
        ranking: what is suppressed, and how many are kept.

    Returns:
        (B, n, 3) windows by descending score, n <= N, decayed scores with four decimals; and (B, n) which of these are
        kept: not all queries keep as many.

    Raises:
        SettingsError: a score is negative, where scores are to be lowered by multiplication.
    """
    left = windows[..., 2] != -np.inf
    if isinstance(ranking, ScoreRanking):
        return windows[:, : ranking.kept], left[:, : ranking.kept]
    if not isinstance(ranking, HardSuppression) and (windows[left, 2] < 0).any():
        raise SettingsError(
            f"training.ranking: kind {ranking.kind!r} lowers scores by multiplying them, which raises the method's "
            "negative ones: let it predict scores of at least 0, or choose kind 'nms'"
        )
    queries = np.arange(len(windows))
    scores = np.where(left, windows[..., 2], 0.0)
    taken, found = [], []
    for _ in range(min(ranking.kept or windows.shape[1], windows.shape[1])):
        best = np.where(left, scores, -np.inf).argmax(1)
        taken.append(np.column_stack([windows[queries, best, :2], scores[queries, best]]))
        found.append(left[queries, best])
        left[queries, best] = False
        iou = hull_iou(windows[queries, best, None, :2], windows[..., :2])
        overlapping = left & (iou > ranking.threshold)
        if isinstance(ranking, HardSuppression):
            left &= ~overlapping
        else:
            scores = np.where(overlapping, scores * _decay(iou, ranking), scores)
        if not left.any():
            break
    return np.round(np.stack(taken, axis=1), DECIMALS), np.stack(found, axis=1)


def _decay(iou: Array, ranking: Ranking) -> Array:
    """What soft-NMS multiplies the score of a window by that overlaps a better one."""
    return np.exp(-(iou**2) / ranking.sigma) if isinstance(ranking, GaussianSuppression) else 1 - iou
