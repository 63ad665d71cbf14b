"""Span Aware Query Refiner (section 3.4, eqs 1-6)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.models.sa_detr.settings import EnhanceBlock, SADETRSettings
from sadetr.nn.attention import attend, merge_heads, split_heads
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.gaussian import modulated_softmax
from sadetr.nn.layers import MLP, copies, xavier_matrices
from sadetr.nn.positions import anchor_positions
from sadetr.nn.spans import moved
from sadetr.nn.stochastic import Dropout
from sadetr.nn.temporal_align import bin_centres, interpolation_weights


@dataclass(frozen=True)
class VideoContext:
    """What every refiner layer reads of the encoded video and text."""

    clips: Tensor
    """M_v, (B, L, d)."""
    mask: Tensor
    """(B, L) bool."""
    positions: Tensor
    """PE_time, (B, L, d)."""
    sentence: Tensor
    """M_t, (B, d)."""


def temporal_align_weights(anchors: Tensor, mask: Tensor, samples: int) -> Tensor:
    """Interpolation weights of Temporal Align: sampled features are ``weights @ clips`` (D37).

    Position k of N_s lies at ``start + (k + 0.5) * length / N_s - 0.5`` clips, clamped to the valid clips; lengths
    below one clip count as one. The weights are the triangular kernel of linear interpolation, so that sampling is a
    product of matrices: deterministic on every device, and no gradient reaches the anchors.

    Args:
        anchors: (B, N, 2) ``cw``.
        mask: (B, L) bool.
        samples: N_s.

    Returns:
        (B, N, N_s, L), each row summing to 1.
    """
    with torch.no_grad():
        count = mask.sum(1).to(anchors.dtype).view(-1, 1, 1)
        centre, width = anchors.unbind(-1)
        length = (width.unsqueeze(-1) * count).clamp(min=1)
        start = centre.unsqueeze(-1) * count - length / 2
        place = torch.minimum((bin_centres(start, length, samples) - 0.5).clamp(min=0), count - 1)
        return interpolation_weights(place, mask.shape[1])


class SpanEnhance(nn.Module):
    """Span based enhance block (eqs 2-3): clips sampled inside the anchor, weighed by the sentence, gated in."""

    def __init__(self, width: int, settings: EnhanceBlock) -> None:
        super().__init__()
        self.settings = settings
        self.clip = nn.Linear(width, width, bias=False)
        self.sentence = nn.Linear(width, width, bias=False)
        self.fuse = nn.Linear(width, width)
        self.norm = nn.LayerNorm(width)

    def forward(self, content: Tensor, anchors: Tensor, context: VideoContext) -> Tensor:
        """(B, N, d) contents and (B, N, 2) anchors -> (B, N, d)."""
        sampled = self._attend(temporal_align_weights(anchors, context.mask, self.settings.samples), context)
        product = content * sampled
        if self.settings.gate == "scalar":
            product = product.sum(-1, keepdim=True)
            if self.settings.gate_scale:
                product = product / math.sqrt(content.shape[-1])
        return self.norm(content + self.fuse(product.sigmoid() * (sampled + content)))

    def _attend(self, weights: Tensor, context: VideoContext) -> Tensor:
        """Eq 2: (B, N, N_s, L) weights -> (B, N, d).

        Interpolation is linear, so clips are scored before they are sampled and the N_s samples never materialise.
        """
        query = self.sentence(context.sentence)
        clip_scores = torch.einsum("bld,bd->bl", self.clip(context.clips), query) / math.sqrt(query.shape[-1])
        scores = torch.einsum("bnsl,bl->bns", weights, clip_scores)
        samples = self.settings.samples
        attention = {
            "raw": lambda: scores / samples,
            "softmax": lambda: scores.softmax(-1),
            "sigmoid": lambda: scores.sigmoid() / samples,
        }[self.settings.attn]()
        return torch.einsum("bns,bnsl->bnl", attention, weights) @ context.clips


class SelfAttention(nn.Module):
    """Eq 1: the anchor's position is added to projected queries and keys, itself unprojected (D35)."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        self.attention_dropout = Dropout(dropout)
        self.dropout = Dropout(dropout)

    def forward(self, content: Tensor, position: Tensor, bias: Tensor | None) -> Tensor:
        """(B, N, d) contents and positions; ``bias`` (B, 1, N, N) hides by -inf, None hides nothing."""
        q = split_heads(self.query(content) + position, self.heads)
        k = split_heads(self.key(content) + position, self.heads)
        v = split_heads(self.value(content), self.heads)
        mixed = attend(q, k, v, bias, self.attention_dropout)
        return self.norm(content + self.dropout(self.out(merge_heads(mixed))))


