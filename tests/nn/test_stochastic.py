"""Dropout and PReLU: the fast paths compute what torch's own modules compute. Drop path."""

import pytest
import torch
from torch import nn

from sadetr.nn.stochastic import Dropout, DropPath, PReLU
from tests.nn.keeping import bytes_kept


@pytest.mark.parametrize("p", [0.0, 0.1, 0.5, 0.9])
def test_dropout_keeps_the_promised_share_and_the_expectation(p):
    torch.manual_seed(0)
    x = torch.ones(400_001)
    dropped = Dropout(p)(x)
    kept = dropped != 0
    # Five standard deviations of a binomial share.
    assert abs(kept.float().mean().item() - (1 - p)) <= 5 * (p * (1 - p) / x.numel()) ** 0.5
    torch.testing.assert_close(dropped[kept], torch.full_like(dropped[kept], 1 / (1 - p)), rtol=1e-4, atol=0)
    assert dropped.double().mean().item() == pytest.approx(1, abs=0.01)


def test_dropout_draws_are_independent_of_their_neighbours():
    # Four draws come from one word: they must not be copies of each other.
    torch.manual_seed(1)
    kept = (Dropout(0.5)(torch.ones(100_000, 4)) != 0).double()
    correlation = torch.corrcoef(kept.T) - torch.eye(4)
    assert correlation.abs().max() < 0.02


def test_dropout_of_everything_is_zero():
    assert Dropout(1.0)(torch.ones(7)).eq(0).all()


def test_dropout_is_the_identity_in_evaluation():
    x = torch.randn(3, 5)
    assert Dropout(0.7).eval()(x) is x


def test_dropout_gradient_is_the_mask_that_was_applied():
    x = torch.ones(5, 13, requires_grad=True)
    dropped = Dropout(0.3)(x)
    dropped.sum().backward()
    assert torch.equal(x.grad, dropped.detach())


def test_dropout_keeps_a_byte_per_entry():
    x = torch.randn(100, 16, requires_grad=True)
    assert bytes_kept(lambda: Dropout(0.3)(x)) < 1.1 * x.numel()


def test_dropout_is_reproducible_and_moves_on():
    x, layer = torch.ones(1000), Dropout(0.5)
    torch.manual_seed(3)
    first, second = layer(x), layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(first, second)


@pytest.mark.parametrize("shape", [(1,), (0, 3), (2, 3, 5)])
def test_dropout_keeps_any_shape(shape):
    assert Dropout(0.5)(torch.ones(shape)).shape == shape


def test_prelu_equals_torch():
    torch.manual_seed(0)
    ours, theirs = PReLU(), nn.PReLU()
    with torch.no_grad():
        ours.weight.fill_(0.3)
        theirs.weight.fill_(0.3)
    x = torch.randn(4, 6, 5)
    weights = torch.randn(4, 6, 5)
    results = []
    for layer in (ours, theirs):
        leaf = x.clone().requires_grad_()
        value = layer(leaf)
        (value * weights).sum().backward()
        results.append((value.detach(), leaf.grad, layer.weight.grad))
    for mine, reference in zip(*results, strict=True):
        torch.testing.assert_close(mine, reference, rtol=1e-6, atol=1e-6)


def test_prelu_gradient_is_that_of_its_values():
    torch.manual_seed(0)
    layer = PReLU().double()
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(layer, (x,))
    apply = lambda slope: torch.func.functional_call(layer, {"weight": slope}, (x.detach(),))  # noqa: E731
    assert torch.autograd.gradcheck(apply, (torch.tensor([0.2], dtype=torch.float64, requires_grad=True),))


def test_prelu_of_a_transposed_input():
    x = torch.randn(3, 4).T.requires_grad_()
    PReLU()(x).sum().backward()
    assert x.grad.shape == (4, 3)


def test_drop_path_drops_whole_samples_and_keeps_the_expectation():
    torch.manual_seed(0)
    x = torch.rand(20_000, 3, 2) + 1
    ratio = DropPath(0.3)(x) / x
    assert torch.equal(ratio.amax((1, 2)) > 0, ratio.amin((1, 2)) > 0)
    kept = ratio[:, 0, 0] > 0
    assert abs(kept.float().mean().item() - 0.7) <= 5 * (0.3 * 0.7 / len(x)) ** 0.5
    torch.testing.assert_close(ratio[kept], torch.full_like(ratio[kept], 1 / 0.7))


def test_drop_path_draws_nothing_where_nothing_is_dropped():
    before, x = torch.get_rng_state(), torch.rand(2, 3, generator=torch.Generator().manual_seed(0))
    assert torch.equal(DropPath(0.5).eval()(x), x)
    assert torch.equal(DropPath(0.0)(x), x)
    assert torch.equal(torch.get_rng_state(), before)
