"""SA-DETR as a whole: padding, leakage, gradients, switches."""

import math
from dataclasses import replace

import pytest
import torch

import sadetr.models.sa_detr.model as model_module
from sadetr.configuration import load_method, resolve
from sadetr.models.construction import make_method
from sadetr.models.sa_detr.model import SADETR
from sadetr.nn.layers import masked_mean
from tests.samples import (
    HIDDEN,
    SHAPE,
    only,
    padded,
    small_batch,
    small_model,
    small_settings,
    small_step,
    with_garbage,
)

AD_OFF = {"ad": {"enhance": False, "modulate": False}}
FA_OFF = {"fa": {"vtc": False, "ctm": False}}
QI_OFF = {"qi": {"dynamic": False, "init_loss": False}}
DN_OFF = {"dn": {"enabled": False}}


def losses(model, batch, seed=0):
    model.train()
    return model.objective(model(batch, small_step(seed=seed)), batch)


def assert_same_terms(ours, expected, **tolerance):
    assert ours.keys() == expected.keys()
    for name, value in ours.items():
        torch.testing.assert_close(value, expected[name], msg=lambda text, name=name: f"{name}: {text}", **tolerance)


def assert_same_predictions(ours, expected, mask, **tolerance):
    torch.testing.assert_close(ours.spans, expected.spans, **tolerance)
    torch.testing.assert_close(ours.scores, expected.scores, **tolerance)
    torch.testing.assert_close(
        ours.saliency[:, : mask.shape[1]][mask], expected.saliency[:, : mask.shape[1]][mask], **tolerance
    )


@pytest.mark.parametrize("stages", [("before", "after"), ("after", "before")])
def test_content_of_padding_changes_no_output_and_no_loss(stages):
    model = small_model(small_settings(fa={"vtc_stage": stages[0], "ctm_stage": stages[1]}))
    batch = small_batch()
    spoiled = with_garbage(batch)
    assert not torch.equal(spoiled.video, batch.video)
    assert_same_predictions(model(spoiled), model(batch), batch.video_mask, rtol=0, atol=0)
    assert_same_terms(losses(model, spoiled), losses(model, batch), rtol=0, atol=0)


def test_more_padding_changes_nothing():
    model, batch = small_model(), small_batch()
    longer = padded(batch, clips=4, tokens=3)
    assert_same_predictions(model(longer), model(batch), batch.video_mask, rtol=1e-5, atol=1e-5)
    assert_same_terms(losses(model, longer), losses(model, batch), rtol=1e-4, atol=1e-5)
    # More window slots change the draws of the noise groups, and nothing else.
    model = small_model(small_settings(**DN_OFF))
    assert_same_terms(losses(model, padded(batch, slots=2)), losses(model, batch), rtol=1e-5, atol=1e-6)


