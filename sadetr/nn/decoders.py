"""Decoders of moment queries: DETR's plain one and DAB-DETR's, both as the moment retrieval field publishes them."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from sadetr.nn.attention import (
    FewQueryAttention,
    MultiHeadAttention,
    attend,
    merge_heads,
    project_back,
    project_mixed,
    split_heads,
)
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.gaussian import modulated_softmax
from sadetr.nn.layers import MLP, copies
from sadetr.nn.positions import anchor_positions
from sadetr.nn.settings import GaussianMask
from sadetr.nn.spans import moved
from sadetr.nn.stochastic import Dropout, PReLU


@dataclass(frozen=True)
class Memory:
    """What decoder layers read: encoded clips (and words) with positions and mask."""

    values: Tensor
    """(B, M, d)."""
    positions: Tensor
    """(B, M, d)."""
    mask: Tensor
    """(B, M) bool."""
    sentence: Tensor | None = None
    """(B, 1, d), where a layer reads the text as a whole."""


class PlainDecoderLayer(nn.Module):
    """DETR's post-norm decoder layer: positions are added to queries and keys in front of the projections."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiHeadAttention(width, heads, dropout)
        self.cross_attention = FewQueryAttention(width, heads, dropout)
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
        self.layers = nn.ModuleList(copies(PlainDecoderLayer(width, heads, feedforward, dropout), layers))
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
        attention = self.dropout(
            modulated_softmax(self._logits(content, position, sine, memory), anchors, memory.mask, self.gauss)
        )
        mixed = project_mixed(attention, memory.values, self.value.weight, self.value.bias)
        return self.out(merge_heads(mixed))

    def _logits(self, content: Tensor, position: Tensor, sine: Tensor, memory: Memory) -> Tensor:
        """Products of the concatenated halves, (B, h, N, M), as sums of the halves' products.

        The key is [content | place], in the first layer [content + place | place]: there the content half of the query
        meets the place too.
        """
        query, place = self.query(content), self.query_sine(sine)
        if self.query_position is not None:
            query = query + self.query_position(position)
            place = place + query
        scale = (2 * query.shape[-1] / self.heads) ** -0.5
        logits: Tensor | float = 0.0
        for half, key, rows in ((query, self.key, memory.values), (place, self.key_position, memory.positions)):
            half = split_heads(half * scale, self.heads)
            product = project_back(half, key.weight) @ rows.transpose(1, 2)
            bias = (half * key.bias.view(self.heads, 1, -1)).sum(-1, keepdim=True)
            logits = logits + product.unflatten(1, half.shape[1:3]) + bias
        return logits


class DABDecoderLayer(nn.Module):
    """Conditional self and cross attention and a feed-forward block, post-norm."""

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        first: bool,
        gauss: GaussianMask | None = None,
        activation: Callable[[], nn.Module] = PReLU,
    ) -> None:
        super().__init__()
        self.self_attention = ConditionalSelfAttention(width, heads, dropout)
        self.cross_attention = ConditionalCrossAttention(width, heads, dropout, first, gauss)
        self.feedforward = FeedForward(width, feedforward, dropout, activation)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(width) for _ in range(3))
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, sine: Tensor, anchors: Tensor, memory: Memory) -> Tensor:
        """(B, N, d) contents, positions and anchor encodings, (B, N, 2) anchors -> (B, N, d)."""
        content = self.norm1(content + self.dropout(self.self_attention(content, position)))
        mixed = self.cross_attention(content, position, sine, anchors, memory)
        content = self.norm2(content + self.dropout(mixed))
        return self.norm3(content + self.dropout(self.feedforward(content)))


def dab_layers(count: int, *sizes: Any, **options: Any) -> list[DABDecoderLayer]:
    """Layers of a decoder that start as copies; the first also adds positions to contents in its cross attention.

    ``sizes`` (width, heads, feed-forward width, dropout) and ``options`` are those of :class:`DABDecoderLayer`.
    """
    layers = copies(DABDecoderLayer(*sizes, first=True, **options), count)
    for layer in layers[1:]:
        layer.cross_attention.query_position = None
    return layers


