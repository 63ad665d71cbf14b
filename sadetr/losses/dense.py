"""Losses of methods in which every clip predicts a window of its own (UniVTG)."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average
from sadetr.nn.spans import cw_to_se, generalised_iou

SLACK = 1e-3
"""Share of a clip by which a point may miss a window's end and still lie on it: rounding of float32."""


@dataclass(frozen=True)
class ClipTargets:
    """What every clip should predict."""

    inside: Tensor
    """(B, L) bool."""
    windows: Tensor
    """(B, L, 2) ``se`` window of each clip inside one; the others hold anything finite."""


def clip_targets(points: Tensor, mask: Tensor, spans: Tensor, spans_mask: Tensor) -> ClipTargets:
    """Give each clip the last window that its point lies in, ends included.

    A video none of whose points lies in a window gives the clip that holds the start of the first window to that one.

    Args:
        points: (B, L) normalised.
        mask: (B, L) bool, valid clips first.
        spans: (B, G, 2) ``cw``, normalised.
        spans_mask: (B, G) bool, valid spans first.
    """
    windows, lengths = cw_to_se(spans), mask.sum(1)
    slack = SLACK / lengths[:, None, None]
    start, end = windows.unsqueeze(2).unbind(-1)
    place = points.unsqueeze(1)
    within = (place >= start - slack) & (place <= end + slack) & spans_mask.unsqueeze(2) & mask.unsqueeze(1)
    number = torch.arange(1, spans.shape[1] + 1, device=spans.device).view(-1, 1)
    last = (within * number).amax(1)
    first_clip = (windows[:, 0, 0] * lengths + SLACK).long().clamp(min=0).minimum(lengths - 1)
    clip = torch.arange(mask.shape[1], device=mask.device)
    forced = (clip == first_clip.unsqueeze(1)) & (last.amax(1, keepdim=True) == 0)
    last = torch.maximum(last, forced.to(last.dtype))
    index = (last - 1).clamp(min=0).unsqueeze(-1).expand(-1, -1, 2)
    return ClipTargets(last > 0, windows.gather(1, index))


def foreground_loss(logits: Tensor, inside: Tensor, mask: Tensor, background: float) -> Tensor:
    """Binary cross entropy of (B, L) logits, clips outside windows weighted by ``background``, mean over valid clips.

    The mean is over all valid clips, not over their weights, as published.
    """
    weights = torch.where(inside, 1.0, background).to(logits.dtype)
    losses = functional.binary_cross_entropy_with_logits(logits, inside.to(logits.dtype), weights, reduction="none")
    return masked_average(losses, mask)


def boundary_losses(predicted: Tensor, targets: ClipTargets) -> tuple[Tensor, Tensor]:
    """Smooth L1, summed over both ends, and 1 - gIoU of (B, L, 2) ``se``, means over the clips inside windows."""
    distance = functional.smooth_l1_loss(predicted, targets.windows, reduction="none").sum(-1)
    overlap = generalised_iou(predicted, targets.windows)
    return masked_average(distance, targets.inside), masked_average(1 - overlap, targets.inside)
