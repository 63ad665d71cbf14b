"""Attention modulated by a Gaussian over the anchor's span (SA-DETR, eqs 5-6)."""

import torch
from torch import Tensor

from sadetr.nn.attention import visibility_bias
from sadetr.nn.positions import at_least_float32
from sadetr.nn.settings import GaussianMask


def log_gaussian_mask(anchors: Tensor, mask: Tensor, settings: GaussianMask) -> Tensor:
    """Logarithm of eq 5: -alpha (i / L_b - c)^2 / w^2 for i = 1..L_b, in float32 at least (D42).

    (B, N, 2) anchors and (B, L) mask -> (B, N, L). Gradients reach anchors that are not detached.
    """
    centre, width = at_least_float32(anchors).unbind(-1)
    count = mask.sum(1, keepdim=True).to(centre.dtype)
    grid = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=centre.dtype) / count
    distance = (grid.unsqueeze(1) - centre.unsqueeze(-1)) / width.clamp(min=settings.min_width).unsqueeze(-1)
    return -settings.alpha * distance.square()


def modulated_softmax(logits: Tensor, anchors: Tensor, mask: Tensor, settings: GaussianMask | None) -> Tensor:
    """Attention of anchors to clips; padding is masked after the modulation.

    Args:
        logits: (B, h, N, L).
        anchors: (B, N, 2) ``cw``.
        mask: (B, L) bool.
        settings: how the mask enters (D43); None leaves the softmax as it is.

    Returns:
        (B, h, N, L).
    """
    mode = None if settings is None else settings.mode
    gaussian = None if settings is None else log_gaussian_mask(anchors, mask, settings).unsqueeze(1)
    if mode == "mul_logits":
        logits = logits * gaussian.exp()
    elif mode == "add_log":
        logits = logits + gaussian
    attention = (logits + visibility_bias(mask, logits.dtype)[:, None, None]).softmax(-1)
    return attention * gaussian.exp() if mode == "mul_prob" else attention
