"""Sinusoidal position encodings of clips and of span anchors; no parameters (docs/interpretation.md, D41)."""

import math

import torch
from torch import Tensor


def at_least_float32(x: Tensor) -> Tensor:
    """Positions need more than half precision; float64 stays what it is."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def sine_pairs(angles: Tensor, channels: int) -> Tensor:
    """Interleaved sine and cosine of ``angles`` at ``channels / 2`` frequencies: (...) -> (..., channels).

    Pair j of channels has the frequency 10000^(-2j / channels).
    """
    pair = torch.arange(channels // 2, device=angles.device, dtype=angles.dtype)
    # Divided by a power, as published: other forms round otherwise, and angles of a hundred clips show it.
    phase = angles.unsqueeze(-1) / 10000 ** (2 * pair / channels)
    return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(-2)


def clip_positions(
    mask: Tensor, channels: int, *, normalised: bool = True, dtype: torch.dtype = torch.float32
) -> Tensor:
    """Encode the i-th of L_b valid clips at its right edge i / L_b.

    Args:
        mask: (B, L) bool, True at valid clips.
        channels: d.
        normalised: False encodes the number i as an angle, whatever L_b.
        dtype: of the result.

    Returns:
        (B, L, d); a padded clip holds the value of the last valid clip before it.
    """
    order = mask.cumsum(1).to(dtype)
    if not normalised:
        return sine_pairs(order, channels)
    return sine_pairs(2 * math.pi * order / (order[:, -1:] + 1e-6), channels)


def anchor_positions(anchors: Tensor, channels: int) -> Tensor:
    """Encode span anchors: (..., 2) ``cw`` in [0, 1] -> (..., channels), centre half first, then width half."""
    return sine_pairs(2 * math.pi * at_least_float32(anchors), channels // 2).flatten(-2)
