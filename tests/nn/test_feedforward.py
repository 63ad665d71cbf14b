"""The feed-forward block: its CPU path for dropout computes what its modules compute one after the other."""

import pytest
import torch
from torch import nn

from sadetr.nn.feedforward import FeedForward
from sadetr.nn.stochastic import PReLU
from tests.nn.keeping import has_gradients_of_its_values, tensors_kept

ACTIVATIONS = pytest.mark.parametrize("activation", [PReLU, nn.ReLU])


def results(block: FeedForward, forward, x: torch.Tensor) -> list[torch.Tensor]:
    """Outputs and all gradients of one training step, from the same draws."""
    torch.manual_seed(0)
    leaf = x.clone().requires_grad_()
    block.zero_grad(set_to_none=True)
    y = forward(leaf)
    (y * torch.linspace(-1, 2, y.numel(), dtype=y.dtype).view_as(y)).sum().backward()
    return [y.detach(), leaf.grad, *(parameter.grad for parameter in block.parameters())]


@ACTIVATIONS
@pytest.mark.parametrize("slope", [0.25, 0.0, -0.3])
@pytest.mark.parametrize("p", [0.1, 0.5])
@pytest.mark.parametrize("shape", [(2, 5, 6), (7, 6), (1, 1, 6)])
def test_one_function_is_the_modules_in_a_row(activation, slope, p, shape):
    torch.manual_seed(1)
    block = FeedForward(6, 9, p, activation).double().train()
    for weight in [module.weight for module in block if isinstance(module, PReLU)]:
        nn.init.constant_(weight, slope)
    x = torch.randn(shape, dtype=torch.float64)
    together = results(block, block, x)
    apart = results(block, lambda x: nn.Sequential.forward(block, x), x)
    assert len(together) == 2 + len(list(block.parameters()))
    for mine, reference in zip(together, apart, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-12, atol=1e-12)


@ACTIVATIONS
def test_gradients_are_those_of_its_values(activation):
    torch.manual_seed(2)
    block = FeedForward(4, 7, 0.3, activation).double().train()
    x = torch.randn(3, 2, 4, dtype=torch.float64, requires_grad=True)
    assert has_gradients_of_its_values(block, x)


@ACTIVATIONS
def test_one_tensor_of_the_hidden_width_is_kept(activation):
    block = FeedForward(4, 1024, 0.1, activation).train()
    kept = tensors_kept(lambda: block(torch.randn(6, 4, requires_grad=True)))
    assert len([tensor for tensor in kept if tensor.shape[-1] == 1024 and tensor.numel() == 6 * 1024]) == 1


@ACTIVATIONS
def test_evaluation_drops_nothing(activation):
    block = FeedForward(4, 8, 0.9, activation).eval()
    x = torch.randn(2, 3, 4)
    assert torch.equal(block(x), nn.Sequential.forward(block, x))
