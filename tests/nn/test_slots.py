"""Slot attention: what slots take of inputs, and what of padded ones."""

import pytest
import torch

from sadetr.nn.slots import SlotAttention

WIDTH = 8


def attention(padding: str, iterations: int = 3) -> SlotAttention:
    torch.manual_seed(0)
    return SlotAttention(WIDTH, (12, 10), iterations, padding)


def inputs() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    torch.manual_seed(1)
    return torch.randn(2, 4, WIDTH), torch.randn(2, 6, WIDTH), torch.arange(6) < torch.tensor([[6], [3]])


@pytest.mark.parametrize(("padding", "of_padded"), [("excluded", 0.0), ("shared", 0.25)])
def test_an_iteration_is_its_formula(padding, of_padded):
    """Shares over the four slots, averaged over inputs; two residual steps; the mask as it acts, not as it is meant."""
    slots, values, mask = inputs()
    module = attention(padding, 1)
    given = module.norm_inputs(values)
    query, key, value = module.query(module.norm_slots(slots)), module.key(given), module.value(given)
    shares = torch.softmax(torch.einsum("bnd,bmd->bnm", query, key) / WIDTH**0.5, 1)
    shares[1, :, 3:] = of_padded
    moved = slots + torch.einsum("bnm,bmd->bnd", shares / shares.sum(2, keepdim=True), value)
    expected = module.norm_out(moved + module.mlp(module.norm_mlp(moved)))
    torch.testing.assert_close(module(slots, values, mask), expected)


def test_padded_inputs_matter_only_as_published():
    slots, values, mask = inputs()
    spoiled = torch.where(mask[..., None], values, torch.randn(values.shape))
    for padding in ("excluded", "shared"):
        module = attention(padding)
        gap = (module(slots, values, mask) - module(slots, spoiled, mask)).abs().amax((1, 2))
        assert gap[0] == 0
        assert (gap[1] > 1e-3) == (padding == "shared")


def test_slots_move_together_with_their_order_and_equal_ones_stay_equal():
    slots, values, mask = inputs()
    module = attention("excluded")
    order = torch.tensor([2, 0, 3, 1])
    torch.testing.assert_close(module(slots[:, order], values, mask), module(slots, values, mask)[:, order])
    same = module(slots[:, :1].expand(-1, 4, -1), values, mask)
    torch.testing.assert_close(same, same[:, :1].expand_as(same))


def test_iterations_share_their_weights():
    slots, values, mask = inputs()
    once, twice = attention("excluded", 1), attention("excluded", 2)
    assert once.state_dict().keys() == twice.state_dict().keys()
    assert (once(slots, values, mask) - twice(slots, values, mask)).abs().max() > 1e-3
