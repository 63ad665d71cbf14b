"""Learned tokens and positions: the token in front of the clips, the clip scores read from it, tables of positions."""

import math

import torch
from torch import Tensor, nn

from sadetr.errors import SettingsError
from sadetr.nn.positions import clip_positions
from sadetr.nn.stochastic import Dropout


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


class TokenPositions(nn.Module):
    """Learned positions of words, normalised together with the words they belong to (Moment-DETR's ``use_txt_pos``).

    The result holds the word itself, so it is more than a position; published as such.
    """

    def __init__(self, words: int, width: int, dropout: float) -> None:
        super().__init__()
        self.table = nn.Embedding(words, width)
        self.norm = nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, text: Tensor) -> Tensor:
        """(B, T, d) projected words, T at most the size of the table -> (B, T, d)."""
        return self.dropout(self.norm(text + self.table.weight[: text.shape[1]]))


class LearnedPositions(nn.Module):
    """A table of positions that starts at zero."""

    def __init__(self, count: int, width: int, setting: str) -> None:
        """Build the table.

        Args:
            count: positions that there are.
            width: d.
            setting: that says ``count``, for the error.
        """
        super().__init__()
        self.table = nn.Parameter(torch.zeros(count, width))
        self.setting = setting

    def forward(self, count: int) -> Tensor:
        """The first ``count`` positions, (count, d).

        Raises:
            SettingsError: there are fewer.
        """
        if count > len(self.table):
            raise SettingsError(
                f"{count} clips or words in a sample, but learned positions for {len(self.table)}: raise "
                f"{self.setting} of the method, or shorten samples by the dataset's max_video_clips or max_text_tokens"
            )
        return self.table[:count]
