"""Dual Path Query Initializer: noise rules, anchors, visibility."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.models.sa_detr.initializer import drawn_noise, noise_groups, scale_margin, self_attention_bias
from sadetr.models.sa_detr.model import SADETR
from sadetr.models.sa_detr.settings import Denoising
from sadetr.nn.spans import cw_to_se, iou
from tests.samples import HIDDEN, SHAPE, small_model, small_settings, small_step

# A span whose noise never reaches the ends of the video.
INNER = torch.tensor([[[0.5, 0.2]]])
ONE = torch.ones(1, 1, dtype=torch.bool)
# Of one ulp and of the conversions between cw and se.
ROUNDING = 1e-6


def groups(options, spans=INNER, mask=ONE, progress=0.0, seed=0):
    return noise_groups(spans, mask, options, drawn_noise(*mask.shape, options, small_step(progress, seed)))


def drawn(options, *arguments, **draws):
    """Anchors as (groups, polarities, B, G, 2)."""
    noise = groups(options, *arguments, **draws)
    anchors = noise.unflatten(noise.anchors[None])[0]
    return anchors.permute(1, 2, 0, 3, 4)


ENDS = st.lists(
    st.tuples(st.floats(0, 1, width=32), st.floats(0, 1, width=32))
    .map(sorted)
    .filter(lambda ends: ends[1] - ends[0] > 2e-3),
    min_size=1,
    max_size=5,
)


@settings(max_examples=60, deadline=None)
@given(
    ENDS,
    st.integers(0, 10**6),
    st.sampled_from(["ring", "full", "shift"]),
    st.floats(0, 1),
    st.sampled_from(["width", "centre"]),
)
def test_noise_anchors_are_valid_spans_and_positives_are_close(ends, seed, neg_range, progress, centre_scale):
    se = torch.tensor([ends])
    spans = torch.stack((se.mean(-1), se[..., 1] - se[..., 0]), -1)
    options = Denoising(neg_range=neg_range, margin_schedule="linear", centre_scale=centre_scale)
    mask = torch.ones(spans.shape[:2], dtype=torch.bool)
    anchors = drawn(options, spans, mask, progress, seed)
    start, end = cw_to_se(anchors).unbind(-1)
    assert start.min() >= -ROUNDING
    assert end.max() <= 1 + ROUNDING
    assert (end - start).min() >= options.min_width - ROUNDING
    # Clamping to the video only takes away what lies outside it, so it never lowers the IoU below the rule's 0.8.
    overlap = iou(cw_to_se(anchors[:, 0]), se[None])
    assert centre_scale == "centre" or overlap.min() >= 0.8 - 1e-3


@settings(max_examples=25, deadline=None)
@given(st.floats(0, 1), st.integers(0, 1000))
def test_tiny_spans_keep_the_least_width_inside_the_video(centre, seed):
    anchors = drawn(Denoising(), torch.tensor([[[centre, 1e-6]]]), ONE, seed=seed)
    torch.testing.assert_close(anchors[..., 1], torch.full_like(anchors[..., 1], 1e-3), rtol=1e-3, atol=0)
    ends = cw_to_se(anchors)
    assert ends.min() >= -ROUNDING
    assert ends.max() <= 1 + ROUNDING


@pytest.mark.parametrize(
    ("neg_range", "low", "high", "mean_iou"),
    # Mean IoU of the three rules over the training spans, as stated with decision D29.
    [("ring", 0.2, 0.6, 0.635), ("full", 0.0, 0.6, 0.685), ("shift", 0.4, 0.6, 0.589)],
)
def test_noise_stays_in_its_range_and_fills_it(neg_range, low, high, mean_iou):
    anchors = drawn(Denoising(groups=4000, neg_range=neg_range))[:, :, 0, 0]
    truth = INNER[0, 0]
    noise = (anchors - truth) / torch.stack((truth[1] / 2, truth[1]))
    positive, negative = noise.abs().unbind(1)
    assert positive.max() <= 0.2 + 1e-4
    assert negative.min() >= low - 1e-4
    assert negative.max() <= high + 1e-4
    for values, (bottom, top) in ((positive, (0.0, 0.2)), (negative, (low, high))):
        for coordinate in values.unbind(-1):
            # Uniform: the ends are nearly reached, the mean lies in the middle.
            assert coordinate.min() < bottom + 0.01
            assert coordinate.max() > top - 0.01
            assert coordinate.mean().item() == pytest.approx((bottom + top) / 2, abs=0.02)
    # Signs and coordinates are independent.
    for polarity in noise.unbind(1):
        for signs in ((1, 1), (1, -1), (-1, 1), (-1, -1)):
            share = (polarity.sign() == torch.tensor(signs)).all(-1).float().mean().item()
            assert share == pytest.approx(0.25, abs=0.04)
        assert torch.corrcoef(polarity.abs().T)[0, 1].abs() < 0.06
    overlap = iou(cw_to_se(anchors), cw_to_se(truth)).mean(0)
    assert overlap[0].item() == pytest.approx(0.883, abs=0.02)
    assert overlap[1].item() == pytest.approx(mean_iou, abs=0.03)


def test_noise_may_scale_with_the_centre_as_printed():
    # D27: a late moment of a tenth of the video moves by up to 0.2 of 0.8 / 2, most of its own width.
    late = torch.tensor([[[0.8, 0.1]]])
    literal, chosen = (
        drawn(Denoising(groups=2000, centre_scale=scale), late)[:, :, 0, 0] for scale in ("centre", "width")
    )
    moved = (cw_to_se(literal[:, 0]).mean(-1) - 0.8).abs()
    assert 0.075 < moved.max() <= 0.08 + ROUNDING
    assert (chosen[:, 0, 0] - 0.8).abs().max() <= 0.01 + ROUNDING
    # Widths are drawn alike: one stream, one rule.
    torch.testing.assert_close(literal[:, 0, 1], chosen[:, 0, 1])
    ends = cw_to_se(literal)
    assert ends.min() >= -ROUNDING
    assert ends.max() <= 1 + ROUNDING
    # Why it is not the default.
    overlap = iou(cw_to_se(literal[:, 0]), cw_to_se(late[0, 0]))
    assert overlap.mean() < 0.6


def test_the_margin_falls_linearly():
    options = Denoising(margin_schedule="linear", margin_start=0.4, margin_end=0.1)
    assert [scale_margin(options, p) for p in (0, 0.25, 0.5, 1)] == pytest.approx([0.4, 0.325, 0.25, 0.1])
    fixed = Denoising()
    assert scale_margin(fixed, 0) == scale_margin(fixed, 0.9) == 0.4
    # The scale of negatives follows: at the end of the default schedule only the ring of sigma_p is left.
    anchors = drawn(Denoising(groups=50, margin_schedule="linear"), progress=1.0)[:, 1, 0, 0]
    torch.testing.assert_close((anchors[:, 1] / 0.2 - 1).abs(), torch.full((50,), 0.2), rtol=1e-4, atol=1e-5)


def test_invalid_slots_hold_the_middle_and_every_draw_is_fresh():
    spans = torch.tensor([[[0.5, 0.2], [0.5, 0.2]], [[0.5, 0.2], [0.9, 0.9]]])
    mask = torch.tensor([[True, True], [True, False]])
    noise = groups(Denoising(groups=3), spans, mask)
    anchors = noise.unflatten(noise.anchors[None])[0]
    valid = noise.unflatten(noise.valid[None])[0]
    assert anchors[1, :, :, 1].eq(0.5).all()
    assert not valid[1, :, :, 1].any()
    assert valid[:, :, :, 0].all()
    # Layout: group, polarity, slot.
    assert torch.equal(noise.anchors[0, 2], anchors[0, 0, 1, 0])
    assert torch.equal(noise.anchors[0, 4], anchors[0, 1, 0, 0])
    fresh = anchors[valid]
    assert len(fresh.unique(dim=0)) == len(fresh)


def test_draws_come_from_the_given_generator_alone():
    torch.manual_seed(0)
    first = drawn(Denoising(), seed=4)
    torch.manual_seed(1)
    assert torch.equal(drawn(Denoising(), seed=4), first)
    assert not torch.equal(drawn(Denoising(), seed=5), first)


def test_without_negatives_there_are_positives_only():
    anchors = drawn(Denoising(negatives=False, groups=7))
    assert anchors.shape == (7, 1, 1, 1, 2)
    assert iou(cw_to_se(anchors), cw_to_se(INNER[0, 0])).min() >= 0.8 - ROUNDING


def test_visibility_between_direct_and_noise_queries():
    spans, mask = torch.full((2, 2, 2), 0.5), torch.tensor([[True, True], [True, False]])
    noise = groups(Denoising(groups=2), spans, mask)
    visible = self_attention_bias(noise, 3, 2, torch.device("cpu"))[:, 0] == 0
    group, slot = torch.arange(8) // 4, torch.arange(8) % 2
    for sample in range(2):
        for row in range(11):
            for column in range(11):
                if column >= 8:
                    expected = True
                elif row >= 8:
                    expected = False
                else:
                    expected = bool(group[row] == group[column]) and bool(mask[sample, slot[column]])
                assert visible[sample, row, column] == expected, (sample, row, column)
    assert visible.any(-1).all()
    assert self_attention_bias(None, 3, 2, torch.device("cpu")) is None


def test_dynamic_anchors_differ_between_queries_and_samples_from_the_start():
    torch.manual_seed(0)
    anchors = SADETR(small_settings(), SHAPE).direct_anchors(torch.randn(4, HIDDEN))
    assert anchors.shape == (4, 6, 2)
    assert anchors.min() > 0
    assert anchors.max() < 1
    assert len(anchors.flatten(0, 1).unique(dim=0)) == 24


def test_learned_anchors_are_the_same_for_all_samples():
    direct = small_model(small_settings(qi={"dynamic": False, "init_loss": False})).direct_anchors
    assert [name for name, _ in direct.named_parameters()] == ["learned.weight"]
    anchors = direct(torch.randn(4, HIDDEN))
    assert torch.equal(anchors, direct.learned.weight.sigmoid().expand(4, -1, -1))
