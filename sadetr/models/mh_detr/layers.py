"""MH-DETR's layers: encoders that pool instead of attending, attention with pooled channels.

All are post-norm (source: YoucanBaby/MH-DETR).
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.attention import MultiHeadAttention
from sadetr.nn.decoders import Memory
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.layers import neighbour_mean
from sadetr.nn.stochastic import Dropout, DropPath


class PoolingLayer(nn.Module):
    """Encoder layer that adds to each row the mean of itself and its two neighbours, then a feed-forward block.

    Whole branches are dropped while training: the first one for all rows of a sample, the second one for a row of all
    samples at once, since the authors hold time first there and draw along the first dimension both times.
    """

    def __init__(self, width: int, feedforward: int, dropout: float, path_dropout: float) -> None:
        super().__init__()
        self.feedforward = FeedForward(width, feedforward, dropout, nn.ReLU)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)
        self.drop_sample, self.drop_row = DropPath(path_dropout, 0), DropPath(path_dropout, 1)

    def forward(self, x: Tensor, seen: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d); rows that are not ``seen``, (B, N) bool, count for no neighbour."""
        x = self.norm1(x + self.drop_sample(neighbour_mean(x, seen)))
        return self.norm2(x + self.drop_row(self.dropout(self.feedforward(x))))


class ContextLayer(nn.Module):
    """Attention to a context and a feed-forward block."""

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        attention: type[MultiHeadAttention] = MultiHeadAttention,
    ) -> None:
        super().__init__()
        self.attention = attention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout, nn.ReLU)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor | None, context: Memory) -> Tensor:
        """(B, N, d) with (N, d) positions, or none, attends to the context -> (B, N, d)."""
        keys = context.values + context.positions
        mixed = self.attention(_placed(x, position), keys, context.values, context.mask)
        x = self.norm1(x + self.dropout(mixed))
        return self.norm2(x + self.dropout(self.feedforward(x)))


class PooledAttentionLayer(nn.Module):
    """Self attention whose result is pooled with its input over pairs of channels, then :class:`ContextLayer`.

    As published, pairs are neighbours within one of the two: the first half of the channels comes from the result, the
    second half from the input, and no channel holds both.
    """

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        attention: type[MultiHeadAttention] = MultiHeadAttention,
    ) -> None:
        """Build the layer; ``attention`` is that to the context."""
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.norm = nn.LayerNorm(width)
        self.context = ContextLayer(width, heads, feedforward, dropout, attention)
        self.dropout = Dropout(dropout)

    def forward(self, x: Tensor, position: Tensor | None, seen: Tensor | None, context: Memory) -> Tensor:
        """(B, N, d) with (N, d) positions, or none -> (B, N, d); rows attend to those ``seen``, (B, N) bool, or to all.

        What they read from the context is as in :class:`ContextLayer`.
        """
        placed = _placed(x, position)
        attended = self.norm(x + self.dropout(self.self_attention(placed, placed, x, seen)))
        return self.context(functional.avg_pool1d(torch.cat((attended, x), -1), 2), position, context)


def small_matrices(module: nn.Module) -> None:
    """Draw the weights of all linear layers from a truncated normal distribution of deviation 0.02, as published.

    Packed projections of attentions and all biases stay as they are.
    """
    for part in module.modules():
        if isinstance(part, nn.Linear):
            nn.init.trunc_normal_(part.weight, std=0.02)


def _placed(x: Tensor, position: Tensor | None) -> Tensor:
    return x if position is None else x + position
