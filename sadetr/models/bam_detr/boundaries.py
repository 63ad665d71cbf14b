"""What finds a moment's ends: boundary features of the clips, and layers that sample them around an end."""

import torch
from torch import Tensor, nn

from sadetr.nn.attention import project_mixed
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.stochastic import Dropout
from sadetr.nn.temporal_align import interpolation_weights

POINTS = 4
"""Sampled places per head."""


class BoundaryFeatures(nn.Module):
    """Features that respond to one kind of boundary: convolutions over three, three and one clips, ReLU behind each."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Conv1d(width, width, size, padding=size // 2) for size in (3, 3, 1))

    def forward(self, clips: Tensor, mask: Tensor | None) -> Tensor:
        """(B, L, d) -> (B, L, d); clips outside the (B, L) mask are read as zeros, None: as they are."""
        values = clips.transpose(1, 2)
        for layer in self.layers:
            values = layer(values if mask is None else values * mask.unsqueeze(1)).relu()
        return values.transpose(1, 2)


class BoundarySampling(nn.Module):
    """Deformable attention over time: every head reads the clips at a few places around an end.

    All offsets start to the right of it, by one clip more from point to point, for starts and ends alike.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.offsets = nn.Linear(width, heads * POINTS)
        self.weights = nn.Linear(width, heads * POINTS)
        self.value = nn.Linear(2 * width, width)
        self.out = nn.Linear(width, width)
        with torch.no_grad():
            self.offsets.bias.copy_(torch.arange(1.0, POINTS + 1).repeat(heads))
        nn.init.zeros_(self.weights.bias)

    def forward(self, content: Tensor, place: Tensor, clips: Tensor, length: Tensor, extent: Tensor) -> Tensor:
        """Sample around each query's end.

        Args:
            content: (B, N, d), which says how far from the end and how much of each place.
            place: (B, N), normalised by the video's own length.
            clips: (B, L, 2d).
            length: (B, 1, 1, 1) valid clips.
            extent: (B, 1, 1, 1) clips that places may lie in: the valid ones or, as published, all.

        Returns:
            (B, N, d).
        """
        offset, weight = (layer(content).unflatten(-1, (self.heads, POINTS)) for layer in (self.offsets, self.weights))
        share = (place[..., None, None] + offset / length) * (length / extent)
        kernel = interpolation_weights(share.clamp(0, 1) * (extent - 1), clips.shape[1])
        attention = (weight.softmax(-1).unsqueeze(-1) * kernel).sum(-2).transpose(1, 2)
        mixed = project_mixed(attention, clips, self.value.weight, self.value.bias)
        # Published so: the heads' first channels come first, then their second ones.
        return self.out(mixed.permute(0, 2, 3, 1).flatten(2))


class BoundaryLayer(nn.Module):
    """Sampling around an end and a feed-forward block, post-norm."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.sampling = BoundarySampling(width, heads)
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.norm1, self.norm2 = (nn.LayerNorm(width) for _ in range(2))
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, place: Tensor, clips: Tensor, length: Tensor, extent: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d); the other arguments are those of :class:`BoundarySampling`."""
        content = self.norm1(content + self.dropout(self.sampling(content, place, clips, length, extent)))
        return self.norm2(content + self.dropout(self.feedforward(content)))
