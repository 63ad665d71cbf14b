"""Decoders of moment queries: DETR's plain one and DAB-DETR's, both as the moment retrieval field publishes them."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.nn.attention import MultiHeadAttention, attend, merge_heads, split_heads
from sadetr.nn.gaussian import modulated_softmax
from sadetr.nn.layers import MLP, FeedForward
from sadetr.nn.positions import anchor_positions
from sadetr.nn.settings import GaussianMask
from sadetr.nn.spans import inverse_sigmoid
from sadetr.nn.stochastic import Dropout


@dataclass(frozen=True)
class Memory:
    """What decoder layers read: encoded clips (and words) with positions and mask."""

    values: Tensor
    """(B, M, d)."""
    positions: Tensor
    """(B, M, d)."""
    mask: Tensor
    """(B, M) bool."""


class PlainDecoderLayer(nn.Module):
    """DETR's post-norm decoder layer: positions are added to queries and keys in front of the projections."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_attention = MultiHeadAttention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout, nn.ReLU)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, memory: Memory) -> Tensor:
        """(B, N, d) contents with (N, d) or (B, N, d) positions -> (B, N, d)."""
        placed = content + position
        content = self.norm1(content + self.dropout(self.self_attention(placed, placed, content, None)))
        mixed = self.cross_attention(content + position, memory.values + memory.positions, memory.values, memory.mask)
        content = self.norm2(content + self.dropout(mixed))
        return self.norm3(content + self.dropout(self.feedforward(content)))


class PlainDecoder(nn.Module):
    """Stack of :class:`PlainDecoderLayer` with one final norm for the contents of all layers."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float, layers: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(PlainDecoderLayer(width, heads, feedforward, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, position: Tensor, memory: Memory) -> Tensor:
        """(N, d) query positions, contents start at zero -> (R, B, N, d) contents of the R layers."""
        content = torch.zeros_like(position).expand(len(memory.values), -1, -1)
        contents = []
        for layer in self.layers:
            content = layer(content, position, memory)
            contents.append(content)
        return self.norm(torch.stack(contents))


class ConditionalSelfAttention(nn.Module):
    """Queries and keys are sums of projected contents and projected positions; no projection inside the attention."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.query_position, self.key, self.key_position, self.value, self.out = (
            nn.Linear(width, width) for _ in range(6)
        )
        self.dropout = Dropout(dropout)
        nn.init.zeros_(self.out.bias)

    def forward(self, content: Tensor, position: Tensor) -> Tensor:
        """(B, N, d) contents and positions -> (B, N, d)."""
        query = split_heads(self.query(content) + self.query_position(position), self.heads)
        key = split_heads(self.key(content) + self.key_position(position), self.heads)
        value = split_heads(self.value(content), self.heads)
        return self.out(merge_heads(attend(query, key, value, None, self.dropout)))


class ConditionalCrossAttention(nn.Module):
    """Content and position halves are concatenated per head; the first layer also adds positions to the contents."""

    def __init__(self, width: int, heads: int, dropout: float, first: bool, gauss: GaussianMask | None) -> None:
        super().__init__()
        self.heads = heads
        self.gauss = gauss
        self.query, self.key, self.key_position, self.value, self.query_sine, self.out = (
            nn.Linear(width, width) for _ in range(6)
        )
        self.query_position = nn.Linear(width, width) if first else None
        self.dropout = Dropout(dropout)
        nn.init.zeros_(self.out.bias)

    def forward(self, content: Tensor, position: Tensor, sine: Tensor, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, N, d) contents, positions and anchor encodings, (B, N, 2) anchors -> (B, N, d)."""
        query, key, place = self.query(content), self.key(memory.values), self.key_position(memory.positions)
        if self.query_position is not None:
            query, key = query + self.query_position(position), key + place
        query = torch.cat((split_heads(query, self.heads), split_heads(self.query_sine(sine), self.heads)), -1)
        key = torch.cat((split_heads(key, self.heads), split_heads(place, self.heads)), -1)
        logits = (query * query.shape[-1] ** -0.5) @ key.transpose(-2, -1)
        attention = self.dropout(modulated_softmax(logits, anchors, memory.mask, self.gauss))
        return self.out(merge_heads(attention @ split_heads(self.value(memory.values), self.heads)))


class DABDecoderLayer(nn.Module):
    """Conditional self and cross attention and a feed-forward block, post-norm."""

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, first: bool, gauss: GaussianMask | None
    ) -> None:
        super().__init__()
        self.self_attention = ConditionalSelfAttention(width, heads, dropout)
        self.cross_attention = ConditionalCrossAttention(width, heads, dropout, first, gauss)
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, sine: Tensor, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, N, d) contents, positions and anchor encodings, (B, N, 2) anchors -> (B, N, d)."""
        content = self.norm1(content + self.dropout(self.self_attention(content, position)))
        mixed = self.cross_attention(content, position, sine, anchors, memory)
        content = self.norm2(content + self.dropout(mixed))
        return self.norm3(content + self.dropout(self.feedforward(content)))


class DABDecoder(nn.Module):
    """DAB-DETR's decoder on spans, as QD-DETR uses it (spec/baselines.md 2.2).

    Two habits differ from DAB-DETR: the width modulation scales the whole anchor encoding, its width half included, and
    ``offset`` only moves the reference of the following layer, as the spans are predicted by a head of the model.
    """

    def __init__(
        self, width: int, heads: int, feedforward: int, dropout: float, layers: int, gauss: GaussianMask | None = None
    ) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            DABDecoderLayer(width, heads, feedforward, dropout, index == 0, gauss) for index in range(layers)
        )
        self.position = MLP(width, width, width)
        self.scale = MLP(width, width, width)
        self.reference_width = MLP(width, width, 1)
        self.offset = MLP(width, width, width, 2)
        self.norm = nn.LayerNorm(width)
        nn.init.zeros_(self.offset[-1].bias)

    def forward(self, anchors: Tensor, memory: Memory) -> tuple[Tensor, Tensor]:
        """Decode from (B, N, 2) ``cw`` anchors, contents start at zero.

        Returns:
            Contents (R, B, N, d) of the R layers behind the shared norm, and the anchors (R, B, N, 2) that each layer
            started from. Gradients reach each layer's anchors, but not through the layer that started from them.
        """
        content = memory.values.new_zeros(*anchors.shape[:2], memory.values.shape[-1])
        contents, references = [], []
        for index, layer in enumerate(self.layers):
            if index:
                anchors = (self.offset(content) + inverse_sigmoid(anchors)).sigmoid()
            references.append(anchors)
            # The first anchors are not detached: the layer's own gradient reaches what they were made from.
            anchors = anchors.detach() if index else anchors
            encoded = anchor_positions(anchors, content.shape[-1]).to(content.dtype)
            sine = encoded * self.scale(content) if index else encoded
            sine = sine * (self.reference_width(content).sigmoid() / anchors[..., 1:])
            content = layer(content, self.position(encoded), sine, anchors, memory)
            contents.append(content)
        return self.norm(torch.stack(contents)), torch.stack(references)