class AnchorEncoding(nn.Module):
    """Positions of anchors for the self attention, and their modulated encodings for the cross attention.

    Unlike DAB-DETR's, the width modulation scales the whole encoding, its width half included (QD-DETR).
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.position = MLP(width, width, width)
        self.scale = MLP(width, width, width)
        self.reference_width = MLP(width, width, 1)

    def forward(self, anchors: Tensor, content: Tensor, first: bool) -> tuple[Tensor, Tensor]:
        """(B, N, 2) ``cw`` anchors and (B, N, d) contents -> positions and encodings, (B, N, d) each.

        In the ``first`` layer contents say nothing yet, and do not scale the encoding.
        """
        encoded = anchor_positions(anchors, content.shape[-1]).to(content.dtype)
        sine = encoded if first else encoded * self.scale(content)
        sine = sine * (self.reference_width(content).sigmoid() / anchors[..., 1:])
        return self.position(encoded), sine


class CentreEncoding(nn.Module):
    """EaTR's: d channels each for centre and width make the position, the cross attention meets the centre alone.

    As in :class:`AnchorEncoding`, contents scale the encoding; here in every layer, as they start from the video.
    """

    def __init__(self, width: int, inner: int | None = None, scale_first: bool = True) -> None:
        """Build the encoding.

        Args:
            width: d.
            inner: width inside the perceptron of the position; d unless given.
            scale_first: whether contents scale the first layer's encoding too. BAM-DETR's do not.
        """
        super().__init__()
        self.scale_first = scale_first
        self.position = MLP(2 * width, inner or width, width)
        self.scale = MLP(width, width, width)
        self.reference_width = MLP(width, width, 1)

    def forward(self, anchors: Tensor, content: Tensor, first: bool) -> tuple[Tensor, Tensor]:
        """(B, N, 2) ``cw`` anchors and (B, N, d) contents -> positions and encodings, (B, N, d) each."""
        width = content.shape[-1]
        encoded = anchor_positions(anchors, 2 * width).to(content.dtype)
        modulation = self.reference_width(content).sigmoid() / anchors[..., 1:]
        centre = encoded[..., :width]
        sine = centre if first and not self.scale_first else centre * self.scale(content)
        return self.position(encoded), sine * modulation


def reference_offset(width: int) -> MLP:
    """Moves of a span's logits: (..., d) -> (..., 2); its biases start at zero."""
    offset = MLP(width, width, width, 2)
    nn.init.zeros_(offset[-1].bias)
    return offset


@dataclass(frozen=True)
class Decoded:
    """What R decoder layers leave."""

    contents: Tensor
    """(R, B, N, d) behind each layer."""
    starts: Tensor
    """(R, B, N, k) references that each layer started from: QD-DETR's spans are offsets from them."""
    ends: Tensor
    """(R, B, N, k) references behind each layer: UVCOM's spans are offsets from them."""


DecoderStep = Callable[[int, Tensor, Tensor], tuple[Tensor, Tensor]]
"""Index of a layer, contents (B, N, d) and references (B, N, k) -> both behind the layer."""


def iterate(step: DecoderStep, layers: int, content: Tensor, references: Tensor) -> Decoded:
    """Run ``step`` for every layer, each from what the layer before left.

    Gradients reach the references in ``starts`` and ``ends``, but never a layer through those that it reads, save the
    first ones: they are read with their history, so that what they were made from learns by the first layer too.

    Args:
        step: one layer and the move of its references.
        layers: R.
        content: (B, N, d) to start from.
        references: (B, N, k), normalised; a span's two numbers, or any other of its parametrisations.
    """
    contents, starts, ends = [], [], []
    for index in range(layers):
        starts.append(references)
        content, references = step(index, content, references.detach() if index else references)
        contents.append(content)
        ends.append(references)
    return Decoded(torch.stack(contents), torch.stack(starts), torch.stack(ends))


class DABDecoder(nn.Module):
    """DAB-DETR's decoder on spans, of the layers given (QD-DETR and its descendants).

    ``offset`` only moves the references of the following layer, as the spans are predicted by a head of the model.
    """

    def __init__(
        self, layers: Iterable[nn.Module], encoding: nn.Module, offset: Callable[[Tensor], Tensor], width: int
    ) -> None:
        """Build the decoder.

        Args:
            layers: called as :class:`DABDecoderLayer`.
            encoding: called as :class:`AnchorEncoding`.
            offset: (B, N, d) contents -> (B, N, 2) moves of the references' logits: a module, or, where a head of the
                model does it (EaTR), a function that calls that head, which then stays a module of the model alone.
            width: d.
        """
        super().__init__()
        self.layers = nn.ModuleList(layers)
        self.encoding = encoding
        self.offset = offset
        self.norm = nn.LayerNorm(width)

    def forward(self, content: Tensor, anchors: Tensor, memory: Memory) -> Decoded:
        """Decode (B, N, d) contents from (B, N, 2) ``cw`` anchors; the results' contents are behind the shared norm."""

        def step(index: int, content: Tensor, anchors: Tensor) -> tuple[Tensor, Tensor]:
            position, sine = self.encoding(anchors, content, index == 0)
            content = self.layers[index](content, position, sine, anchors, memory)
            return content, moved(anchors, self.offset(content))

        decoded = iterate(step, len(self.layers), content, anchors)
        return replace(decoded, contents=self.norm(decoded.contents))
