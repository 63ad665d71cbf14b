"""Losses of methods that score candidate moments (2D-TAN)."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.nn.spans import iou


def overlap_targets(ious: Tensor, lowest: float, highest: float, bias: float) -> Tensor:
    """IoUs -> targets in [0, 1] of the same shape: 0 up to ``lowest``, 1 from ``highest`` on, linear between.

    The line is shrunk by 1 - ``bias``, which is added to what is positive.
    """
    line = (ious - lowest) * (1 - bias) / (highest - lowest)
    return torch.where(line > 0, line + bias, line).clamp(0, 1)


def best_overlap(candidates: Tensor, windows: Tensor, mask: Tensor) -> Tensor:
    """Best IoU of (K, 2) ``se`` candidates with (B, G, 2) ``se`` windows, (B, G) mask True at valid ones -> (B, K)."""
    overlaps = iou(candidates.unsqueeze(1), windows.unsqueeze(1))
    return overlaps.masked_fill(~mask.unsqueeze(1), 0.0).amax(2)


def candidate_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Binary cross entropy of (B, K) logits and targets in [0, 1], mean over all candidates of the batch."""
    return functional.binary_cross_entropy_with_logits(logits, targets)
