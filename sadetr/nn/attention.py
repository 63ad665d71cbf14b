"""Multi-head attention and the two encoder layers built on it."""

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.feedforward import FeedForward
from sadetr.nn.stochastic import Dropout, PReLU, drop


def split_heads(values: Tensor, heads: int) -> Tensor:
    """(B, N, d) -> (B, h, N, d / h)."""
    return values.unflatten(-1, (heads, -1)).transpose(1, 2)


def merge_heads(values: Tensor) -> Tensor:
    """(B, h, N, d / h) -> (B, N, d)."""
    return values.transpose(1, 2).flatten(2)


def visibility_bias(mask: Tensor, dtype: torch.dtype = torch.float32) -> Tensor:
    """Bool mask, True where visible -> 0 or -inf, to be added to attention logits."""
    return torch.zeros(mask.shape, dtype=dtype, device=mask.device).masked_fill_(~mask, -torch.inf)


def attend(query: Tensor, key: Tensor, value: Tensor, bias: Tensor | None, dropout: nn.Module) -> Tensor:
    """Scaled dot-product attention of (B, h, N, k) queries to (B, h, M, k) keys -> (B, h, N, k).

    Written out, not torch's fused kernel: that one is slower on the CPU with dropout and has no deterministic
    backward on every device. ``bias`` broadcasts to (B, h, N, M) and leaves something visible in every row.
    """
    logits = (query / math.sqrt(query.shape[-1])) @ key.transpose(-2, -1)
    if bias is not None:
        logits = logits + bias
    return _dropped_mixture(logits, value, dropout)


def _logits_gradient(gradient: Tensor, weights: Tensor, dropped: Tensor) -> Tensor:
    """From that of a softmax behind dropout.

    With p the softmax, m the mask and d = p m, it is ``d g - p sum(d g)``: the mask need not be kept.
    """
    of_logits = gradient * dropped
    return of_logits.addcmul_(weights, of_logits.sum(-1, keepdim=True), value=-1)


class _DroppedSoftmax(torch.autograd.Function):
    """Softmax over the last dimension, some of it dropped."""

    @staticmethod
    def forward(ctx, logits: Tensor, kept: Tensor, rescaling: float) -> Tensor:
        weights = logits.softmax(-1)
        dropped = drop(weights, kept, rescaling)
        ctx.save_for_backward(weights, dropped)
        return dropped

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        return _logits_gradient(gradient, *ctx.saved_tensors), None, None


class _DroppedMixture(torch.autograd.Function):
    """Values mixed by such weights. They are dropped anew in the backward pass, so that one of both is kept."""

    @staticmethod
    def forward(ctx, logits: Tensor, kept: Tensor, rescaling: float, value: Tensor) -> Tensor:
        weights, value = logits.softmax(-1), value.contiguous()
        ctx.rescaling = rescaling
        ctx.save_for_backward(weights, kept, value)
        return drop(weights, kept, rescaling) @ value

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None, Tensor]:
        weights, kept, value = ctx.saved_tensors
        gradient, dropped = gradient.contiguous(), drop(weights, kept, ctx.rescaling)
        of_value = dropped.transpose(-2, -1) @ gradient
        return _logits_gradient(gradient @ value.transpose(-2, -1), weights, dropped), None, None, of_value


def dropped_softmax(logits: Tensor, dropout: nn.Module) -> Tensor:
    """Attention's weights, (..., M) -> (..., M), through ``dropout``."""
    if isinstance(dropout, Dropout) and dropout.is_drawn(logits):
        return _DroppedSoftmax.apply(logits, dropout.kept(logits.shape), dropout.rescaling)
    return dropout(logits.softmax(-1))


def _dropped_mixture(logits: Tensor, value: Tensor, dropout: nn.Module) -> Tensor:
    """The same, and (B, h, M, k) values mixed by them: (B, h, N, M) -> (B, h, N, k)."""
    if isinstance(dropout, Dropout) and dropout.is_drawn(logits):
        return _DroppedMixture.apply(logits, dropout.kept(logits.shape), dropout.rescaling, value)
    return dropout(logits.softmax(-1)) @ value


def project_back(query: Tensor, weight: Tensor) -> Tensor:
    """Move a key projection to the queries: ``q (W k) = (W^T q) k``.

    For few queries and many keys this saves most of the work, as the keys are never projected.
    (B, h, N, k) queries and (h k, d) weight -> (B, h N, d).
    """
    heads, size = query.shape[1], query.shape[-1]
    # One product per head: (h, B N, k) @ (h, k, d).
    rows = query.transpose(0, 1).flatten(1, 2) @ weight.view(heads, size, -1)
    return rows.unflatten(1, (len(query), -1)).transpose(0, 1).flatten(1, 2)


