"""Videos of any length on a fixed number of positions."""

import torch
from torch import Tensor


def position_means(values: Tensor, mask: Tensor, positions: int) -> Tensor:
    """Mean of the clips at each position of a video (microsoft/VideoX, 2D-TAN).

    Position p of N has the clips from round(p L / N) up to round((p + 1) L / N), halves to even, and where these are
    equal the one clip there. The limits are at most L - 1, so that the last clip is read by positions that have no
    other, and by none in a video of many more clips than positions.

    Args:
        values: (B, L, d).
        mask: (B, L) bool, valid clips first.
        positions: N.

    Returns:
        (B, N, d).
    """
    lengths = mask.sum(1, keepdim=True)
    limits = torch.arange(positions + 1, device=mask.device) * lengths / positions
    limits = limits.round().long().minimum(lengths - 1)
    first, stop = limits[:, :-1], limits[:, 1:].maximum(limits[:, :-1] + 1)
    clip = torch.arange(values.shape[1], device=mask.device)
    inside = (clip >= first.unsqueeze(2)) & (clip < stop.unsqueeze(2))
    return (inside.to(values.dtype) / (stop - first).unsqueeze(2)) @ values
