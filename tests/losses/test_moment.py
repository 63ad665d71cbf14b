"""Moment loss (eq 7): by hand, and its reduction."""

import pytest
import torch

from sadetr.losses.moment import grouped_span_losses, masked_average, span_losses


def test_eq_7_by_hand():
    predicted = torch.tensor([[[[0.5, 0.4], [0.25, 0.1]]]])
    truth = torch.tensor([[[0.4, 0.2], [0.85, 0.1]]])
    l1, giou = span_losses(predicted, truth, torch.ones(1, 2, dtype=torch.bool))
    # Mean of the two coordinates, then of the pairs: (0.15 + 0.3) / 2.
    assert l1.item() == pytest.approx(0.225)
    # [0.3, 0.7] and [0.3, 0.5] overlap by a half; [0.2, 0.3] and [0.8, 0.9] leave 0.5 of their hull of 0.7 empty.
    assert giou.item() == pytest.approx((0.5 + 1 + 0.5 / 0.7) / 2, rel=1e-5)


def test_stages_are_summed_and_pairs_averaged():
    torch.manual_seed(0)
    predicted, truth = torch.rand(2, 3, 4, 2), torch.rand(3, 4, 2)
    mask = torch.tensor([[True] * 4, [True, False, False, False], [True, True, False, False]])
    both = span_losses(predicted, truth, mask)
    each = [span_losses(stage[None], truth, mask) for stage in predicted]
    for term in range(2):
        torch.testing.assert_close(both[term], each[0][term] + each[1][term])
    # Averaged over the 7 spans of the batch, not over samples.
    pairs = (predicted[0] - truth).abs().mean(-1)[mask]
    torch.testing.assert_close(each[0][0], pairs.mean())
    assert len(pairs) == 7


@pytest.mark.parametrize("reduction", ["mean", "sum", "detr"])
def test_groups_are_as_each_of_them_alone(reduction):
    """To the last bit, gradients too: what is compared together is summed apart."""
    torch.manual_seed(0)
    stages = [torch.rand(shape, requires_grad=True) for shape in ((3, 2, 4, 2), (1, 2, 4, 2), (2, 2, 5, 4, 2))]
    truth, mask = torch.rand(2, 4, 2), torch.tensor([[True] * 4, [True, True, False, False]])
    groups = [(each, *((truth, mask) if each.dim() == 4 else (truth[:, None], mask[:, None]))) for each in stages]
    found = grouped_span_losses(groups, reduction)
    alone = [span_losses(*group, reduction) for group in groups]
    gradients = [torch.autograd.grad(sum(sum(each) for each in losses), stages) for losses in (found, alone)]
    assert found == alone
    assert all(map(torch.equal, *gradients))


def test_equal_spans_cost_nothing():
    truth = torch.tensor([[[0.5, 0.2], [0.7, 0.1]]])
    l1, giou = span_losses(truth[None], truth, torch.ones(1, 2, dtype=torch.bool))
    assert l1 == 0
    assert giou.item() == pytest.approx(0, abs=1e-6)


def test_invalid_pairs_have_no_value_and_no_gradient():
    predicted = torch.rand(1, 2, 3, 2, requires_grad=True)
    truth, mask = torch.rand(2, 3, 2), torch.tensor([[True, False, False], [True, True, False]])
    sum(span_losses(predicted, truth, mask)).backward()
    assert predicted.grad[0][~mask].eq(0).all()
    assert predicted.grad[0][mask].ne(0).all()


def test_the_average_of_nothing_is_zero():
    assert masked_average(torch.ones(2, 3), torch.zeros(2, 3, dtype=torch.bool)) == 0


def test_masks_broadcast():
    values = torch.arange(12.0).view(2, 2, 3)
    mask = torch.tensor([[True, False, True]])
    torch.testing.assert_close(masked_average(values, mask), values[..., [0, 2]].mean())
