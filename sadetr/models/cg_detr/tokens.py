"""Learned tokens that stand in front of a sequence and are encoded with it: dummies, sentence, moment (CG-DETR)."""

import torch
from torch import Tensor, nn

from sadetr.models.detr.encoders import Stack
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.stochastic import DropPath


class LeadingTokens(nn.Module):
    """Learned tokens, their positions, and the encoder that they read a sequence in."""

    def __init__(
        self, count: int | None, layers: int, width: int, heads: int, feedforward: int, dropout: float
    ) -> None:
        """Build them; None: one token, held as a vector. Sizes are those of an encoder layer."""
        super().__init__()
        shape = (width,) if count is None else (count, width)
        self.tokens = nn.Parameter(torch.randn(shape))
        self.positions = nn.Parameter(torch.randn(shape))
        layer = EncoderLayer(width, heads, feedforward, dropout, residual=DropPath(dropout))
        self.encoder = Stack.of_copies(layer, layers)

    def forward(self, values: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """Encode (B, N, d) values with (B, N, d) positions and (B, N) mask behind the n tokens -> (B, n+N, d)."""
        size, width = len(values), values.shape[-1]
        tokens, places = (each.view(-1, width).expand(size, -1, -1) for each in (self.tokens, self.positions))
        seen = torch.cat((mask.new_ones(tokens.shape[:2]), mask), 1)
        return self.encoder(torch.cat((tokens, values), 1), torch.cat((places, positions), 1), seen)
