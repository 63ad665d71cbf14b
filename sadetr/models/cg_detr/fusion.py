"""Clips read the words as much as the words apply to them: adaptive cross attention (CG-DETR)."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.attention import dropped_softmax, merge_heads, split_heads, visibility_bias
from sadetr.nn.feedforward import FeedForward
from sadetr.nn.layers import copies
from sadetr.nn.stochastic import Dropout, DropPath


@dataclass(frozen=True)
class Text:
    """What every sample's clips attend to: K dummies, and the words behind them."""

    values: Tensor
    """(B, K+T, d)."""
    positions: Tensor
    """(B, K+T, d)."""
    mask: Tensor
    """(B, K+T) bool, True at dummies and valid words."""
    dummies: int
    """K."""

    def share(self, attention: Tensor) -> Tensor:
        """What words get of an attention: (..., K+T) -> (...). Beyond 1 only by the rescaling of dropout."""
        return attention[..., self.dummies :].sum(-1)


class AdaptiveAttention(nn.Module):
    """Attention to dummies and words that mixes the words alone, so that what dummies take is lost.

    Queries, keys and values are the inputs themselves, which heads share channel by channel; only the result is
    projected.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.out = nn.Linear(width, width)
        nn.init.zeros_(self.out.bias)

    def forward(self, clips: Tensor, positions: Tensor, text: Text, visible: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, d) clips and positions, ``visible`` (B, K+T) or (B, h, L, K+T) -> (B, L, d), (B, L, K+T).

        The second is the attention, mean of the heads.
        """
        q = split_heads(clips + positions, self.heads)
        k = split_heads(text.values + text.positions, self.heads)
        bias = visibility_bias(visible, q.dtype)
        logits = (q / math.sqrt(q.shape[-1])) @ k.transpose(-2, -1)
        attention = dropped_softmax(logits + (bias[:, None, None] if bias.dim() == 2 else bias), self.dropout)
        words = split_heads(text.values[:, text.dummies :], self.heads)
        return self.out(merge_heads(attention[..., text.dummies :] @ words)), attention.mean(1)


class AdaptiveLayer(nn.Module):
    """QD-DETR's fusion layer with adaptive attention, and with drop path on the residual branches."""

    def __init__(self, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = AdaptiveAttention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.path = DropPath(dropout)

    def forward(self, clips: Tensor, positions: Tensor, text: Text, visible: Tensor) -> tuple[Tensor, Tensor]:
        """Clips and their attention; arguments as of :class:`AdaptiveAttention`."""
        mixed, attention = self.attention(clips, positions, text, visible)
        return self._add(clips, mixed), attention

    def alone(self, tokens: Tensor) -> Tensor:
        """(B, N, d) tokens that find nothing to attend to: the attention's result is the bias of its projection."""
        return self._add(tokens, self.attention.out.bias.expand_as(tokens))

    def _add(self, x: Tensor, mixed: Tensor) -> Tensor:
        x = x + self.path(mixed)
        return self.norm2(x + self.path(self.feedforward(self.norm1(x))))


class AdaptiveFusion(nn.Module):
    """Layers that read the same words."""

    def __init__(self, layers: int, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(copies(AdaptiveLayer(width, heads, feedforward, dropout), layers))

    def forward(self, clips: Tensor, positions: Tensor, text: Text, visible: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, d) clips -> (B, L, d) and their attention to dummies and words, mean of the layers, (B, L, K+T)."""
        total: Tensor | float = 0.0
        for layer in self.layers:
            clips, attention = layer(clips, positions, text, visible)
            total = total + attention
        return clips, total / len(self.layers)

    def alone(self, tokens: Tensor) -> Tensor:
        """(B, N, d) tokens without words through all layers."""
        for layer in self.layers:
            tokens = layer.alone(tokens)
        return tokens


class SaliencyPrompts(nn.Module):
    """The saliency token of a video: the mean of its clips, moved towards the prompts that its clips lean to."""

    def __init__(self, prompts: int, chosen: int, width: int) -> None:
        super().__init__()
        self.chosen = chosen
        self.tokens = nn.Parameter(torch.randn(prompts, width))
        self.position = nn.Parameter(torch.randn(1, width))

    def similarities(self, clips: Tensor, context: Tensor) -> Tensor:
        """Share of every prompt in what is special of a clip: (B, L, d) clips, (B, d) their mean -> (B, L, P)."""
        special = functional.normalize(clips - context.unsqueeze(1), dim=-1)
        return (special @ functional.normalize(self.tokens, dim=-1).T).softmax(-1)

    def mix(self, similarities: Tensor, importance: Tensor, context: Tensor) -> Tensor:
        """Token of the most similar prompts: (B, L, P), (B, L) weights of the clips, (B, d) mean -> (B, d)."""
        weights = importance / importance.sum(1, keepdim=True).clamp(min=torch.finfo(importance.dtype).tiny)
        scores = torch.einsum("bl,blp->bp", weights, similarities)
        best, index = scores.topk(self.chosen, 1)
        return torch.zeros_like(scores).scatter(1, index, best) @ self.tokens + context
