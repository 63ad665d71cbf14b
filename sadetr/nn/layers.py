"""Small layers: perceptrons, the input projection, pooling."""

import copy
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.nn.stochastic import Dropout, drop


class MLP(nn.Sequential):
    """Linear layers with ReLU between them; ``widths`` from input to output."""

    def __init__(self, *widths: int) -> None:
        layers: list[nn.Module] = []
        for width_in, width_out in pairwise(widths):
            layers += [nn.Linear(width_in, width_out), nn.ReLU()]
        super().__init__(*layers[:-1])


class InputProjection(nn.Sequential):
    """Blocks of LayerNorm, dropout and Linear with a ReLU between: (..., d_in) -> (..., d) (section 3.2)."""

    def __init__(self, width_in: int, width: int, dropout: float, blocks: int = 2) -> None:
        layers: list[nn.Module] = []
        for block in range(blocks):
            inner = width if block else width_in
            layers += [nn.LayerNorm(inner), Dropout(dropout), nn.Linear(inner, width), nn.ReLU()]
        super().__init__(*layers[:-1])

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d)."""
        layers = list(self)
        for first in range(0, len(layers), 4):
            norm, dropout, linear, *activation = layers[first : first + 4]
            if dropout.is_drawn(x):
                kept = dropout.kept(x.shape)
                x = _DroppedLinear.apply(x, *norm.parameters(), norm.eps, kept, dropout.rescaling, *linear.parameters())
            else:
                x = linear(dropout(norm(x)))
            for layer in activation:
                x = layer(x)
        return x


def _of_wide_linear(gradient: Tensor, x: Tensor, weight: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Gradients of a linear layer's input, weight and bias from that of its output.

    They suit thousands of inputs: matrix products that the CPU's kernels like.
    """
    rows, width = gradient.flatten(0, -2), weight.shape[1]
    # 2304 + 512 + 2 columns start off the vector registers' borders.
    aligned = functional.pad(weight, (0, -width % 8))
    return (gradient @ aligned)[..., :width], (x.flatten(0, -2).T @ rows).T, rows.sum(0)


class _DroppedLinear(torch.autograd.Function):
    """``linear(dropout(norm(x)))``; what goes into the linear layer is made anew in the backward pass."""

    @staticmethod
    def forward(ctx, x, scale, shift, eps, kept, rescaling, weight, bias) -> Tensor:
        dropped, *moments = _normed_and_dropped(x, scale, shift, eps, kept, rescaling)
        ctx.eps, ctx.rescaling = eps, rescaling
        ctx.save_for_backward(x, scale, shift, kept, weight, *moments)
        return functional.linear(dropped, weight, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor | None, ...]:
        x, scale, shift, kept, weight, *moments = ctx.saved_tensors
        dropped, *_ = _normed_and_dropped(x, scale, shift, ctx.eps, kept, ctx.rescaling)
        of_dropped, of_weight, of_bias = _of_wide_linear(gradient, dropped, weight)
        of_normed = drop(of_dropped, kept, ctx.rescaling)
        needed = [ctx.needs_input_grad[0], True, True]
        of_norm = torch.ops.aten.native_layer_norm_backward(of_normed, x, scale.shape, *moments, scale, shift, needed)
        return (*of_norm, None, None, None, of_weight, of_bias)


def _normed_and_dropped(
    x: Tensor, scale: Tensor, shift: Tensor, eps: float, kept: Tensor, rescaling: float
) -> tuple[Tensor, Tensor, Tensor]:
    """What goes into the linear layer, and the moments of the norm."""
    normed, mean, deviation = torch.native_layer_norm(x, scale.shape, scale, shift, eps)
    return normed.mul_(kept).mul_(rescaling), mean, deviation


class _WideLinear(torch.autograd.Function):
    """A linear layer with such gradients."""

    @staticmethod
    def forward(ctx, x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return functional.linear(x, weight, bias)

    @staticmethod
    def backward(ctx, gradient: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        return _of_wide_linear(gradient, *ctx.saved_tensors)


class WideLinear(nn.Linear):
    """Linear layer for raw features, equal to torch's up to the rounding of its gradients and faster on the CPU."""

    def forward(self, x: Tensor) -> Tensor:
        """(..., d_in) -> (..., d)."""
        if torch.is_autocast_enabled(x.device.type):
            return super().forward(x)
        return _WideLinear.apply(x, self.weight, self.bias)


class FeatureProjection(InputProjection):
    """The same projection with :class:`WideLinear` in the first block."""

    def __init__(self, width_in: int, width: int, dropout: float, blocks: int = 2) -> None:
        super().__init__(width_in, width, dropout, blocks)
        self[2] = WideLinear(width_in, width)


class AttentionPooling(nn.Module):
    """Pool tokens with one learned score vector (D11)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.score = nn.Linear(width, 1, bias=False)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) tokens and (B, T) bool mask, True at valid tokens -> (B, d)."""
        return pooled(tokens, self.score(tokens).squeeze(-1), mask)


class WeightedPooling(nn.Module):
    """The same pooling with the score vector as a Xavier-uniform column, as in UniVTG."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.empty(width, 1))
        nn.init.xavier_uniform_(self.weight)

    def forward(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """(B, T, d) tokens and (B, T) bool mask, True at valid tokens -> (B, d)."""
        return pooled(tokens, (tokens @ self.weight).squeeze(-1), mask)


def exact(x: Tensor) -> Tensor:
    """``x`` in single precision at least: for what mixed precision would leave too few digits of."""
    return x.to(torch.promote_types(x.dtype, torch.float32))


def pooled(tokens: Tensor, scores: Tensor, mask: Tensor) -> Tensor:
    """Mean weighted by the softmax of scores: (B, T, d), (B, T) and (B, T) bool, True at valid tokens -> (B, d)."""
    return torch.einsum("bt,btd->bd", scores.masked_fill(~mask, -1e30).softmax(-1), tokens)


def masked_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of (B, L, d) over the valid entries of a (B, L) bool mask -> (B, d)."""
    weights = mask.to(values.dtype)
    return torch.einsum("bl,bld->bd", weights, values) / weights.sum(1, keepdim=True).clamp(min=1)


def neighbour_mean(values: Tensor, mask: Tensor) -> Tensor:
    """Mean of each row of (B, N, d) and the rows beside it, of those that are True in (B, N) -> (B, N, d).

    0 where neither a row nor one beside it is.
    """
    weights = functional.pad(mask.to(values.dtype), (1, 1)).unsqueeze(-1)
    rows = functional.pad(values, (0, 0, 1, 1)) * weights
    total, count = (each[:, :-2] + each[:, 1:-1] + each[:, 2:] for each in (rows, weights))
    return total / count.clamp(min=1)


def copies(layer: nn.Module, count: int) -> list[nn.Module]:
    """``count`` copies of one layer, which start with equal parameters.

    So the field builds its stacks. What :func:`xavier_matrices` draws anew differs from layer to layer; biases do not.
    """
    return [copy.deepcopy(layer) for _ in range(count)]


def xavier_matrices(module: nn.Module) -> None:
    """Xavier-uniform for every parameter of ``module`` with more than one dimension; the rest stays as it is."""
    for parameter in module.parameters():
        if parameter.dim() > 1:
            nn.init.xavier_uniform_(parameter)
