"""The projection of features: its CPU path for dropout computes what its modules compute one after the other."""

import pytest
import torch
from torch import nn

from sadetr.nn.layers import FeatureProjection, InputProjection
from tests.nn.keeping import bytes_kept, has_gradients_of_its_values

PROJECTIONS = pytest.mark.parametrize("kind", [InputProjection, FeatureProjection])


@PROJECTIONS
@pytest.mark.parametrize("blocks", [1, 2, 3])
@pytest.mark.parametrize("learning", [False, True], ids=["features", "a layer before"])
def test_one_function_is_the_modules_in_a_row(kind, blocks, learning):
    torch.manual_seed(0)
    projection = kind(11, 8, 0.3, blocks).double().train()
    for parameter in projection.parameters():
        nn.init.uniform_(parameter, -1, 1)
    x = torch.randn(2, 5, 11, dtype=torch.float64, requires_grad=learning)
    results = []
    for forward in (projection, lambda x: nn.Sequential.forward(projection, x)):
        torch.manual_seed(1)
        y = forward(x)
        leaves = [*projection.parameters(), *([x] if learning else [])]
        results.append([y, *torch.autograd.grad((y * torch.linspace(-1, 2, 8).double()).sum(), leaves)])
    torch.testing.assert_close(*results, rtol=1e-10, atol=1e-12)


def test_gradients_are_those_of_its_values():
    projection = InputProjection(5, 4, 0.3).double().train()
    x = torch.randn(3, 2, 5, dtype=torch.float64, requires_grad=True)
    assert has_gradients_of_its_values(projection, x)


@PROJECTIONS
def test_of_the_features_only_they_and_a_byte_per_value_are_kept(kind):
    projection, features = kind(1024, 4, 0.5).train(), torch.randn(60, 1024)
    fresh = bytes_kept(lambda: projection(features), given=[features, *projection.parameters()])
    assert features.numel() <= fresh < 1.1 * features.numel()


@PROJECTIONS
def test_evaluation_drops_nothing(kind):
    projection, x = kind(11, 8, 0.9).eval(), torch.randn(3, 11)
    assert torch.equal(projection(x), nn.Sequential.forward(projection, x))
