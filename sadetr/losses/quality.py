"""Quality losses: regression to the IoU for direct queries (eq 8), a margin for noise queries (eq 9)."""

import torch
from torch import Tensor

from sadetr.losses.matching import matched_queries
from sadetr.losses.moment import masked_average
from sadetr.nn.spans import cw_to_se, iou


def quality_targets(spans: Tensor, truth: Tensor, mask: Tensor) -> Tensor:
    """Best IoU with any ground-truth span, predictions clamped to the video, no gradient.

    (S, B, N, 2) ``cw``, (B, G, 2) ``cw`` and (B, G) bool -> (S, B, N).
    """
    with torch.no_grad():
        overlap = iou(cw_to_se(spans).clamp(0, 1).unsqueeze(3), cw_to_se(truth)[None, :, None])
        return overlap.masked_fill(~mask[None, :, None], 0).amax(-1)


QUALITY_BINS = (0.3, 0.7)
"""Upper edges of BAM-DETR's low and middle bin; an edge belongs to the bin below it."""
BINNED_COEFFICIENT = 2.0
"""Weight of the quality loss in BAM-DETR's objective."""


def quality_bins(targets: Tensor) -> Tensor:
    """Bin of each target: (...) in [0, 1] -> (...) int64, 0 low, 1 middle, 2 high."""
    low, high = QUALITY_BINS
    return (targets > low).long() + (targets > high).long()


def binned_quality_losses(qualities: Tensor, targets: Tensor) -> Tensor:
    """BAM-DETR's |q - target|, averaged within each bin of the target.

    SA-DETR's eq 8 averages over all queries instead.

    Args:
        qualities: (...) in [0, 1].
        targets: (...), as :func:`quality_targets`.

    Returns:
        (3,): low, middle, high; 0 for an empty bin. Their mean over three is BAM-DETR's loss, whatever is empty.
    """
    error, bins = (qualities - targets).abs(), quality_bins(targets)
    return torch.stack([masked_average(error, bins == index) for index in range(len(QUALITY_BINS) + 1)])


def quality_loss(
    qualities: Tensor,
    spans: Tensor,
    truth: Tensor,
    mask: Tensor,
    assigned: Tensor,
    matched_weight: float,
    reduction: str = "mean",
) -> Tensor:
    """Eq 8: weighted |q - IoU|, reduced over samples and queries (D52), summed over stages.

    Args:
        qualities: (S, B, N) in [0, 1].
        spans: (S, B, N, 2) ``cw``.
        truth: (B, G, 2) ``cw``.
        mask: (B, G) bool.
        assigned: (S, B, G) matched query of each span.
        matched_weight: w_q, weight of matched queries; the others have 1.
        reduction: ``mean`` over samples and queries; ``sum`` over queries, mean over samples; ``weighted_mean``, each
            stage divided by the sum of its weights; ``binned``, BAM-DETR's loss with its coefficient, which weighs by
            the target instead of ``matched_weight``.
    """
    targets = quality_targets(spans, truth, mask)
    if reduction == "binned":
        stages = zip(qualities, targets, strict=True)
        return BINNED_COEFFICIENT * torch.stack([binned_quality_losses(*stage).mean() for stage in stages]).sum()
    matched = matched_queries(assigned, mask, qualities.shape[2])
    weights = 1 + (matched_weight - 1) * matched
    error = (qualities - targets).abs()
    if reduction == "weighted_mean":
        return ((weights * error).sum((1, 2)) / weights.sum((1, 2))).sum()
    scale = qualities.shape[2] if reduction == "sum" else 1
    return len(qualities) * scale * (weights * error).mean()


def quality_margin_loss(positive: Tensor, negative: Tensor, mask: Tensor, margin: float) -> Tensor:
    """Eq 9: a positive noise query outscores its negative by ``margin``; mean over pairs (D54), sum over stages.

    ``positive`` and ``negative`` are (S, ...) qualities at equal positions, ``mask`` (...) bool.
    """
    return len(positive) * masked_average((negative - positive + margin).clamp(min=0), mask)


@torch.no_grad()
def quality_monitors(qualities: Tensor, assigned: Tensor, mask: Tensor) -> dict[str, Tensor]:
    """Mean quality of the matched and of the other queries: (B, N), (1, B, G) and (B, G) -> two scalars.

    Scores that stay at 0, the median IoU of ten queries, rank nothing; both means show it.
    """
    matched = matched_queries(assigned, mask, qualities.shape[1])[0]
    return {
        "quality_matched": masked_average(qualities, matched),
        "quality_unmatched": masked_average(qualities, ~matched),
    }
