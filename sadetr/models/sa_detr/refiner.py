"""Span Aware Query Refiner (section 3.4, eqs 1-6)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.models.sa_detr.settings import EnhanceBlock, SADETRSettings
from sadetr.nn.attention import attend, merge_heads, split_heads
from sadetr.nn.gaussian import modulated_softmax
from sadetr.nn.layers import MLP, FeedForward, xavier_matrices
from sadetr.nn.positions import anchor_positions
from sadetr.nn.spans import inverse_sigmoid
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
    """Eqs 4-6: content and position halves concatenated per head, logits modulated by the Gaussian mask (D43)."""

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        self.heads = settings.num_heads
        self.gauss = settings.gauss if settings.ad.modulate else None
        self.query, self.key, self.value, self.out = (nn.Linear(width, width) for _ in range(4))
        self.norm = nn.LayerNorm(width)
        self.attention_dropout = Dropout(settings.dropout)
        self.dropout = Dropout(settings.dropout)

    def forward(self, content: Tensor, position: Tensor, anchors: Tensor, context: VideoContext) -> Tensor:
        """(B, N, d) contents and positions, (B, N, 2) anchors -> (B, N, d)."""
        logits = self._logits(content, position, context)
        attention = self.attention_dropout(modulated_softmax(logits, anchors, context.mask, self.gauss))
        value = split_heads(self.value(context.clips), self.heads)
        return self.norm(content + self.dropout(self.out(merge_heads(attention @ value))))

    def _logits(self, content: Tensor, position: Tensor, context: VideoContext) -> Tensor:
        # A product of concatenated halves is the sum of the halves' products.
        heads = self.heads
        query, key = split_heads(self.query(content), heads), split_heads(self.key(context.clips), heads)
        place, time = split_heads(position, heads), split_heads(context.positions, heads)
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
        self.layers = nn.ModuleList(RefinerLayer(settings) for _ in range(settings.refiner_layers))
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

        Anchors are detached between layers (D47); those of the first layer are not.

        Returns:
            Spans (R, B, N, 2) ``cw`` and qualities (R, B, N) of all R layers.
        """
        spans, qualities = [], []
        for layer in self.layers:
            position = self.position(anchor_positions(anchors, content.shape[-1]).to(content.dtype))
            content = layer(content, position, anchors, bias, context)
            spans.append(self._updated(anchors, self.offset(content)))
            qualities.append(self.quality(content).squeeze(-1).sigmoid())
            anchors = spans[-1].detach()
        return torch.stack(spans), torch.stack(qualities)

    def _updated(self, anchors: Tensor, offset: Tensor) -> Tensor:
        """Anchors and offsets, (..., 2) -> refined spans in [0, 1] (D46)."""
        if self.update == "linear":
            return (anchors + offset).clamp(0, 1)
        return (inverse_sigmoid(anchors) + offset).sigmoid()
