"""Dropout and PReLU with fast CPU paths; both compute what their torch namesakes compute. Stochastic depth.

On the CPU the stock kernels take about half of a narrow model's training step: one Mersenne draw per dropped entry,
and a PReLU backward that is reduced element by element.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

_LEVELS = 1 << 16


class Dropout(nn.Dropout):
    """Dropout from 16-bit draws on the CPU (p to within 1.5e-5, rescaled exactly), the stock kernel elsewhere."""

    def forward(self, x: Tensor) -> Tensor:
        """Drop entries of ``x`` (any shape) in training mode; draws come from torch's global generator."""
        if not self.is_drawn(x):
            return functional.dropout(x, self.p, self.training)
        return _Dropped.apply(x, self.kept(x.shape), self.rescaling)

    def is_drawn(self, x: Tensor) -> bool:
        """Whether the fast path takes ``x``: something to drop and something to keep, on the CPU, in one precision."""
        drawn = self.training and self._dropped not in (0, _LEVELS) and x.device.type == "cpu"
        return drawn and not torch.is_autocast_enabled("cpu")

    def kept(self, shape: Sequence[int]) -> Tensor:
        """A new draw: 1 for what is kept, 0 for what is dropped.

        In bytes, as autograd keeps it; CPU kernels multiply by those twice as fast as by booleans.
        """
        count = math.prod(shape)
        words = _random_words(count // 4 + 1).view(torch.int16)[:count].view(shape)
        return (words >= self._dropped - _LEVELS // 2).view(torch.uint8)

    @property
    def rescaling(self) -> float:
        """Factor of what is kept."""
        return _LEVELS / (_LEVELS - self._dropped)

    @property
    def _dropped(self) -> int:
        """Draws of 16 bits that drop an entry."""
        return round(self.p * _LEVELS)


class _Dropped(torch.autograd.Function):
    """What is kept, rescaled."""

    @staticmethod
    def forward(ctx, x: Tensor, kept: Tensor, rescaling: float) -> Tensor:
        ctx.save_for_backward(kept)
        ctx.rescaling = rescaling
        return drop(x, kept, rescaling)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, None, None]:
        (kept,) = ctx.saved_tensors
        return drop(gradient, kept, ctx.rescaling), None, None


def drop(x: Tensor, kept: Tensor, rescaling: float) -> Tensor:
    """``x`` where ``kept``, which has its shape, is 1, times ``rescaling``; 0 elsewhere."""
    return (x * kept).mul_(rescaling)


def _random_words(count: int) -> Tensor:
    """(count,) int64, all bits random."""
    lowest = -(1 << 63)
    if torch.compiler.is_compiling():
        # A graph cannot hold `random_` of all bits. These are the same draws, counted from the lowest number on.
        return torch.randint(lowest, -1 - lowest, (count,)) ^ lowest
    return torch.empty(count, dtype=torch.int64).random_(lowest, None)


class DropPath(nn.Module):
    """Stochastic depth (Huang et al. 2016): training drops slices of a branch and rescales the others."""

    def __init__(self, probability: float, dimension: int = 0) -> None:
        """Build it.

        Args:
            probability: of a slice to be dropped.
            dimension: along which slices are drawn: 0 for one draw per sample.
        """
        super().__init__()
        self.probability = probability
        self.dimension = dimension

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...); draws come from torch's global generator."""
        if not self.training or not self.probability:
            return x
        shape = [1] * x.dim()
        shape[self.dimension] = x.shape[self.dimension]
        return x * functional.dropout(x.new_ones(shape), self.probability)


class _SharedSlope(torch.autograd.Function):
    """PReLU with one slope: vectorised passes, and the slope's gradient reduced as a dot product.

    The slope stays a tensor: as a number it would have to be read.
    """

    @staticmethod
    def forward(ctx, x: Tensor, slope: Tensor) -> Tensor:
        ctx.save_for_backward(x, slope)
        return functional.prelu(x, slope)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor]:
        x, slope = ctx.saved_tensors
        passed = torch.ops.aten.threshold_backward(gradient, x, 0)
        scaled = gradient - passed
        return passed.addcmul_(scaled, slope), torch.dot(scaled.flatten(), x.flatten()).view(1)


class PReLU(nn.PReLU):
    """PReLU with one learned slope for all channels."""

    def forward(self, x: Tensor) -> Tensor:
        """(...) -> (...)."""
        if x.device.type != "cpu":
            return super().forward(x)
        return _SharedSlope.apply(x, self.weight)
