"""Position encodings: sinusoids of clips and span anchors (docs/interpretation.md, D41), learned ones of tokens."""

import math

import torch
from torch import Tensor, nn

from sadetr.nn.stochastic import Dropout


def sine_pairs(angles: Tensor, channels: int) -> Tensor:
    """Interleaved sine and cosine of ``angles`` at ``channels / 2`` frequencies: (...) -> (..., channels).

    Pair j of channels has the frequency 10000^(-2j / channels).
    """
    pair = torch.arange(channels // 2, device=angles.device, dtype=angles.dtype)
    phase = angles.unsqueeze(-1) * torch.exp(pair * (-2 * math.log(10000.0) / channels))
    return torch.stack((phase.sin(), phase.cos()), dim=-1).flatten(-2)


def clip_positions(mask: Tensor, channels: int) -> Tensor:
    """Encode clip i of L_b at its right edge i / L_b.

    Args:
        mask: (B, L) bool, True at valid clips; valid clips come first.
        channels: d.

    Returns:
        (B, L, d); padded clips hold the value of the last valid clip.
    """
    lengths = mask.sum(1, keepdim=True).float()
    order = torch.arange(1, mask.shape[1] + 1, device=mask.device, dtype=torch.float32)
    return sine_pairs(2 * math.pi * torch.minimum(order, lengths) / (lengths + 1e-6), channels)


def anchor_positions(anchors: Tensor, channels: int) -> Tensor:
    """Encode span anchors: (..., 2) ``cw`` in [0, 1] -> (..., channels), centre half first, then width half."""
    return sine_pairs(2 * math.pi * anchors.float(), channels // 2).flatten(-2)


class TokenPositions(nn.Module):
    """Learned positions of tokens, normalised together with the tokens they belong to (Moment-DETR's ``use_txt_pos``).

    The result holds the token itself, so it is more than a position; published as such.
    """

    def __init__(self, tokens: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(tokens, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, text: Tensor) -> Tensor:
        """(B, T, d) projected tokens, T at most the size of the table -> (B, T, d)."""
        return self.dropout(self.norm(text + self.table.weight[: text.shape[1]]))
