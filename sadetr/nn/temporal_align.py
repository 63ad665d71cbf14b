"""Sampling of clip features inside spans: what Temporal Align shares with G-TAD's kernel."""

import torch
from torch import Tensor


def bin_centres(start: Tensor, length: Tensor, bins: int) -> Tensor:
    """Centres of equal bins: ``start`` and ``length`` (..., 1) -> (..., bins)."""
    step = (torch.arange(bins, device=start.device, dtype=start.dtype) + 0.5) / bins
    return start + step * length


def interpolation_weights(place: Tensor, clips: int) -> Tensor:
    """Triangular kernel of linear interpolation at ``place`` in [0, clips - 1]: (...) -> (..., clips)."""
    clip = torch.arange(clips, device=place.device, dtype=place.dtype)
    return (1 - (place.unsqueeze(-1) - clip).abs()).clamp(min=0)
