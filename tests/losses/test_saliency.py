"""Saliency losses: values at zero scores, slow literal loops. QD-DETR's values are in tests/parity."""

import math

import pytest
import torch

from sadetr.losses.saliency import margin_loss, negative_pair_loss, rank_loss
from tests.samples import small_batch


def scores(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(batch.video_mask.shape, generator=generator, dtype=torch.float64)


def everyone(batch):
    return torch.ones(len(batch), dtype=torch.bool)


def test_zero_scores_give_the_known_values():
    # 75 clips, as in QVHighlights: 0.4 for the margin, 75 ln 2 = 52.0 for the negative pass.
    zero, mask = torch.zeros(4, 75), torch.ones(4, 75, dtype=torch.bool)
    pairs = torch.zeros(4, 2, dtype=torch.int64)
    assert margin_loss(zero, pairs, pairs + 1, 0.2).item() == pytest.approx(0.4)
    assert negative_pair_loss(zero, mask, mask[:, 0]).item() == pytest.approx(75 * math.log(2), rel=1e-6)
    # Every one of the 11 levels that a sample reaches costs ln(150); the divisor is 12.
    labels = torch.zeros(4, 75)
    labels[0, :3], labels[1, :1], labels[2, :9] = 12, 4, 11
    expected = math.log(150) * (11 + 4 + 11) / 4 / 12
    assert rank_loss(zero, labels, mask, zero, mask[:, 0], 0.5, 12).item() == pytest.approx(expected, rel=1e-5)


def test_margin_loss_by_hand():
    values = torch.tensor([[0.5, 0.4, 0.0], [1.0, 2.0, 3.0]])
    positive, negative = torch.tensor([[0, 0], [1, 2]]), torch.tensor([[1, 2], [2, 0]])
    # Hinges 0.1, 0, 1.2, 0; twice their sum over B * P = 4.
    assert margin_loss(values, positive, negative, 0.2).item() == pytest.approx(2 * 1.3 / 4)


def test_negative_pairs_by_loop_and_without_same_video_samples():
    batch = small_batch()
    values = scores(batch)
    losses = [
        -sum(math.log(1 - 1 / (1 + math.exp(-values[sample, clip]))) for clip in range(length))
        for sample, length in enumerate(batch.video_mask.sum(1).tolist())
    ]
    loss = negative_pair_loss(values, batch.video_mask, everyone(batch))
    assert loss.item() == pytest.approx(sum(losses) / 3, rel=1e-6)
    real = torch.tensor([True, False, True])
    loss = negative_pair_loss(values, batch.video_mask, real)
    assert loss.item() == pytest.approx((losses[0] + losses[2]) / 2, rel=1e-6)
    assert negative_pair_loss(values, batch.video_mask, ~everyone(batch)) == 0


def slow_rank_loss(values, labels, mask, negative, real, temperature=0.5):
    total = 0.0
    for level in range(1, 12):
        for sample in range(len(values)):
            valid = mask[sample].nonzero().flatten().tolist()
            pool = values[sample, valid].tolist()
            if negative is not None and real[sample]:
                pool += negative[sample, valid].tolist()
            highest = max(pool) / temperature
            denominator = sum(math.exp(value / temperature - highest) for value in pool) + 1e-6
            chosen = (labels[sample] >= level).nonzero().flatten().tolist()
            logs = [
                float(values[sample, clip]) / temperature - highest - math.log(denominator)
                for clip in chosen
                if mask[sample, clip]
            ]
            total -= sum(logs) / (len(chosen) + 1e-6) / len(values)
    return total / 12


@pytest.mark.parametrize("real", [[True, True, True], [True, False, True], None])
def test_rank_loss_equals_a_literal_loop(real):
    batch = small_batch()
    values, negative = scores(batch), None if real is None else scores(batch, 1)
    flags = torch.tensor(real or [True] * 3)
    labels = batch.saliency.double()
    expected = slow_rank_loss(values, labels, batch.video_mask, negative, flags)
    loss = rank_loss(values, labels, batch.video_mask, negative, flags, 0.5, 12)
    assert loss.item() == pytest.approx(expected, rel=1e-12)
    # A labelled clip behind the features lowers the mean that it has no part in.
    labels[~batch.video_mask] = 9
    loss = rank_loss(values, labels, batch.video_mask, negative, flags, 0.5, 12)
    assert loss.item() == pytest.approx(slow_rank_loss(values, labels, batch.video_mask, negative, flags), rel=1e-12)
    assert loss < 0.9 * expected


def test_scores_of_padded_clips_do_not_count():
    batch = small_batch()
    values, negative, flags = scores(batch), scores(batch, 1), everyone(batch)
    spoiled, spoiled_negative = (torch.where(batch.video_mask, x, torch.full_like(x, 30)) for x in (values, negative))
    labels = batch.saliency.double()
    before = rank_loss(values, labels, batch.video_mask, negative, flags, 0.5, 12)
    after = rank_loss(spoiled, labels, batch.video_mask, spoiled_negative, flags, 0.5, 12)
    assert torch.equal(before, after)
    assert torch.equal(
        negative_pair_loss(spoiled, batch.video_mask, flags), negative_pair_loss(values, batch.video_mask, flags)
    )


def test_huge_scores_stay_finite():
    batch = small_batch()
    values = (1e4 * scores(batch).float()).requires_grad_()
    loss = rank_loss(values, batch.saliency, batch.video_mask, -values, everyone(batch), 0.5, 12)
    loss = loss + negative_pair_loss(values, batch.video_mask, everyone(batch))
    loss.backward()
    assert loss.isfinite()
    assert values.grad.isfinite().all()
