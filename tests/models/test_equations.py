"""Equations 1 to 10 of the paper, written out in plain Python and numpy in float64, against the network and the losses.

Each test follows the printed equation with the readings of docs/interpretation.md; what the paper does not print (the
LayerNorm and the output projection behind an attention) is taken out of the module under test, or named.
"""

import itertools
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from sadetr.losses.moment import span_losses
from sadetr.losses.quality import quality_loss, quality_margin_loss
from sadetr.models.sa_detr.refiner import (
    ModulatedCrossAttention,
    SelfAttention,
    SpanEnhance,
    VideoContext,
    temporal_align_weights,
)
from sadetr.models.sa_detr.settings import EnhanceBlock, SADETRSettings
from sadetr.nn.gaussian import log_gaussian_mask
from sadetr.nn.settings import GaussianMask
from tests.parity.arithmetic import cross_entropy, ends, giou, iou, sigmoid, softmax, unit
from tests.samples import small_batch, small_model, small_settings, small_step

N, L, WIDTH = 3, 5, 8


def close(ours, expected):
    np.testing.assert_allclose(ours.detach().numpy(), expected, rtol=1e-9, atol=1e-12)


def draw(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def shaken(module, seed=1):
    """The module in float64 with every parameter drawn anew."""
    torch.manual_seed(seed)
    module = module.double().eval()
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.normal_()
    return module


def project(linear, x):
    bias = 0 if linear.bias is None else linear.bias.detach().numpy()
    return x @ linear.weight.detach().numpy().T + bias


def heads_of(x, heads):
    return np.split(x, heads, -1)


def context(clips=L, valid=L - 1):
    mask = (torch.arange(clips) < valid)[None]
    return VideoContext(draw(1, clips, WIDTH, seed=2), mask, draw(1, clips, WIDTH, seed=3), draw(1, WIDTH, seed=4))


ANCHORS = torch.tensor([[[0.4, 0.5], [0.7, 0.3], [0.1, 0.05]]], dtype=torch.float64)


@pytest.mark.parametrize("heads", [1, 2])
def test_eq_1_self_attention(heads):
    layer = shaken(SelfAttention(WIDTH, heads, 0.0))
    layer.out = layer.norm = nn.Identity()
    content, place = draw(1, N, WIDTH), draw(1, N, WIDTH, seed=5)
    c, p = content[0].numpy(), place[0].numpy()
    query, key, value = project(layer.query, c) + p, project(layer.key, c) + p, project(layer.value, c)
    mixed = []
    for q, k, v in zip(*(heads_of(x, heads) for x in (query, key, value)), strict=True):
        mixed.append(softmax(q @ k.T / math.sqrt(WIDTH / heads)) @ v)
    close(layer(content, place, None)[0], np.concatenate(mixed, -1) + c)


def sampled_clips(clips, valid, samples):
    """Temporal Align: (N, samples, d) clips interpolated inside each anchor."""
    sampled = np.zeros((N, samples, WIDTH))
    for n, k in itertools.product(range(N), range(samples)):
        centre, width = ANCHORS[0, n].tolist()
        length = max(width * valid, 1.0)
        place = centre * valid - length / 2 + (k + 0.5) * length / samples - 0.5
        place = min(max(place, 0.0), valid - 1)
        low = math.floor(place)
        high = min(low + 1, valid - 1)
        sampled[n, k] = (1 - (place - low)) * clips[low] + (place - low) * clips[high]
    return sampled


def text_related_samples(block, video, samples):
    """Eq 2: s = (W_v M_s) (W_t M_t)^T / sqrt(d), mean over the samples of M_s times s."""
    sampled = sampled_clips(video.clips[0].numpy(), int(video.mask.sum()), samples)
    sentence = project(block.sentence, video.sentence[0].numpy())
    result = np.zeros((N, WIDTH))
    for n in range(N):
        for k in range(samples):
            s = project(block.clip, sampled[n, k]) @ sentence / math.sqrt(WIDTH)
            result[n] += s * sampled[n, k] / samples
    return result


def test_eq_2_samples_of_the_span_weighed_by_the_sentence():
    samples, video = 4, context()
    block = shaken(SpanEnhance(WIDTH, EnhanceBlock(samples=samples)))
    weights = temporal_align_weights(ANCHORS, video.mask, samples)
    close(block._attend(weights, video)[0], text_related_samples(block, video, samples))


def test_eq_3_gate_fusion():
    samples, video, content = 4, context(), draw(1, N, WIDTH)
    block = shaken(SpanEnhance(WIDTH, EnhanceBlock(samples=samples)))
    block.norm = nn.Identity()
    related, c = text_related_samples(block, video, samples), content[0].numpy()
    expected = np.zeros((N, WIDTH))
    for n in range(N):
        # The diagonal of C M^T is one number per query.
        gate = sigmoid(sum(c[n, d] * related[n, d] for d in range(WIDTH)))
        expected[n] = project(block.fuse, gate * (related[n] + c[n])) + c[n]
    close(block(content, ANCHORS, video)[0], expected)


def cross_attention(heads, **switches):
    layer = ModulatedCrossAttention(SADETRSettings(hidden_width=WIDTH, num_heads=heads, dropout=0.0, **switches))
    layer = shaken(layer)
    layer.out = layer.norm = nn.Identity()
    return layer


def attention_maps(layer, content, place, video):
    """Eq 4: content and position side by side, per head; positions are projected in front of it, or not (D41)."""
    query, key = project(layer.query, content[0].numpy()), project(layer.key, video.clips[0].numpy())
    place, time = place[0].numpy(), video.positions[0].numpy()
    if hasattr(layer.key_position, "weight"):
        place, time = project(layer.query_position, place), project(layer.key_position, time)
    halves = (heads_of(x, layer.heads) for x in (query, place, key, time))
    return [
        np.concatenate((q, p), -1) @ np.concatenate((k, t), -1).T / math.sqrt(2 * WIDTH / layer.heads)
        for q, p, k, t in zip(*halves, strict=True)
    ]


@pytest.mark.parametrize("positions", ["projected", "raw"])
@pytest.mark.parametrize("heads", [1, 2])
def test_eq_4_attention_map(heads, positions):
    layer = cross_attention(heads, refiner={"positions": positions})
    assert hasattr(layer.query_position, "weight") == (positions == "projected")
    content, place, video = draw(1, N, WIDTH), draw(1, N, WIDTH, seed=5), context()
    logits = layer._logits(layer.query(content), place, video)
    close(logits[0], np.stack(attention_maps(layer, content, place, video)))


def gaussian(alpha, valid):
    """Eq 5, i = 1..L_v; padded clips follow, and are masked later."""
    spans = ANCHORS[0].tolist()
    return np.array([[math.exp(-alpha * (i / valid - c) ** 2 / w**2) for i in range(1, L + 1)] for c, w in spans])


@pytest.mark.parametrize("alpha", [2.0, 0.5])
def test_eq_5_gaussian_mask(alpha):
    mask = context().mask
    close(log_gaussian_mask(ANCHORS, mask, GaussianMask(alpha=alpha)).exp()[0], gaussian(alpha, int(mask.sum())))


def test_eq_5_in_numbers():
    # Four clips; the second is the centre of (0.5, 0.5), the others are half a width, one and a half away.
    mask = torch.ones(1, 4, dtype=torch.bool)
    values = log_gaussian_mask(torch.tensor([[[0.5, 0.5]]], dtype=torch.float64), mask, GaussianMask()).exp()
    close(values[0, 0], [math.exp(-0.5), 1.0, math.exp(-0.5), math.exp(-2.0)])


@pytest.mark.parametrize(
    "refiner", [{}, {"positions": "raw"}, {"residual": "query"}], ids=["default", "raw positions", "query residual"]
)
@pytest.mark.parametrize("heads", [1, 2])
def test_eq_6_modulated_cross_attention(heads, refiner):
    layer, content, place = cross_attention(heads, refiner=refiner), draw(1, N, WIDTH), draw(1, N, WIDTH, seed=5)
    video = context()
    valid = int(video.mask.sum())
    value = heads_of(project(layer.value, video.clips[0].numpy()), heads)
    maps = attention_maps(layer, content, place, video)
    mask = gaussian(2.0, valid)
    mixed = [softmax((m * mask)[:, :valid]) @ v[:valid] for m, v in zip(maps, value, strict=True)]
    # Eq 6 prints the projected query; eq 1, in the same place, the content (D44).
    kept = content[0].numpy()
    kept = project(layer.query, kept) if refiner.get("residual") == "query" else kept
    close(layer(content, place, ANCHORS, video)[0], np.concatenate(mixed, -1) + kept)


def double(values):
    return torch.tensor(values, dtype=torch.float64)


def test_eq_7_moment_loss():
    predicted, truth = double([[[[0.5, 0.4], [0.25, 0.1]]]]), double([[[0.4, 0.2], [0.85, 0.1]]])
    l1, overlap = span_losses(predicted, truth, torch.ones(1, 2, dtype=torch.bool))
    # Distances 0.1, 0.2 and 0.6, 0.0. [0.3, 0.7] holds [0.3, 0.5]; [0.2, 0.3] and [0.8, 0.9] leave 0.5 of 0.7 empty.
    first = 10 * (0.1 + 0.2) / 2 + (1 - 0.2 / 0.4)
    second = 10 * (0.6 + 0.0) / 2 + (1 + 0.5 / 0.7)
    close(10 * l1 + overlap, (first + second) / 2)


def test_eq_7_as_printed_sums_over_the_windows():
    # Two samples, the second with one window.
    predicted = double([[[[0.5, 0.4], [0.25, 0.1]], [[0.3, 0.2], [0.5, 0.5]]]])
    truth = double([[[0.4, 0.2], [0.85, 0.1]], [[0.3, 0.4], [0.0, 0.0]]])
    mask = torch.tensor([[True, True], [True, False]])
    l1, overlap = span_losses(predicted, truth, mask, "sum")
    first = 10 * (0.1 + 0.2) / 2 + (1 - 0.2 / 0.4)
    second = 10 * (0.6 + 0.0) / 2 + (1 + 0.5 / 0.7)
    third = 10 * 0.2 / 2 + (1 - 0.2 / 0.4)
    close(10 * l1 + overlap, ((first + second) + third) / 2)
    # DETR's: both coordinates summed, windows averaged.
    l1, overlap = span_losses(predicted, truth, mask, "detr")
    close(l1, (0.3 + 0.6 + 0.2) / 3)
    close(overlap, span_losses(predicted, truth, mask)[1].numpy())


def test_eq_8_quality_loss():
    # Spans [0.1, 0.5], [0.6, 1.0], [0.0, 0.2]; windows [0.2, 0.5], [0.7, 1.0]; the first two are matched.
    spans = double([[[[0.3, 0.4], [0.8, 0.4], [0.1, 0.2]]]])
    truth = double([[[0.35, 0.3], [0.85, 0.3]]])
    qualities = double([[[0.5, 0.9, 0.25]]])
    loss = quality_loss(qualities, spans, truth, torch.ones(1, 2, dtype=torch.bool), torch.tensor([[[0, 1]]]), 10.0)
    errors = [10 * abs(0.5 - 0.3 / 0.4), 10 * abs(0.9 - 0.3 / 0.4), abs(0.25 - 0.0)]
    close(loss, sum(errors) / 3)


def test_eq_9_quality_margin_loss():
    # One layer, one sample, two groups of two windows.
    positive, negative = double([[[[0.9, 0.5], [0.2, 0.3]]]]), double([[[[0.1, 0.5], [0.7, 0.9]]]])
    loss = quality_margin_loss(positive, negative, torch.ones(1, 1, 2, dtype=torch.bool), 0.4)
    close(loss, (0.0 + 0.4 + 0.9 + 1.0) / 4)


LAMBDAS = {"align": 2.0, "saliency": 3.0, "moment": 5.0, "quality": 7.0}


@pytest.fixture(scope="module")
def trained():
    """A training step of a small model in float64: output as numpy, batch as numpy, terms."""
    settings = small_settings(loss=LAMBDAS | {"matched_quality": 4.0})
    model, batch = small_model(settings).double().train(), small_batch()
    batch = replace(batch, **{name: getattr(batch, name).double() for name in ("video", "text", "spans", "saliency")})
    with torch.no_grad():
        output = model(batch, small_step())
        terms = model.objective(output, batch)
    arrays = [
        {name: value.numpy() for name, value in vars(source).items() if isinstance(value, torch.Tensor)}
        for source in (output, batch)
    ]
    return *arrays, output.noise, terms


def alignment_loss(out, batch):
    """L_A: contrast of videos and texts; each clip with its sentence; the positive clip within and across videos."""
    size, tau = len(batch["video"]), 0.07
    logits = unit(out["video_embedding"]) @ unit(out["text_embedding"]).T / tau
    total = (cross_entropy(logits) + cross_entropy(logits.T)) / 2
    clips, sentence = unit(out["clip_embeddings"]), unit(out["sentence_embedding"])
    similar = np.einsum("bld,bd->bl", clips, sentence) / tau
    valid, relevant, chosen = batch["video_mask"], batch["relevant"], batch["aligned_clip"]
    local = [-math.log(sigmoid(similar[b, i] if relevant[b, i] else -similar[b, i])) for b, i in np.argwhere(valid)]
    total += np.mean(local)
    saliency = batch["saliency"]
    candidates = valid & (saliency < saliency[range(size), chosen][:, None])
    candidates[range(size), chosen] = True
    for b in range(size):
        own = similar[b, chosen[b]]
        beside = [other for other in range(size) if candidates[other, chosen[b]]]
        total += (math.log(np.exp(similar[b, candidates[b]]).sum()) - own) / size
        total += (math.log(np.exp(similar[beside, chosen[b]]).sum()) - own) / size
    across = clips[range(size), chosen] @ sentence.T / tau
    return total + cross_entropy(across) + cross_entropy(across.T)


def saliency_loss(out, batch):
    """L_S: margins of pairs, rank contrast over both passes, scores against another video's text."""
    scores, other, total = out["saliency"], out["negative_saliency"], 0.0
    for b, valid in enumerate(batch["video_mask"]):
        for high, low in zip(batch["positive_clips"][b], batch["negative_clips"][b], strict=True):
            pairs = batch["positive_clips"].size
            total += 2 * max(0.0, 0.2 + scores[b, low] - scores[b, high]) / pairs
        total += sum(-math.log(1 - sigmoid(x)) for x in other[b, valid]) / len(scores)
        everyone = np.concatenate((scores[b, valid], other[b, valid])) / 0.5
        # QD-DETR keeps logarithm and mean finite by 1e-6.
        pool = everyone.max() + math.log(np.exp(everyone - everyone.max()).sum() + 1e-6)
        for level in range(1, 12):
            above = scores[b, valid & (batch["saliency"][b] >= level)]
            total -= (above / 0.5 - pool).sum() / (len(above) + 1e-6) / 12 / len(scores)
    return total


def pair_loss(span, window):
    return 10 * np.abs(span - window).mean() + 1 - giou(ends(span), ends(window))


def matched(spans, truth):
    """The queries of the windows: the cheapest of all assignments."""

    def cost(chosen):
        pairs = [(spans[query], window) for query, window in zip(chosen, truth, strict=True)]
        return sum(10 * np.abs(span - window).sum() - giou(ends(span), ends(window)) for span, window in pairs)

    return min(itertools.permutations(range(len(spans)), len(truth)), key=cost)


def moment_and_quality_loss(out, batch, noise):
    """L_M and L_Q: initial anchors, direct group and noise group of every layer."""
    truth = [row[kept] for row, kept in zip(batch["spans"], batch["spans_mask"], strict=True)]
    windows = sum(map(len, truth))
    moment = quality = 0.0
    for layer, stage in enumerate((out["anchors"], *out["layer_spans"]), start=-1):
        for b, own in enumerate(truth):
            chosen = matched(stage[b], own)
            moment += sum(pair_loss(stage[b, q], window) for q, window in zip(chosen, own, strict=True)) / windows
            if layer < 0:
                continue
            for q, span in enumerate(stage[b]):
                best = max(iou(np.clip(ends(span), 0, 1), ends(window)) for window in own)
                weight = 4.0 if q in chosen else 1.0
                quality += weight * abs(out["layer_qualities"][layer, b, q] - best) / stage.shape[0] / stage.shape[1]
    shape = (noise.groups, noise.polarities, noise.slots)
    for spans, qualities in zip(out["noise_spans"], out["noise_qualities"], strict=True):
        for b, own in enumerate(truth):
            grouped, scores = spans[b].reshape(*shape, 2), qualities[b].reshape(shape)
            for group, (slot, window) in itertools.product(range(noise.groups), enumerate(own)):
                moment += pair_loss(grouped[group, 0, slot], window) / windows / noise.groups
                gap = scores[group, 1, slot] - scores[group, 0, slot] + 0.4
                quality += max(gap, 0.0) / windows / noise.groups
    return moment, quality


def test_eq_10_total_loss(trained):
    out, batch, noise, terms = trained
    moment, quality = moment_and_quality_loss(out, batch, noise)
    parts = {"align": alignment_loss(out, batch), "saliency": saliency_loss(out, batch)}
    parts |= {"moment": moment, "quality": quality}
    assert all(part > 0.01 for part in parts.values())
    close(sum(terms.values()), sum(LAMBDAS[name] * part for name, part in parts.items()))
