"""The feed-forward block of Transformer layers, with a CPU path that keeps one tensor where autograd keeps three."""

from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.stochastic import Dropout, PReLU


class FeedForward(nn.Sequential):
    """Linear, activation, dropout, Linear: (..., d) -> (..., d)."""

    def __init__(self, width: int, hidden: int, dropout: float, activation: Callable[[], nn.Module] = PReLU) -> None:
        super().__init__(nn.Linear(width, hidden), activation(), Dropout(dropout), nn.Linear(hidden, width))

    def forward(self, x: Tensor) -> Tensor:
        """(..., d) -> (..., d)."""
        inner, activation, dropout, outer = self
        recomputed = _RECOMPUTED.get(type(activation))
        if recomputed is None or not dropout.is_drawn(x):
            return super().forward(x)
        kept = dropout.kept((*x.shape[:-1], inner.out_features))
        # A ReLU is a PReLU without slope.
        slope = getattr(activation, "weight", None)
        return recomputed.apply(x, *inner.parameters(), slope, kept, dropout.rescaling, *outer.parameters())


def _rows(x: Tensor) -> Tensor:
    """(..., d) -> (rows, d)."""
    return x.flatten(0, -2)


def _dropped(x: Tensor, weight: Tensor, bias: Tensor, kept: Tensor, rescaling: float) -> Tensor:
    """The first layer's outputs, some dropped: (rows, hidden). Both activations commute with a factor above zero."""
    return functional.linear(_rows(x), weight, bias).mul_(_rows(kept)).mul_(rescaling)


class _DroppedReLU(torch.autograd.Function):
    """``outer(dropout(relu(inner(x))))``; what is positive in front of ``outer`` was neither cut nor dropped.

    The gradient is rescaled where it is narrow: in front of the product with the outer weights.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, slope, kept, rescaling, outer, outer_bias) -> Tensor:
        hidden = _dropped(x, weight, bias, kept, rescaling).clamp_min_(0)
        ctx.rescaling = rescaling
        ctx.save_for_backward(x, weight, hidden, outer)
        return functional.linear(hidden, outer, outer_bias).unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, hidden, outer = ctx.saved_tensors
        gradient = _rows(gradient)
        of_hidden = (gradient * ctx.rescaling) @ outer
        of_inner = torch.ops.aten.threshold_backward(of_hidden, hidden, 0)
        return (*_of_linear(of_inner, x, weight), None, None, None, gradient.T @ hidden, gradient.sum(0))


class _DroppedPReLU(torch.autograd.Function):
    """The same with a PReLU, whose outputs are made anew in the backward pass.

    What is dropped is zero in front of it. So is what happens to be zero there, which then has no gradient at all.
    """

    @staticmethod
    def forward(ctx, x, weight, bias, slope, kept, rescaling, outer, outer_bias) -> Tensor:
        dropped = _dropped(x, weight, bias, kept, rescaling)
        ctx.rescaling = rescaling
        ctx.save_for_backward(x, weight, slope, dropped, outer)
        return functional.linear(functional.prelu(dropped, slope), outer, outer_bias).unflatten(0, x.shape[:-1])

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, slope, dropped, outer = ctx.saved_tensors
        gradient = _rows(gradient)
        of_outer = gradient.T @ functional.prelu(dropped, slope)
        of_hidden = (gradient * ctx.rescaling) @ outer
        of_inner = torch.ops.aten.threshold_backward(of_hidden, dropped, 0)
        negative = torch.ops.aten.hardtanh_backward(of_hidden, dropped, -torch.inf, 0.0, grad_input=of_hidden)
        of_slope = torch.dot(negative.flatten(), dropped.flatten()).view(1) / ctx.rescaling
        of_inner.addcmul_(negative, slope)
        return (*_of_linear(of_inner, x, weight), of_slope, None, None, of_outer, gradient.sum(0))


def _of_linear(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a linear layer's input, weight and bias from that of its (rows, d_out) output."""
    return (gradient @ weight).view_as(x), gradient.T @ _rows(x), gradient.sum(0)


_RECOMPUTED: dict[type[nn.Module], type[torch.autograd.Function]] = {nn.ReLU: _DroppedReLU, PReLU: _DroppedPReLU}
