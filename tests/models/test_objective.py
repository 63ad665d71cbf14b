"""The objective: eq 10, its terms per switch, and what a perfect prediction costs."""

from dataclasses import replace

import pytest
import torch

from sadetr.losses.matching import match
from sadetr.losses.quality import quality_targets
from sadetr.models.sa_detr import objective
from tests.samples import padded, random_spans, small_batch, small_model, small_settings, small_step

ALIGNMENT = {"vtc", "ctm_local", "ctm_intra", "ctm_inter"}
SALIENCY = {"saliency_margin", "saliency_rank", "saliency_negative"}
DIRECT = {"direct_l1", "direct_giou"}
INIT = {"init_l1", "init_giou"}
NOISE = {"noise_l1", "noise_giou"}
QUALITY = {"quality"}
MARGIN = {"quality_margin"}
ALL = ALIGNMENT | SALIENCY | DIRECT | INIT | NOISE | QUALITY | MARGIN


def terms_of(batch=None, **switches):
    model = small_model(small_settings(**switches)).train()
    batch = batch or small_batch()
    return model.objective(model(batch, small_step()), batch)


@pytest.mark.parametrize(
    ("switches", "absent"),
    [
        ({}, set()),
        ({"fa": {"vtc": False}}, {"vtc"}),
        ({"fa": {"ctm": False}}, ALIGNMENT - {"vtc"}),
        ({"qi": {"init_loss": False}}, INIT),
        ({"qi": {"dynamic": False, "init_loss": False}}, INIT),
        ({"ad": {"enhance": False, "modulate": False}}, set()),
        ({"dn": {"enabled": False}}, NOISE | MARGIN),
        ({"dn": {"negatives": False}}, MARGIN),
        ({"dn": {"margin_schedule": "linear"}}, set()),
        ({"loss": {"aux": False}}, set()),
        ({"loss": {"align": 0.0}}, ALIGNMENT),
        ({"loss": {"saliency": 0.0}}, SALIENCY),
        ({"loss": {"moment": 0.0}}, DIRECT | INIT | NOISE),
        ({"loss": {"quality": 0.0}}, QUALITY | MARGIN),
    ],
)
def test_terms_per_switch(switches, absent):
    assert terms_of(**switches).keys() == ALL - absent


def test_terms_without_weight_are_not_computed(monkeypatch):
    monkeypatch.setattr(objective, "video_text_contrast", lambda *_: pytest.fail("computed"))
    assert not ALIGNMENT & terms_of(loss={"align": 0.0}).keys()


@pytest.mark.parametrize("align", [0.0, 1.0])
def test_a_text_of_unknown_words_alone_stays_finite(align):
    """Word vectors are zero then, and not normalised."""
    batch = small_batch()
    text = batch.text.clone()
    text[0] = 0
    model = small_model(small_settings(loss={"align": align})).train()
    batch = replace(batch, text=text)
    output = model(batch, small_step())
    terms = model.objective(output, batch)
    sum(terms.values()).backward()
    assert all(term.isfinite() for term in terms.values())
    assert all(value.isfinite().all() for value in (output.spans, output.scores, output.saliency))
    assert all(parameter.grad.isfinite().all() for parameter in model.parameters())


def test_weights_multiply_their_group():
    plain = terms_of()
    weighted = terms_of(loss={"align": 2.0, "saliency": 3.0, "moment": 5.0, "quality": 7.0})
    for group, weight in ((ALIGNMENT, 2), (SALIENCY, 3), (DIRECT | INIT | NOISE, 5), (QUALITY | MARGIN, 7)):
        for name in group:
            torch.testing.assert_close(weighted[name], weight * plain[name])
    weighted = terms_of(loss={"l1": 20.0, "giou": 3.0})
    # A matching with other costs may differ; the noise queries keep their ground truth.
    torch.testing.assert_close(weighted["noise_l1"], 2 * plain["noise_l1"])
    torch.testing.assert_close(weighted["noise_giou"], 3 * plain["noise_giou"])


def test_without_auxiliary_losses_only_the_last_layer_counts():
    model, batch = small_model().train(), small_batch()
    output = model(batch, small_step())
    full = model.objective(output, batch)
    last = terms_of(loss={"aux": False})
    first_only = replace(
        output,
        layer_spans=output.layer_spans[:1],
        layer_qualities=output.layer_qualities[:1],
        noise_spans=output.noise_spans[:1],
        noise_qualities=output.noise_qualities[:1],
    )
    first = model.objective(first_only, batch)
    for name in DIRECT | NOISE | QUALITY | MARGIN:
        torch.testing.assert_close(first[name] + last[name], full[name])
    for name in ALIGNMENT | SALIENCY | INIT:
        torch.testing.assert_close(last[name], full[name])