def project_mixed(attention: Tensor, values: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Mix values, then project the mixtures: ``a (W v + b) = W (a v) + b sum(a)``.

    Dropout leaves attention whose rows do not sum to one. (B, h, N, M), (B, M, d), (h k, d), (h k) -> (B, h, N, k).
    """
    batch, heads, count, _ = attention.shape
    mixed = (attention.flatten(1, 2) @ values).view(batch, heads, count, -1)
    rows = mixed.transpose(0, 1).flatten(1, 2) @ weight.view(heads, -1, weight.shape[-1]).transpose(1, 2)
    projected = rows.unflatten(1, (batch, count)).transpose(0, 1)
    return projected + attention.sum(-1, keepdim=True) * bias.view(heads, 1, -1)


class MultiHeadAttention(nn.Module):
    """Scaled dot-product attention with one packed input projection, as DETR's encoders use it.

    The three input matrices are one parameter (3d, d), so that Xavier initialisation sees the same fan as in the
    published encoders; biases start at zero.
    """

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.dropout = Dropout(dropout)
        self.in_weight = nn.Parameter(torch.empty(3 * width, width))
        self.in_bias = nn.Parameter(torch.zeros(3 * width))
        self.out = nn.Linear(width, width)
        nn.init.xavier_uniform_(self.in_weight)
        nn.init.zeros_(self.out.bias)

    def forward(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor | None) -> Tensor:
        """Attend from (B, N, d) to (B, M, d).

        ``visible`` is True where a key may be seen: (B, M) bool for all heads and queries, or (B, h, N, M); None shows
        every key.
        """
        weights, biases = self.in_weight.chunk(3), self.in_bias.chunk(3)
        q, k, v = (
            split_heads(functional.linear(x, weight, bias), self.heads)
            for x, weight, bias in zip((query, key, value), weights, biases, strict=True)
        )
        if visible is None:
            bias = None
        else:
            bias = visibility_bias(visible, q.dtype)
            bias = bias[:, None, None] if visible.dim() == 2 else bias
        mixed = attend(q, k, v, bias, self.dropout)
        return self.out(merge_heads(mixed))


class FewQueryAttention(MultiHeadAttention):
    """The same attention, in the order that is cheap for fewer queries than keys; equal up to rounding."""

    def forward(self, query: Tensor, key: Tensor, value: Tensor, visible: Tensor) -> Tensor:
        """Attend from (B, N, d) to (B, M, d) where ``visible``, (B, M) bool, is True."""
        (q_weight, k_weight, v_weight), (q_bias, k_bias, v_bias) = self.in_weight.chunk(3), self.in_bias.chunk(3)
        q = split_heads(functional.linear(query, q_weight, q_bias), self.heads)
        q = q / math.sqrt(q.shape[-1])
        logits = (project_back(q, k_weight) @ key.transpose(1, 2)).unflatten(1, q.shape[1:3])
        logits = logits + (q * k_bias.view(self.heads, 1, -1)).sum(-1, keepdim=True)
        logits = logits + visibility_bias(visible, logits.dtype)[:, None, None]
        attention = dropped_softmax(logits, self.dropout)
        return self.out(merge_heads(project_mixed(attention, value, v_weight, v_bias)))


class _Layer(nn.Module):
    """Attention, feed-forward block and two norms; subclasses say how they are wired."""

    def __init__(
        self,
        width: int,
        heads: int,
        feedforward: int,
        dropout: float,
        activation: Callable[[], nn.Module] = PReLU,
        residual: nn.Module | None = None,
    ) -> None:
        """Build the layer; ``residual`` takes the place of dropout on both residual branches (drop path, say)."""
        super().__init__()
        self.attention = MultiHeadAttention(width, heads, dropout)
        self.feedforward = FeedForward(width, feedforward, dropout, activation)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)
        self.dropout = Dropout(dropout) if residual is None else residual


class CrossAttentionLayer(_Layer):
    """Fusion layer of QD-DETR and UVCOM: post-norm attention, then a feed-forward block whose residual skips the norm.

    D9: ``x1 = x + attention``, ``x2 = x1 + FFN(LN1(x1))``, result ``LN2(x2)``.
    """

    def forward(
        self,
        x: Tensor,
        position: Tensor | None,
        context: Tensor,
        visible: Tensor,
        context_position: Tensor | None = None,
    ) -> Tensor:
        """(B, N, d) attends to (B, M, d) where ``visible``, (B, M) or (B, h, N, M), is True.

        ``position`` is added to the query, ``context_position`` to the keys.
        """
        query = x if position is None else x + position
        key = context if context_position is None else context + context_position
        x = x + self.dropout(self.attention(query, key, context, visible))
        x = x + self.dropout(self.feedforward(self.norm1(x)))
        return self.norm2(x)


class EncoderLayer(_Layer):
    """Standard post-norm Transformer encoder layer with the position added to queries and keys."""

    def forward(self, x: Tensor, position: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d) -> (B, N, d); ``mask`` (B, N) bool is True at valid rows."""
        placed = x + position
        x = self.norm1(x + self.dropout(self.attention(placed, placed, x, mask)))
        return self.norm2(x + self.dropout(self.feedforward(x)))
