"""Quality losses (eqs 8 and 9): by hand, their reductions, gradients, and BAM-DETR's targets."""

import pytest
import torch

from sadetr.losses.quality import quality_loss, quality_margin_loss, quality_monitors, quality_targets
from tests.samples import random_spans


def test_eq_8_by_hand():
    spans = torch.tensor([[[[0.5, 0.4], [0.5, 0.2], [0.1, 0.1]]]])
    truth, mask = torch.tensor([[[0.5, 0.2], [0.35, 0.1]]]), torch.ones(1, 2, dtype=torch.bool)
    # Best IoUs: 0.5 (0.2 of 0.4), 1, 0.
    torch.testing.assert_close(quality_targets(spans, truth, mask), torch.tensor([[[0.5, 1.0, 0.0]]]))
    qualities = torch.tensor([[[0.7, 0.7, 0.1]]])
    assigned = torch.tensor([[[1, 0]]])
    loss = quality_loss(qualities, spans, truth, mask, assigned, matched_weight=10.0)
    assert loss.item() == pytest.approx((10 * 0.2 + 10 * 0.3 + 0.1) / 3, rel=1e-5)
    loss = quality_loss(qualities, spans, truth, mask, assigned, matched_weight=1.0)
    assert loss.item() == pytest.approx((0.2 + 0.3 + 0.1) / 3, rel=1e-5)


def test_a_query_at_an_invalid_slot_is_not_matched():
    # Invalid slots are assigned query 0, which must keep the weight of unmatched queries.
    spans, truth = torch.full((1, 1, 2, 2), 0.5), torch.full((1, 2, 2), 0.5)
    mask, assigned = torch.tensor([[True, False]]), torch.tensor([[[1, 0]]])
    loss = quality_loss(torch.zeros(1, 1, 2), spans, truth, mask, assigned, matched_weight=5.0)
    assert loss.item() == pytest.approx((1 + 5) / 2)


def test_targets_clamp_predictions_ignore_padding_and_pass_no_gradient():
    spans = torch.tensor([[[[0.9, 0.4]]]], requires_grad=True)
    truth = torch.tensor([[[0.9, 0.2], [0.9, 0.3]]])
    # [0.7, 1.1] counts as [0.7, 1.0]: 0.2 of 0.3. The second slot, a better match, is padding.
    targets = quality_targets(spans, truth, torch.tensor([[True, False]]))
    assert targets.item() == pytest.approx(2 / 3, rel=1e-5)
    assert not targets.requires_grad


def test_quality_gradients_reach_qualities_only():
    torch.manual_seed(0)
    qualities, spans = torch.rand(2, 1, 3, requires_grad=True), torch.rand(2, 1, 3, 2, requires_grad=True)
    truth, mask = torch.tensor([[[0.5, 0.2]]]), torch.ones(1, 1, dtype=torch.bool)
    assigned = torch.zeros(2, 1, 1, dtype=torch.int64)
    quality_loss(qualities, spans, truth, mask, assigned, 1.0).backward()
    assert spans.grad is None
    # The mean over B * N of one stage, summed over stages.
    torch.testing.assert_close(qualities.grad.abs(), torch.full((2, 1, 3), 1 / 3))


def test_eq_9_by_hand():
    positive = torch.tensor([[[[0.9, 0.5], [0.2, 0.3]]]])
    negative = torch.tensor([[[[0.1, 0.5], [0.7, 0.9]]]])
    mask = torch.tensor([[[True, True]]])
    # Margins 0, 0.4, 0.9, 1.0 over two groups and two slots.
    loss = quality_margin_loss(positive, negative, mask, 0.4)
    assert loss.item() == pytest.approx(2.3 / 4, rel=1e-5)
    # Only the first slot is valid; groups share the slot mask.
    loss = quality_margin_loss(positive, negative, torch.tensor([[[True, False]]]), 0.4)
    assert loss.item() == pytest.approx((0 + 0.9) / 2, rel=1e-5)
    twice = quality_margin_loss(positive.repeat(2, 1, 1, 1), negative.repeat(2, 1, 1, 1), mask, 0.4)
    assert twice.item() == pytest.approx(2 * 2.3 / 4, rel=1e-5)


def test_a_satisfied_margin_has_no_gradient():
    positive, negative = torch.tensor([[0.9]], requires_grad=True), torch.tensor([[0.1]], requires_grad=True)
    quality_margin_loss(positive, negative, torch.tensor([True]), 0.4).backward()
    assert positive.grad == 0
    assert negative.grad == 0


def test_monitors_are_the_means_of_matched_and_other_queries():
    qualities = torch.tensor([[0.9, 0.1, 0.2], [0.3, 0.5, 0.0]], requires_grad=True)
    assigned, mask = torch.tensor([[[0, 2], [1, 0]]]), torch.tensor([[True, True], [True, False]])
    monitors = quality_monitors(qualities, assigned, mask)
    assert monitors["quality_matched"].item() == pytest.approx((0.9 + 0.2 + 0.5) / 3)
    assert monitors["quality_unmatched"].item() == pytest.approx((0.1 + 0.3 + 0.0) / 3)
    assert not any(value.requires_grad for value in monitors.values())


def test_targets_do_not_depend_on_the_order_of_windows():
    generator = torch.Generator().manual_seed(0)
    spans, truth = random_spans(generator, 2, 3, 6), random_spans(generator, 3, 5)
    mask = torch.ones(3, 5, dtype=torch.bool)
    assert torch.equal(quality_targets(spans, truth, mask), quality_targets(spans, truth.flip(1), mask))