@pytest.mark.parametrize("windows", [(5, 5, 5), (2, 1, 3), (1, 1, 1)])
def test_permuted_ground_truth_costs_nothing_and_has_full_quality(windows):
    model, batch = small_model().train(), small_batch(windows=windows)
    output = model(batch, small_step())
    # Six queries: five window slots in a random order and one span that is none of them.
    wider = padded(batch, slots=5 - max(windows)).spans
    filler = random_spans(torch.Generator().manual_seed(3), 3, 6)
    queries = torch.cat((torch.where(wider.any(-1, keepdim=True), wider, filler[:, :5]), filler[:, 5:]), 1)
    stages = []
    for stage in range(3):
        order = torch.randperm(6, generator=torch.Generator().manual_seed(stage))
        stages.append(queries[:, order])
    stages = torch.stack(stages)
    # Not to the last bit: a width of a span is the difference of its ends.
    output = replace(output, anchors=stages[0], layer_spans=stages[1:])
    terms = model.objective(output, batch)
    for name in DIRECT | INIT:
        assert terms[name].item() == pytest.approx(0, abs=1e-5)
    assigned = match(stages, batch.spans, batch.spans_mask, 10.0, 1.0)
    targets = quality_targets(stages, batch.spans, batch.spans_mask)
    matched = targets.gather(2, assigned)[batch.spans_mask.expand(3, -1, -1)]
    torch.testing.assert_close(matched, torch.ones_like(matched), rtol=1e-5, atol=1e-5)
    perfect = replace(output, layer_qualities=targets[1:])
    assert model.objective(perfect, batch)["quality"].item() == pytest.approx(0, abs=1e-6)


def test_noise_positives_keep_their_own_window():
    # Two equal-width windows whose noise crosses over would be swapped by a matching.
    model, batch = small_model().train(), small_batch(windows=(2, 2, 2))
    output = model(batch, small_step())
    own = batch.spans[:, None, None].expand(-1, 2, 2, -1, -1).flatten(1, 3)
    perfect = replace(output, noise_spans=own.expand(2, -1, -1, -1))
    terms = model.objective(perfect, batch)
    assert terms["noise_l1"].item() == pytest.approx(0, abs=1e-6)
    assert terms["noise_giou"].item() == pytest.approx(0, abs=1e-5)
    swapped = replace(output, noise_spans=own.unflatten(1, (2, 2, 2)).flip(3).flatten(1, 3).expand(2, -1, -1, -1))
    assert model.objective(swapped, batch)["noise_l1"] > 0.1


def test_negatives_have_no_moment_loss():
    model, batch = small_model().train(), small_batch()
    output = model(batch, small_step())
    leaf = output.noise_spans.detach().requires_grad_()
    terms = model.objective(replace(output, noise_spans=leaf), batch)
    (terms["noise_l1"] + terms["noise_giou"]).backward()
    gradient = output.noise.unflatten(leaf.grad)
    assert not gradient[:, :, :, 1].any()
    valid = batch.spans_mask[None, :, None].expand(2, -1, 2, -1)
    assert gradient[:, :, :, 0][valid].any(-1).all()
    assert not gradient[:, :, :, 0][~valid].any()


def test_a_next_sample_of_the_same_video_is_no_negative():
    batch = replace(small_batch(), video_id=torch.tensor([4, 4, 9]))
    model = small_model().train()
    output = model(batch, small_step())
    negative = output.negative_saliency.detach().requires_grad_()
    terms = model.objective(replace(output, negative_saliency=negative), batch)
    (terms["saliency_negative"] + terms["saliency_rank"]).backward()
    # Sample 0 gets the text of sample 1, which is of its own video.
    assert not negative.grad[0].any()
    assert negative.grad[1][batch.video_mask[1]].all()
    assert negative.grad[2][batch.video_mask[2]].all()


def test_all_of_one_video_has_no_negative_loss():
    terms = terms_of(replace(small_batch(), video_id=torch.zeros(3, dtype=torch.int64)))
    assert terms["saliency_negative"] == 0
    assert terms["saliency_rank"].isfinite()


def test_matched_queries_weigh_w_q_in_the_quality_loss():
    batch = small_batch()
    plain, heavy = terms_of(batch)["quality"], terms_of(batch, loss={"matched_quality": 10.0})["quality"]
    model = small_model().train()
    output = model(batch, small_step())
    targets = quality_targets(output.layer_spans, batch.spans, batch.spans_mask)
    assigned = match(output.layer_spans, batch.spans, batch.spans_mask, 10.0, 1.0)
    matched = torch.zeros_like(targets, dtype=torch.bool)
    for stage in range(2):
        for sample, slot in batch.spans_mask.nonzero().tolist():
            matched[stage, sample, assigned[stage, sample, slot]] = True
    error = (output.layer_qualities - targets).abs()
    torch.testing.assert_close(heavy - plain, 9 * (error * matched).mean((1, 2)).sum())