class ModulatedCrossAttention(nn.Module):
    """Eqs 4-6: content and position halves concatenated per head, logits modulated by the Gaussian mask (D43).

    Raw positions are cut into bands of frequencies by the split into heads, and most heads get bands in which all clips
    look alike; a projection gives every head all of them, as in DAB-DETR and its descendants (D41).
    """

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        self.heads = settings.num_heads
        self.gauss = settings.gauss if settings.ad.modulate else None
        self.residual = settings.refiner.residual
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        projected = settings.refiner.positions == "projected"
        self.query_position, self.key_position = (nn.Linear(width, width) if projected else None for _ in range(2))
        self.norm = nn.LayerNorm(width)
        self.attention_dropout = Dropout(settings.dropout)
        self.dropout = Dropout(settings.dropout)

    def forward(self, content: Tensor, position: Tensor, anchors: Tensor, context: VideoContext) -> Tensor:
        """(B, N, d) contents and positions, (B, N, 2) anchors -> (B, N, d)."""
        query = self.query(content)
        logits = self._logits(query, position, context)
        attention = self.attention_dropout(modulated_softmax(logits, anchors, context.mask, self.gauss))
        value = split_heads(self.value(context.clips), self.heads)
        kept = content if self.residual == "content" else query
        return self.norm(kept + self.dropout(self.out(merge_heads(attention @ value))))

    def _logits(self, query: Tensor, place: Tensor, context: VideoContext) -> Tensor:
        """Eq 4: projected contents and positions of the queries (B, N, d) -> (B, h, N, L)."""
        key, time = self.key(context.clips), context.positions
        if self.query_position is not None:
            place, time = self.query_position(place), self.key_position(time)
        query, place, key, time = (split_heads(values, self.heads) for values in (query, place, key, time))
        scale = 1 / math.sqrt(2 * query.shape[-1])
        return (torch.cat((query, place), -1) * scale) @ torch.cat((key, time), -1).transpose(-2, -1)


class RefinerLayer(nn.Module):
    """One refiner layer: self attention, span enhance, modulated cross attention, feed-forward."""

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        width, dropout = settings.hidden_width, settings.dropout
        self.self_attention = SelfAttention(width, settings.num_heads, dropout)
        self.enhance = SpanEnhance(width, settings.enhance) if settings.ad.enhance else None
        self.cross_attention = ModulatedCrossAttention(settings)
        self.feedforward = FeedForward(width, settings.feedforward_width, dropout)
        self.dropout = Dropout(dropout)
        self.norm = nn.LayerNorm(width)

    def forward(
        self, content: Tensor, position: Tensor, anchors: Tensor, bias: Tensor | None, context: VideoContext
    ) -> Tensor:
        """Contents (B, N, d), positions P_S (B, N, d), anchors (B, N, 2) -> contents (B, N, d)."""
        content = self.self_attention(content, position, bias)
        if self.enhance is not None:
            content = self.enhance(content, anchors, context)
        content = self.cross_attention(content, position, anchors, context)
        return self.norm(content + self.dropout(self.feedforward(content)))


class SpanAwareRefiner(nn.Module):
    """Stack of refiner layers with shared position, offset and quality heads (D36, D48)."""

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        self.update = settings.refiner.update
        self.gradient = settings.refiner.gradient
        self.layers = nn.ModuleList(copies(RefinerLayer(settings), settings.refiner_layers))
        self.position = MLP(width, width, width)
        # The heads below keep PyTorch's initialisation.
        xavier_matrices(self)
        self.offset = MLP(width, width, width, 2)
        self.quality = nn.Linear(width, 1)
        nn.init.zeros_(self.offset[-1].weight)
        nn.init.zeros_(self.offset[-1].bias)

    def forward(
        self, content: Tensor, anchors: Tensor, bias: Tensor | None, context: VideoContext
    ) -> tuple[Tensor, Tensor]:
        """Refine contents (B, N, d) and anchors (B, N, 2).

        Anchors are detached between layers (D47, unless set otherwise); those of the first layer are not.

        Returns:
            Spans (R, B, N, 2) ``cw`` and qualities (R, B, N) of all R layers.
        """
        spans, qualities = [], []
        # What the layer looks at, and what its offset is added to: one tensor with two ways for gradients.
        seen = base = anchors
        for layer in self.layers:
            position = self.position(anchor_positions(seen, content.shape[-1]).to(content.dtype))
            content = layer(content, position, seen, bias, context)
            spans.append(self._updated(base, self.offset(content)))
            qualities.append(self.quality(content).squeeze(-1).sigmoid())
            base = spans[-1].detach() if self.gradient == "detached" else spans[-1]
            seen = spans[-1] if self.gradient == "full" else spans[-1].detach()
        return torch.stack(spans), torch.stack(qualities)

    def _updated(self, anchors: Tensor, offset: Tensor) -> Tensor:
        """Anchors and offsets, (..., 2) -> refined spans in [0, 1] (D46)."""
        if self.update == "linear":
            return (anchors + offset).clamp(0, 1)
        return moved(anchors, offset)
