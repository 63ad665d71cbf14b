"""Span Aware Query Refiner: Temporal Align, Gaussian mask, enhance block and cross attention against the equations."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.models.sa_detr.refiner import (
    ModulatedCrossAttention,
    SelfAttention,
    SpanAwareRefiner,
    SpanEnhance,
    VideoContext,
    temporal_align_weights,
)
from sadetr.models.sa_detr.settings import EnhanceBlock, SADETRSettings
from sadetr.nn.attention import split_heads
from sadetr.nn.decoders import ConditionalCrossAttention, Memory
from sadetr.nn.gaussian import log_gaussian_mask
from sadetr.nn.positions import anchor_positions, clip_positions
from sadetr.nn.roi_align import roi_align_weights
from sadetr.nn.settings import GaussianMask
from sadetr.nn.spans import inverse_sigmoid
from tests.samples import HIDDEN, random_spans, shaken, small_settings

LENGTHS = (9, 6, 1)


def video_context(lengths=LENGTHS, seed=0):
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    clips = torch.randn(*mask.shape, HIDDEN, generator=generator)
    sentence = torch.randn(len(lengths), HIDDEN, generator=generator)
    return VideoContext(clips, mask, clip_positions(mask, HIDDEN), sentence)


def some_anchors(lengths=LENGTHS, count=5):
    return random_spans(torch.Generator().manual_seed(1), len(lengths), count)


def some_contents(lengths=LENGTHS, count=5):
    return torch.randn(len(lengths), count, HIDDEN, generator=torch.Generator().manual_seed(2))


def sample_by_gathering(clips, length, anchor, samples):
    """Section 5.2 for one anchor (c, w), read literally."""
    centre, width = anchor.tolist()
    span = max(width * length, 1)
    start = centre * length - span / 2
    rows = []
    for k in range(samples):
        place = min(max(start + (k + 0.5) * span / samples - 0.5, 0), length - 1)
        below = math.floor(place)
        share = place - below
        rows.append((1 - share) * clips[below] + share * clips[min(below + 1, length - 1)])
    return torch.stack(rows)


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 10**6), st.integers(1, 30), st.integers(1, 12))
def test_temporal_align_equals_gathering(seed, length, samples):
    generator = torch.Generator().manual_seed(seed)
    clips = torch.randn(length + 3, 4, generator=generator, dtype=torch.float64)
    anchors = torch.rand(1, 6, 2, generator=generator, dtype=torch.float64)
    mask = torch.arange(length + 3)[None] < length
    weights = temporal_align_weights(anchors, mask, samples)[0]
    torch.testing.assert_close(weights.sum(-1), torch.ones_like(weights[..., 0]))
    assert not weights[..., length:].any()
    for query in range(6):
        expected = sample_by_gathering(clips, length, anchors[0, query], samples)
        torch.testing.assert_close(weights[query] @ clips, expected)


def test_a_ramp_is_sampled_at_the_analytic_positions():
    ramp = torch.arange(20.0)[:, None]
    weights = temporal_align_weights(torch.tensor([[[0.5, 0.4]]]), torch.ones(1, 20, dtype=torch.bool), 4)
    # 8 clips from 6 on, bin centres at 7, 9, 11, 13, half a clip back to clip centres.
    assert (weights[0, 0] @ ramp).flatten().tolist() == pytest.approx([6.5, 8.5, 10.5, 12.5], abs=1e-5)


@pytest.mark.parametrize("length", [1, 4, 11])
def test_the_full_span_returns_the_clips(length):
    mask = torch.arange(11)[None] < length
    weights = temporal_align_weights(torch.tensor([[[0.5, 1.0]]]), mask, length)[0, 0]
    torch.testing.assert_close(weights, torch.eye(11)[:length], rtol=0, atol=1e-5)


def test_a_span_below_one_clip_counts_as_one():
    mask = torch.ones(1, 10, dtype=torch.bool)
    tiny = temporal_align_weights(torch.tensor([[[0.55, 1e-6]]]), mask, 3)
    clip = temporal_align_weights(torch.tensor([[[0.55, 0.1]]]), mask, 3)
    torch.testing.assert_close(tiny, clip, rtol=0, atol=1e-5)


def test_temporal_align_passes_no_gradient_to_anchors():
    anchors = some_anchors().requires_grad_()
    assert not temporal_align_weights(anchors, video_context().mask, 4).requires_grad


def test_temporal_align_is_g_tads_kernel_half_a_clip_away_inside_the_video():
    # Ours moves points by half a clip, to clip centres, and clamps where G-TAD fills with zeros (D37).
    starts, ends = torch.tensor([0.0, 2.3, 4.5, 8.0]), torch.tensor([3.0, 3.9, 9.9, 9.0])
    anchors = torch.stack(((starts + ends) / 2 + 0.5, ends - starts), -1) / 12
    ours = temporal_align_weights(anchors[None].double(), torch.ones(1, 12, dtype=torch.bool), 5)[0]
    theirs = roi_align_weights(torch.stack((starts, ends), -1).double(), 12, 5, samples=1)
    torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-6)


def test_the_gaussian_is_0_6065_at_the_border():
    # Ten clips, grid i / 10: clips 3 and 7 lie on the borders of (0.5, 0.4).
    mask = torch.ones(1, 10, dtype=torch.bool)
    gaussian = log_gaussian_mask(torch.tensor([[[0.5, 0.4]]]), mask, GaussianMask()).exp()[0, 0]
    assert gaussian[[2, 6]].tolist() == pytest.approx([math.exp(-0.5)] * 2, abs=1e-5)
    assert gaussian[4].item() == pytest.approx(1)
    assert gaussian[8].item() == pytest.approx(math.exp(-2), abs=1e-5)


def test_the_gaussian_does_not_see_padding():
    anchors, context = some_anchors(), video_context()
    gaussian = log_gaussian_mask(anchors, context.mask, GaussianMask())
    for sample, length in enumerate(LENGTHS):
        alone = log_gaussian_mask(
            anchors[sample : sample + 1], context.mask[sample : sample + 1, :length], GaussianMask()
        )
        assert torch.equal(gaussian[sample, :, :length], alone[0])


def test_widths_of_the_gaussian_are_bounded_below():
    mask, option = torch.ones(1, 5, dtype=torch.bool), GaussianMask()
    narrow, least = (log_gaussian_mask(torch.tensor([[[0.4, w]]]), mask, option) for w in (1e-9, option.min_width))
    assert torch.equal(narrow, least)


def test_the_gaussian_passes_gradients_to_anchors_that_are_not_detached():
    anchors = some_anchors().requires_grad_()
    log_gaussian_mask(anchors, video_context().mask, GaussianMask()).sum().backward()
    assert anchors.grad.ne(0).all()


def modulated(mode, alpha=2.0, positions="projected"):
    torch.manual_seed(0)
    switches = {"ad": {"modulate": False}} if mode is None else {"gauss": {"mode": mode, "alpha": alpha}}
    switches["refiner"] = {"positions": positions}
    return ModulatedCrossAttention(small_settings(**switches)).eval()


def literal_cross_attention(layer, mode, content, position, anchors, context):
    """Eqs 4-6 for one head and one sample at a time."""
    heads, rows = layer.heads, []
    for sample in range(len(content)):
        length = int(context.mask[sample].sum())
        clips = context.clips[sample, :length]
        query, key, value = layer.query(content[sample]), layer.key(clips), layer.value(clips)
        place, time = position[sample], context.positions[sample, :length]
        if layer.query_position is not None:
            place, time = layer.query_position(place), layer.key_position(time)
        grid = torch.arange(1, length + 1) / length
        centre, width = anchors[sample].unbind(-1)
        mask = (-2 * (grid - centre[:, None]) ** 2 / width.clamp(min=1e-3)[:, None] ** 2).exp()
        outputs = []
        for head in range(heads):
            part = slice(head * HIDDEN // heads, (head + 1) * HIDDEN // heads)
            q = torch.cat((query[:, part], place[:, part]), -1)
            k = torch.cat((key[:, part], time[:, part]), -1)
            logits = q @ k.T / math.sqrt(q.shape[-1])
            if mode == "mul_logits":
                attention = (logits * mask).softmax(-1)
            elif mode == "add_log":
                weighed = logits.softmax(-1) * mask
                attention = weighed / weighed.sum(-1, keepdim=True)
            else:
                attention = logits.softmax(-1) * (mask if mode == "mul_prob" else 1)
            outputs.append(attention @ value[:, part])
        rows.append(layer.norm(content[sample] + layer.out(torch.cat(outputs, -1))))
    return torch.stack(rows)


@pytest.mark.parametrize("positions", ["projected", "raw"])
@pytest.mark.parametrize("mode", ["mul_logits", "add_log", "mul_prob", None])
def test_cross_attention_follows_eqs_4_to_6(mode, positions):
    layer, context, content = modulated(mode, positions=positions), video_context(), some_contents()
    # Wide anchors: the literal softmax(map) * mask of narrow ones underflows before it is renormalised.
    anchors = some_anchors().clamp(min=0.3)
    position = torch.randn_like(content)
    expected = literal_cross_attention(layer, mode, content, position, anchors, context)
    torch.testing.assert_close(layer(content, position, anchors, context), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("mode", ["mul_logits", "add_log", "mul_prob"])
def test_a_flat_mask_is_no_modulation(mode):
    flat, plain = modulated(mode, alpha=1e-12), modulated(None)
    plain.load_state_dict(flat.state_dict())
    inputs = some_contents(), some_contents(), some_anchors().clamp(min=0.3), video_context()
    torch.testing.assert_close(flat(*inputs), plain(*inputs), rtol=1e-5, atol=1e-6)


def test_add_log_ignores_clips_far_outside_the_span():
    layer, context = modulated("add_log"), video_context((9,))
    inputs = some_contents((9,)), some_contents((9,)), torch.tensor([[[0.12, 0.05]] * 5])
    before = layer(*inputs, context)
    context.clips[0, 8] = 30.0
    torch.testing.assert_close(layer(*inputs, context), before)


def literal_enhance(layer, content, anchors, context):
    """Eqs 2-3 with the samples materialised."""
    settings, rows = layer.settings, []
    for sample in range(len(content)):
        length = int(context.mask[sample].sum())
        for query, anchor in zip(content[sample], anchors[sample], strict=True):
            samples = sample_by_gathering(context.clips[sample], length, anchor, settings.samples)
            scores = layer.clip(samples) @ layer.sentence(context.sentence[sample]) / math.sqrt(HIDDEN)
            if settings.attn == "softmax":
                mixed = (scores.softmax(0)[:, None] * samples).sum(0)
            else:
                scores = scores.sigmoid() if settings.attn == "sigmoid" else scores
                mixed = (scores[:, None] * samples).mean(0)
            gate = query * mixed
            if settings.gate == "scalar":
                gate = gate.sum() / (math.sqrt(HIDDEN) if settings.gate_scale else 1)
            rows.append(layer.norm(query + layer.fuse(gate.sigmoid() * (mixed + query))))
    return torch.stack(rows).view_as(content)


@pytest.mark.parametrize("attn", ["raw", "softmax", "sigmoid"])
@pytest.mark.parametrize(("gate", "scale"), [("scalar", False), ("scalar", True), ("elementwise", False)])
def test_enhance_follows_eqs_2_and_3(attn, gate, scale):
    torch.manual_seed(0)
    layer = SpanEnhance(HIDDEN, EnhanceBlock(samples=4, attn=attn, gate=gate, gate_scale=scale))
    inputs = some_contents(), some_anchors(), video_context()
    torch.testing.assert_close(layer(*inputs), literal_enhance(layer, *inputs), rtol=1e-4, atol=1e-5)


def test_self_attention_follows_eq_1():
    torch.manual_seed(0)
    layer = SelfAttention(HIDDEN, 4, 0.0)
    content, position = some_contents(), torch.randn(3, 5, HIDDEN)
    query, key, value = layer.query(content) + position, layer.key(content) + position, layer.value(content)
    heads = []
    for part in torch.arange(HIDDEN).chunk(4):
        logits = query[..., part] @ key[..., part].transpose(1, 2) / math.sqrt(HIDDEN / 4)
        heads.append(logits.softmax(-1) @ value[..., part])
    expected = layer.norm(content + layer.out(torch.cat(heads, -1)))
    torch.testing.assert_close(layer(content, position, None), expected, rtol=1e-4, atol=1e-5)


def test_projections_start_with_non_zero_biases():
    # Zero contents and zero biases would feed zeros to the layer norm of the first layer.
    refiner = SpanAwareRefiner(small_settings())
    for layer in refiner.layers:
        assert layer.self_attention.value.bias.abs().sum() > 0
        assert layer.self_attention.out.bias.abs().sum() > 0


def test_the_offset_starts_at_zero_so_spans_start_at_the_anchors():
    torch.manual_seed(0)
    anchors = some_anchors()
    spans, qualities = SpanAwareRefiner(small_settings())(some_contents(), anchors, None, video_context())
    torch.testing.assert_close(spans, anchors.expand(2, -1, -1, -1), rtol=1e-5, atol=1e-5)
    assert qualities.shape == (2, 3, 5)


def shaken_refiner(**switches):
    torch.manual_seed(0)
    refiner = SpanAwareRefiner(small_settings(**switches))
    return shaken(refiner)


@pytest.mark.parametrize("gradient", ["detached", "update", "full"])
def test_layers_refine_in_logit_space_with_gradients_as_set_between_them(gradient):
    refiner, context, content = shaken_refiner(refiner={"gradient": gradient}), video_context(), some_contents()

    def replay(anchors):
        spans, contents, base = [], content, anchors
        for layer in refiner.layers:
            position = refiner.position(anchor_positions(anchors, HIDDEN))
            contents = layer(contents, position, anchors, None, context)
            spans.append((inverse_sigmoid(base) + refiner.offset(contents)).sigmoid())
            # D47: nothing passes, what the offset is added to, or everything.
            anchors = spans[-1] if gradient == "full" else spans[-1].detach()
            base = spans[-1].detach() if gradient == "detached" else spans[-1]
        return torch.stack(spans)

    weights = torch.randn(2, 3, 5, 2)
    gradients = []
    for run in (lambda anchors: refiner(content, anchors, None, context)[0], replay):
        anchors = some_anchors().requires_grad_()
        spans = run(anchors)
        (spans * weights).sum().backward()
        gradients.append((spans.detach(), anchors.grad))
    for ours, expected in zip(*gradients, strict=True):
        torch.testing.assert_close(ours, expected)
    assert gradients[0][1].ne(0).any()
    assert (gradients[0][0][0] - gradients[0][0][1]).abs().max() > 1e-3


def test_gradients_between_layers_change_no_prediction_and_reach_as_far_as_set():
    inputs = some_contents(), some_anchors(), None, video_context()
    offsets, spans = {}, {}
    for gradient in ("detached", "update", "full"):
        refiner = shaken_refiner(refiner={"gradient": gradient})
        spans[gradient] = refiner(*inputs)[0]
        # The head is shared: what differs is what the second layer's loss asks of the first layer's spans.
        (offsets[gradient],) = torch.autograd.grad(spans[gradient][1].sum(), refiner.offset[-1].bias)
    assert torch.equal(spans["detached"], spans["update"])
    assert torch.equal(spans["detached"], spans["full"])
    pairs = (("detached", "update"), ("update", "full"), ("detached", "full"))
    assert not any(torch.allclose(offsets[first], offsets[second]) for first, second in pairs)


def test_queries_are_equivariant():
    refiner, context = shaken_refiner(), video_context()
    order = torch.tensor([3, 0, 4, 1, 2])
    content, anchors = some_contents(), some_anchors()
    spans, qualities = refiner(content, anchors, None, context)
    permuted_spans, permuted_qualities = refiner(content[:, order], anchors[:, order], None, context)
    torch.testing.assert_close(permuted_spans, spans[:, :, order], rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(permuted_qualities, qualities[:, :, order], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("positions", ["projected", "raw"])
def test_unmodulated_cross_attention_is_dab_detrs(positions):
    # Whose parity is checked in tests/parity. Raw positions are its behind the projections of both (D41).
    torch.manual_seed(0)
    settings = small_settings(ad={"modulate": False}, refiner={"positions": positions})
    ours = ModulatedCrossAttention(settings)
    theirs = ConditionalCrossAttention(HIDDEN, settings.num_heads, 0.0, first=False, gauss=None)
    same = {name: name for name in ("query", "key", "value", "out")}
    if positions == "projected":
        same |= {"query_sine": "query_position", "key_position": "key_position"}
    for name, source in same.items():
        getattr(theirs, name).load_state_dict(getattr(ours, source).state_dict())
    context, content, anchors = video_context(), some_contents(), some_anchors()
    sine = torch.randn_like(content)
    memory = Memory(context.clips, context.positions, context.mask)
    expected = ours.norm(content + theirs(content, torch.zeros_like(content), sine, anchors, memory))
    if positions == "raw":
        context = VideoContext(context.clips, context.mask, theirs.key_position(context.positions), context.sentence)
        sine = theirs.query_sine(sine)
    torch.testing.assert_close(ours(content, sine, anchors, context), expected, rtol=1e-4, atol=1e-5)


def test_projected_positions_tell_clips_apart_in_every_head():
    # The reason for D41: split raw, most heads get frequencies at which all clips of a video look alike.
    mask = torch.ones(1, 75, dtype=torch.bool)
    positions = clip_positions(mask, 256)
    torch.manual_seed(0)
    layer = ModulatedCrossAttention(SADETRSettings())
    torch.nn.init.xavier_uniform_(layer.key_position.weight)
    raw, projected = (
        split_heads(values, 8)[0].std(1).square().mean(-1).sqrt()
        for values in (positions, layer.key_position(positions))
    )
    assert (raw < 0.05).sum() == 5
    assert projected.min() > 0.1
