"""BAM-DETR's losses: spans by their ends, qualities, boundaries of the clips."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.detection import foreground_probability, label_loss
from sadetr.losses.matching import assign, take
from sadetr.losses.moment import masked_average
from sadetr.losses.quality import binned_quality_losses, quality_targets
from sadetr.losses.settings import MatchingCosts
from sadetr.nn.spans import cw_to_se, generalised_iou

INSIDE, OUTSIDE = 0.1, 0.25
"""How far a boundary reaches into the window and out of it, in shares of the window's length."""


@torch.no_grad()
def match_ends(spans: Tensor, logits: Tensor, truth: Tensor, mask: Tensor, costs: MatchingCosts) -> Tensor:
    """Queries of S stages assigned to windows by the distance of starts and ends and by overlap, within the video.

    Shapes as in :func:`sadetr.losses.detection.match_detections`.
    """
    predicted = cw_to_se(spans.float()).clamp(0, 1).unsqueeze(-2)
    target = cw_to_se(truth).clamp(0, 1).unsqueeze(-3)
    cost = costs.l1 * (predicted - target).abs().sum(-1) - costs.giou * generalised_iou(predicted, target)
    return assign(cost - costs.label * foreground_probability(logits.float()).unsqueeze(-1), mask)


def layer_losses(
    spans: Tensor, logits: Tensor, qualities: Tensor, truth: Tensor, mask: Tensor, assigned: Tensor, background: float
) -> dict[str, Tensor]:
    """Unweighted losses of S decoder layers, summed over them.

    Args:
        spans: (S, B, N, 2) ``cw``.
        logits: (S, B, N, 2).
        qualities: (S, B, N) in [0, 1].
        truth: (B, G, 2) ``cw``.
        mask: (B, G) bool.
        assigned: (S, B, G) query of each window.
        background: weight of unmatched queries in the label loss.
    """
    matched, target = cw_to_se(take(spans, assigned)), cw_to_se(truth)
    stages = zip(qualities, quality_targets(spans, truth, mask), strict=True)
    return {
        "l1": len(spans) * masked_average((matched - target).abs().mean(-1), mask),
        "giou": len(spans) * masked_average(1 - generalised_iou(matched, target), mask),
        "label": label_loss(logits, assigned, mask, background),
        "quality": torch.stack([binned_quality_losses(*stage).mean() for stage in stages]).sum(),
    }


def boundary_targets(truth: Tensor, mask: Tensor, extent: Tensor, clips: int) -> Tensor:
    """Clips whose centres lie on a start and on an end: (B, G, 2) ``cw``, (B, G) -> (B, L, 2) bool.

    ``extent``, (B, 1), is how many clips the windows are shares of.
    """
    start, end = (cw_to_se(truth) * extent.unsqueeze(-1)).unsqueeze(1).unbind(-1)
    length = end - start
    centre = (torch.arange(clips, device=truth.device, dtype=truth.dtype) + 0.5).view(1, -1, 1)
    left = (centre >= start - OUTSIDE * length) & (centre <= start + INSIDE * length)
    right = (centre >= end - INSIDE * length) & (centre <= end + OUTSIDE * length)
    return torch.stack(((left & mask.unsqueeze(1)).any(-1), (right & mask.unsqueeze(1)).any(-1)), -1)


def boundary_loss(features: Tensor, targets: Tensor, mask: Tensor, counted: bool) -> Tensor:
    """Binary cross entropy of boundary features; clips on a boundary and all others weigh half each.

    Args:
        features: (B, L, 2d), not negative; the mean of a half's hyperbolic tangents is taken for a probability.
        targets: (B, L, 2) bool, starts and ends.
        mask: (B, L) bool.
        counted: whether padded clips count among the others, twice, as published.
    """
    probability, valid = features.unflatten(-1, (2, -1)).tanh().mean(-1), mask.unsqueeze(-1)
    on, off = targets.long(), (~targets).long()
    on, off = (on, off + (~valid).long()) if counted else (on * valid, off * valid)
    balance = torch.where(targets, *(1 / each.sum(1, keepdim=True).clamp(min=1) for each in (on, off)))
    truth = targets.to(probability.dtype)
    losses = functional.binary_cross_entropy(probability, truth, balance * valid, reduction="none")
    return losses.sum(1).mean() / 2