def test_a_batch_predicts_what_its_samples_predict_alone():
    model, batch = small_model().eval(), small_batch()
    together = model(batch)
    for index in range(len(batch)):
        alone, mask = model(only(batch, index)), batch.video_mask[index : index + 1]
        row = replace(
            together,
            spans=together.spans[index : index + 1],
            scores=together.scores[index : index + 1],
            saliency=together.saliency[index : index + 1],
        )
        assert_same_predictions(alone, row, mask[:, : mask.sum()], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("switches", [{}, AD_OFF, {"gauss": {"mode": "add_log"}}])
def test_direct_predictions_do_not_see_the_noise(switches):
    model, batch = small_model(small_settings(**switches)).eval(), small_batch()
    without, with_noise = model(batch), model(batch, small_step())
    assert with_noise.noise is not None
    assert_same_predictions(with_noise, without, batch.video_mask, rtol=1e-5, atol=1e-5)
    torch.testing.assert_close(with_noise.layer_spans, without.layer_spans, rtol=1e-5, atol=1e-5)


def test_direct_losses_have_no_gradient_to_the_noise_content():
    model, batch = small_model(), small_batch()
    terms = losses(model, batch)
    noisy = {name for name in terms if name.startswith("noise") or name == "quality_margin"}
    assert noisy == {"noise_l1", "noise_giou", "quality_margin"}
    direct = sum(value for name, value in terms.items() if name not in noisy)
    gradient = torch.autograd.grad(direct, model.noise_content, retain_graph=True, allow_unused=True)[0]
    assert gradient is None or not gradient.any()
    (gradient,) = torch.autograd.grad(sum(terms[name] for name in noisy), model.noise_content)
    assert gradient.any()


def outputs_with(monkeypatch, model, batch, change):
    """Noise predictions (R, B, K, P, G, ...) after ``change`` of the anchors (B, K, P, G, 2)."""
    original = model_module.noise_groups

    def changed(*arguments):
        noise = original(*arguments)
        anchors = change(noise.unflatten(noise.anchors[None])[0].clone())
        return replace(noise, anchors=anchors.flatten(1, 3))

    with monkeypatch.context() as patch:
        patch.setattr(model_module, "noise_groups", changed)
        output = model(batch, small_step())
    return output.noise.unflatten(output.noise_spans), output.noise.unflatten(output.noise_qualities)


def unchanged(anchors):
    return anchors


def swap_groups(anchors):
    return anchors.flip(1)


def move_group_1(anchors):
    anchors[:, 1] = 0.3
    return anchors


def test_groups_are_equivariant_and_independent(monkeypatch):
    model, batch = small_model().eval(), small_batch()
    before = outputs_with(monkeypatch, model, batch, unchanged)
    swapped = outputs_with(monkeypatch, model, batch, swap_groups)
    moved = outputs_with(monkeypatch, model, batch, move_group_1)
    valid = batch.spans_mask[None, :, None].expand(2, -1, 2, -1)
    for ours, after_swap, after_move in zip(before, swapped, moved, strict=True):
        torch.testing.assert_close(after_swap, ours.flip(2), rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(after_move[:, :, 0], ours[:, :, 0], rtol=1e-5, atol=1e-6)
        assert not torch.allclose(after_move[:, :, 1], ours[:, :, 1])
    # Positive and negative of one group see each other.
    pair = outputs_with(monkeypatch, model, batch, lambda anchors: anchors.index_fill_(2, torch.tensor(1), 0.3))
    assert not torch.allclose(pair[0][:, :, :, 0][valid], before[0][:, :, :, 0][valid])


def test_invalid_slots_have_no_influence(monkeypatch):
    model, batch = small_model().eval(), small_batch()

    def spoil(anchors):
        return torch.where(batch.spans_mask[:, None, None, :, None], anchors, torch.full_like(anchors, 0.11))

    before, after = (outputs_with(monkeypatch, model, batch, change) for change in (unchanged, spoil))
    valid = batch.spans_mask[None, :, None, None].expand(2, -1, 2, 2, -1)
    for ours, spoiled in zip(before, after, strict=True):
        assert torch.equal(ours[valid], spoiled[valid])


def test_the_anchor_mlp_learns_from_the_decoder_alone():
    model, batch = small_model(small_settings(qi={"init_loss": False})), small_batch()
    terms = losses(model, batch)
    assert not any(name.startswith("init") for name in terms)
    sum(terms.values()).backward()
    for name, parameter in model.direct_anchors.named_parameters():
        assert parameter.grad.any(), name


def test_without_the_initializer_anchors_are_learned():
    model, batch = small_model(small_settings(**QI_OFF)), small_batch()
    names = [name for name, _ in model.named_parameters() if name.startswith("direct_anchors")]
    assert names == ["direct_anchors.learned.weight"]
    output = model(batch)
    assert torch.equal(output.anchors[0], output.anchors[1])
    assert not any(name.startswith("init") for name in losses(model, batch))
    dynamic = small_model()(batch).anchors
    assert not torch.allclose(dynamic[0], dynamic[1])


@pytest.mark.parametrize("mode", ["mul_logits", "add_log", "mul_prob"])
@pytest.mark.parametrize("attn", ["raw", "softmax", "sigmoid"])
@pytest.mark.parametrize(("gate", "scale"), [("scalar", False), ("scalar", True), ("elementwise", False)])
def test_degenerate_inputs_stay_finite(mode, attn, gate, scale):
    # One clip, one token, widths of 1e-6 in the ground truth and in every direct anchor.
    settings = small_settings(gauss={"mode": mode}, enhance={"attn": attn, "gate": gate, "gate_scale": scale}, **QI_OFF)
    model = small_model(settings)
    with torch.no_grad():
        model.direct_anchors.learned.weight[:, 1] = -14
    batch = small_batch(clips=(9, 1), tokens=(1, 1), windows=(2, 1))
    spans = batch.spans.clone()
    spans[..., 1] = torch.where(batch.spans_mask, 1e-6, 0.0)
    batch = replace(batch, spans=spans)
    terms = losses(model, batch)
    sum(terms.values()).backward()
    assert all(value.isfinite() for value in terms.values())
    for name, parameter in model.named_parameters():
        assert parameter.grad is None or parameter.grad.isfinite().all(), name


def test_a_batch_of_one_trains_without_a_negative_pass():
    model, batch = small_model(), only(small_batch(), 0)
    terms = losses(model, batch)
    assert "saliency_negative" not in terms
    assert all(value.isfinite() for value in terms.values())


def test_the_negative_pass_reads_the_next_samples_text():
    model, batch = small_model().train(), small_batch()
    output = model(batch, small_step())
    rolled = replace(batch, text=batch.text.roll(-1, 0), text_mask=batch.text_mask.roll(-1, 0))
    mask = batch.video_mask
    torch.testing.assert_close(output.negative_saliency[mask], model(rolled).saliency[mask], rtol=1e-4, atol=1e-5)
    assert model(batch).negative_saliency is None
    assert model(batch).noise is None


def test_parts_off_are_absent():
    full, off = small_model().state_dict(), small_model(small_settings(**AD_OFF)).state_dict()
    assert {name for name in full if ".enhance." not in name} == off.keys()
    # The mask has no parameters: without it alone the network has the same ones.
    assert small_model(small_settings(ad={"modulate": False})).state_dict().keys() == full.keys()
    assert full.keys() - small_model(small_settings(**DN_OFF)).state_dict().keys() == {"noise_content"}


def test_ad_off_is_both_parts_off():
    batch = small_batch()
    full = small_model()
    predictions = {}
    for name, ad in {"enhance": {"enhance": False}, "modulate": {"modulate": False}, "both": AD_OFF["ad"]}.items():
        model = small_model(small_settings(ad=ad))
        model.load_state_dict(full.state_dict(), strict=False)
        predictions[name] = model(batch).spans
        # Taken out of the full model by hand.
        for layer, source in zip(model.refiner.layers, full.refiner.layers, strict=True):
            layer.enhance = source.enhance if name == "modulate" else None
            layer.cross_attention.gauss = None if name != "enhance" else source.cross_attention.gauss
        assert torch.equal(model(batch).spans, predictions[name])
    assert not torch.allclose(predictions["both"], predictions["enhance"])
    assert not torch.allclose(predictions["both"], predictions["modulate"])
    assert not torch.allclose(full(batch).spans, predictions["both"])


@pytest.mark.parametrize("fa", [{"vtc": False}, {"ctm": False}, {"vtc": False, "ctm": False}])
def test_alignment_switches_change_the_loss_dictionary_only(fa):
    batch = small_batch()
    full, off = small_model(), small_model(small_settings(fa=fa))
    for (name, ours), (other, theirs) in zip(full.named_parameters(), off.named_parameters(), strict=True):
        assert name == other
        assert torch.equal(ours, theirs)
    expected, terms = losses(full, batch), losses(off, batch)
    gone = set() if fa.get("vtc", True) else {"vtc"}
    gone |= set() if fa.get("ctm", True) else {"ctm_local", "ctm_intra", "ctm_inter"}
    assert expected.keys() - terms.keys() == gone
    for name, value in terms.items():
        assert torch.equal(value, expected[name])
    assert torch.equal(off(batch).spans, full(batch).spans)


def test_stages_change_their_own_loss_only():
    batch = small_batch()
    terms = losses(small_model(), batch)
    vtc_after = losses(small_model(small_settings(fa={"vtc_stage": "after"})), batch)
    ctm_before = losses(small_model(small_settings(fa={"ctm_stage": "before"})), batch)
    assert {name for name in terms if terms[name] != vtc_after[name]} == {"vtc"}
    assert {name for name in terms if terms[name] != ctm_before[name]} == {"ctm_local", "ctm_intra", "ctm_inter"}


def test_stages_take_the_features_they_name():
    batch = small_batch()
    model = small_model()
    video, text = model.video_projection(batch.video), model.text_projection(batch.text)
    default = model(batch)
    torch.testing.assert_close(default.video_embedding, masked_mean(video, batch.video_mask))
    torch.testing.assert_close(default.text_embedding, masked_mean(text, batch.text_mask))
    swapped = small_model(small_settings(fa={"vtc_stage": "after", "ctm_stage": "before"}))(batch)
    # The token in front takes no part in the mean over fused clips.
    torch.testing.assert_close(swapped.video_embedding, masked_mean(default.clip_embeddings, batch.video_mask))
    torch.testing.assert_close(swapped.clip_embeddings, video)
    torch.testing.assert_close(swapped.sentence_embedding, model.aligner.pooling(text, batch.text_mask))


def test_dropout_is_reproducible_and_absent_in_evaluation():
    batch = small_batch()
    model = small_model(small_settings(dropout=0.2, input_dropout=0.5))
    results = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        results.append(sum(losses(model, batch).values()))
    assert torch.equal(results[0], results[1])
    assert not torch.equal(results[0], results[2])
    model.eval()
    assert torch.equal(model(batch).spans, model(batch).spans)


def test_noise_draws_leave_the_global_generator_alone():
    # Otherwise the noise groups would shift the draws of dropout.
    model, batch = small_model(), small_batch()
    torch.manual_seed(0)
    before = torch.get_rng_state()
    model(batch, small_step())
    assert torch.equal(torch.get_rng_state(), before)


def test_initialisation():
    torch.manual_seed(0)
    model = SADETR(small_settings(), SHAPE)
    assert not model.refiner.offset[-1].weight.any()
    assert not model.refiner.offset[-1].bias.any()
    assert not model.direct_content.any()
    assert model.noise_content.eq(1).all()
    assert model.direct_anchors.mlp[-1].weight.any()
    for name, parameter in model.named_parameters():
        if (
            name.startswith(("aligner", "global_block", "local_block", "refiner.layers", "refiner.position"))
            and parameter.dim() > 1
        ):
            # Xavier's bound; a convolution's fans count its taps.
            outputs, inputs, *taps = parameter.shape
            bound = (6 / (outputs + inputs) / math.prod(taps)) ** 0.5
            assert bound * 0.8 < parameter.abs().max() <= bound, name
        if name.endswith("norm.weight") or ".norm1.weight" in name or ".norm2.weight" in name:
            assert parameter.eq(1).all(), name
        if parameter.shape == (1,) and "feedforward" in name:
            assert parameter.item() == 0.25, name
    assert model.fusion_token.token.std().item() == pytest.approx(1, abs=0.4)


def test_queries_differ_from_the_first_step_on():
    torch.manual_seed(0)
    model = SADETR(small_settings(), SHAPE)
    output = model(small_batch())
    assert len(output.scores[0].unique()) == 6
    assert len(output.spans[0].unique(dim=0)) == 6


VARIANTS = list(load_method("sa_detr").variants)


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_variant_builds_and_takes_a_finite_step(variant):
    settings = resolve("qvhighlights", "sa_detr", variant, 2018, "mini")
    torch.manual_seed(0)
    model, shape = make_method(settings).train(), settings.dataset.feature_shape
    batch = small_batch(clips=(12, 7), tokens=(6, 4), windows=(2, 1))
    batch = replace(
        batch,
        video=torch.randn(2, 12, shape.video_width),
        text=torch.randn(2, 6, shape.text_width),
    )
    optimiser = torch.optim.AdamW(model.parameters(), lr=1e-3)
    terms = model.objective(model(batch, small_step()), batch)
    sum(terms.values()).backward()
    unused = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    # Only the enhance block and the clip-text losses read the sentence token, only the saliency loss the clip scores.
    expected = set() if settings.model.ad.enhance or settings.model.fa.ctm else {"aligner.pooling.score.weight"}
    if not settings.model.loss.saliency:
        expected |= {name for name, _ in model.named_parameters() if name.startswith("highlight_head.")}
    assert unused == expected
    norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 0.1)
    assert norm.isfinite()
    optimiser.step()
    assert all(parameter.isfinite().all() for parameter in model.parameters())
    model.eval()
    output = model(batch)
    assert output.spans.shape == (2, 10, 2)
    assert output.spans.min() > 0
    assert output.spans.max() < 1
    assert output.saliency.shape == (2, 12)


def test_heads_must_divide_the_width():
    with pytest.raises(ValueError, match="multiple of 4 x num_heads"):
        small_settings(hidden_width=HIDDEN, num_heads=3)


def test_an_initialisation_loss_needs_dynamic_anchors():
    with pytest.raises(ValueError, match="init_loss"):
        small_settings(qi={"dynamic": False})
