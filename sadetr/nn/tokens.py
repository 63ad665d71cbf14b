"""The learned token in front of the clips, as QD-DETR and SA-DETR have it, and the clip scores read from it."""

import math

import torch
from torch import Tensor, nn

from sadetr.nn.positions import clip_positions


class FusionToken(nn.Module):
    """The learnable token g and its learned position, kept in front of the clips (D10)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.token = nn.Parameter(torch.randn(width))
        self.position = nn.Parameter(torch.randn(width))

    def prepend(self, video: Tensor, mask: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, L, d) clips and (B, L) mask -> clips, positions (B, L+1, d) and mask (B, L+1), g in row 0."""
        batch, _, width = video.shape
        token = self.token.expand(batch, 1, width)
        place = self.position.expand(batch, 1, width)
        positions = torch.cat((place, clip_positions(mask, width).to(video.dtype)), dim=1)
        return torch.cat((token, video), dim=1), positions, torch.cat((mask.new_ones(batch, 1), mask), dim=1)


class HighlightHead(nn.Module):
    """Clip scores as the scaled product of projected clips and projected fusion token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.clip = nn.Linear(width, width)
        self.token = nn.Linear(width, width)

    def forward(self, video: Tensor) -> Tensor:
        """(B, L+1, d), token in row 0 -> (B, L)."""
        clips, token = self.clip(video[:, 1:]), self.token(video[:, 0])
        return torch.einsum("bld,bd->bl", clips, token) / math.sqrt(video.shape[-1])
