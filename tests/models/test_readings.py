"""Readings of the paper other than the chosen ones, each against its definition; the refiner's are in test_refiner."""

import pytest
import torch
from pydantic import ValidationError

from sadetr.losses.quality import quality_loss, quality_targets
from sadetr.models.sa_detr.aligner import ModalAligner
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

READINGS = {
    "D6": {"fusion": {"mode": "interleaved"}},
    "D15": {"loss": {"align_weights": [0.3, 0.5, 0.05, 0.01]}},
    "D19": {"local": {"input": "fusion"}},
    "D24": {"qi": {"init_bias": "grid"}},
    "D25": {"qi": {"detach": True}},
    "D27": {"dn": {"centre_scale": "centre"}},
    "D44": {"refiner": {"residual": "query"}},
    "D46": {"refiner": {"update": "linear"}},
    "D47 update": {"refiner": {"gradient": "update"}},
    "D47 full": {"refiner": {"gradient": "full"}},
    "D51 sum": {"loss": {"moment_reduction": "sum"}},
    "D51 coordinates": {"loss": {"moment_reduction": "detr"}},
    "D52 bins": {"loss": {"quality_reduction": "binned"}},
    "D52 sum": {"loss": {"quality_reduction": "sum"}},
    "D52 weighted": {"loss": {"quality_reduction": "weighted_mean", "matched_quality": 3.0}},
}


@pytest.mark.parametrize("reading", READINGS)
def test_readings_add_no_parameter_and_ignore_padding(reading):
    chosen, model = small_model(), small_model(small_settings(**READINGS[reading]))
    assert {n: p.shape for n, p in chosen.named_parameters()} == {n: p.shape for n, p in model.named_parameters()}
    batch = small_batch()
    spoiled, longer = with_garbage(batch), padded(batch, clips=2, tokens=2)
    terms = model.objective(model(batch, small_step()), batch)
    assert terms.keys() == chosen.objective(chosen(batch, small_step()), batch).keys()
    for other in (spoiled, longer):
        for name, term in model.objective(model(other, small_step()), other).items():
            torch.testing.assert_close(term, terms[name], rtol=1e-4, atol=1e-5)


def test_interleaved_layers_read_what_the_layer_before_made():
    torch.manual_seed(0)
    aligner = ModalAligner(small_settings())
    video, positions, text = torch.randn(2, 7, HIDDEN), torch.randn(2, 7, HIDDEN), torch.randn(2, 4, HIDDEN)
    masks = torch.ones(2, 7, dtype=torch.bool), torch.tensor([[True] * 4, [True, True, False, False]])
    first, second = aligner.layers
    clips, words = first(video, positions, text, masks[1]), first(text, None, video, masks[0])
    fused, fused_text = aligner.interleave(video, positions, masks[0], text, masks[1])
    assert torch.equal(fused, second(clips, positions, words, masks[1]))
    assert torch.equal(fused_text, second(words, None, clips, masks[0]))
    assert not torch.allclose(fused, aligner.fuse_video(video, positions, text, masks[1]))


def test_interleaved_contrast_pairs_every_video_with_the_next_text():
    model, batch = small_model(small_settings(**READINGS["D6"])), small_batch()
    with_contrast, alone = model(batch, small_step()), model(batch)
    torch.testing.assert_close(with_contrast.saliency, alone.saliency)
    torch.testing.assert_close(with_contrast.sentence_embedding, alone.sentence_embedding)
    swapped = type(batch)(**{**vars(batch), "text": batch.text.roll(-1, 0), "text_mask": batch.text_mask.roll(-1, 0)})
    torch.testing.assert_close(with_contrast.negative_saliency, model(swapped).saliency)


def test_a_sample_alone_is_fused_as_in_the_batch():
    model, batch = small_model(small_settings(**READINGS["D6"])).eval(), small_batch()
    for index in range(len(batch)):
        torch.testing.assert_close(model(only(batch, index)).spans[0], model(batch).spans[index], rtol=1e-4, atol=1e-5)


def test_the_local_block_beside_the_global_one_keeps_it_out_of_the_refiner():
    batch = small_batch()
    chosen, beside = small_model(), small_model(small_settings(**READINGS["D19"]))
    for model, reached in ((chosen, True), (beside, False)):
        parameter = model.global_block.layers[0].norm1.weight
        (gradient,) = torch.autograd.grad(model(batch).spans.sum(), parameter, allow_unused=True)
        assert (gradient is not None) == reached
    # Highlight scores come from the global block in both.
    torch.testing.assert_close(chosen(batch).saliency, beside(batch).saliency)


def test_the_linear_update_adds_and_clamps():
    model = small_model(small_settings(**READINGS["D46"])).refiner
    anchors = torch.tensor([[[0.5, 0.2], [0.05, 0.9]]])
    offsets = torch.tensor([[[0.1, -0.1], [-0.3, 0.4]]])
    expected = torch.tensor([[[0.6, 0.1], [0.0, 1.0]]])
    torch.testing.assert_close(model._updated(anchors, offsets), expected)


def test_linear_spans_stay_in_the_video_and_losses_finite():
    model, batch = small_model(small_settings(**READINGS["D46"])), small_batch()
    with torch.no_grad():
        model.refiner.offset[-1].bias.copy_(torch.tensor([3.0, -3.0]))
    output = model(batch, small_step())
    assert (output.layer_spans[..., 0] == 1).all()
    assert (output.layer_spans[..., 1] == 0).all()
    assert all(term.isfinite() for term in model.objective(output, batch).values())


def test_alignment_terms_have_weights_of_their_own():
    model, batch = small_model(), small_batch()
    plain = model.objective(model(batch, small_step()), batch)
    weights = {"vtc": 0.3, "ctm_local": 0.5, "ctm_intra": 0.05, "ctm_inter": 0.01}
    model = small_model(small_settings(loss={"align": 2.0, "align_weights": list(weights.values())}))
    terms = model.objective(model(batch, small_step()), batch)
    for name, term in terms.items():
        torch.testing.assert_close(term, 2 * weights[name] * plain[name] if name in weights else plain[name])
    model = small_model(small_settings(loss={"align_weights": [0.0, 1.0, 1.0, 0.0]}))
    assert plain.keys() - model.objective(model(batch, small_step()), batch).keys() == {"vtc", "ctm_inter"}


@pytest.mark.parametrize("weights", [[1.0, 1.0, 1.0], [1.0] * 5, [1.0, 1.0, 1.0, -1.0]])
def test_alignment_weights_are_four_and_not_negative(weights):
    with pytest.raises(ValidationError):
        small_settings(loss={"align_weights": weights})


def test_anchors_start_spread_over_the_video():
    torch.manual_seed(0)
    chosen = SADETR(small_settings(), SHAPE).direct_anchors
    torch.manual_seed(0)
    spread = SADETR(small_settings(**READINGS["D24"]), SHAPE).direct_anchors
    without_input = torch.zeros(1, HIDDEN)
    for anchors in (chosen, spread):
        torch.nn.init.zeros_(anchors.mlp[2].bias)
        torch.nn.init.zeros_(anchors.mlp[0].bias)
    centres, widths = spread(without_input)[0].unbind(-1)
    torch.testing.assert_close(centres, (torch.arange(6) + 0.5) / 6)
    # Everything else is drawn as ever.
    torch.testing.assert_close(widths, chosen(without_input)[0, :, 1])
    assert torch.equal(spread.mlp[-1].weight, chosen.mlp[-1].weight)


def anchor_gradients(**qi):
    """What the refiner's losses, and L_init, ask of the anchors' MLP."""
    model, batch = small_model(small_settings(qi=qi)), small_batch()
    terms = model.objective(model(batch, small_step()), batch)
    parameters = list(model.direct_anchors.parameters())

    def reached(names):
        gradients = torch.autograd.grad(
            sum(terms[name] for name in names), parameters, retain_graph=True, allow_unused=True
        )
        return any(gradient is not None and gradient.any() for gradient in gradients)

    return reached(["direct_l1", "quality"]), reached([name for name in terms if name.startswith("init")] or ["vtc"])


def test_detached_anchors_learn_from_their_own_loss_alone():
    assert anchor_gradients() == (True, True)
    assert anchor_gradients(detach=True) == (False, True)
    # Without that loss they would never learn.
    assert anchor_gradients(detach=True, init_loss=False) == (True, False)


def test_quality_bins_are_bam_detrs_loss():
    generator = torch.Generator().manual_seed(0)
    qualities, spans = torch.rand(2, 3, 5, generator=generator), torch.rand(2, 3, 5, 2, generator=generator)
    truth, mask = torch.rand(3, 2, 2, generator=generator), torch.tensor([[True, True], [True, False], [True, True]])
    assigned = torch.zeros(2, 3, 2, dtype=torch.int64)
    targets, expected = quality_targets(spans, truth, mask), 0.0
    for stage in range(2):
        bins = {"low": [], "middle": [], "high": []}
        for quality, target in zip(qualities[stage].flatten(), targets[stage].flatten(), strict=True):
            name = "low" if target <= 0.3 else "middle" if target <= 0.7 else "high"
            bins[name].append((quality - target).abs())
        # An empty bin counts as 0; the coefficient is BAM-DETR's.
        expected += 2 * sum(torch.stack(errors).mean() for errors in bins.values() if errors) / 3
    for weight in (1.0, 10.0):
        ours = quality_loss(qualities, spans, truth, mask, assigned, weight, "binned")
        torch.testing.assert_close(ours, expected)


def test_quality_reductions_by_hand():
    generator = torch.Generator().manual_seed(0)
    qualities = torch.rand(2, 3, 5, generator=generator)
    spans = torch.rand(2, 3, 5, 2, generator=generator)
    truth, mask = torch.rand(3, 2, 2, generator=generator), torch.tensor([[True, True], [True, False], [True, True]])
    assigned = torch.tensor([[[0, 3], [2, 0], [4, 1]]]).expand(2, -1, -1)
    error = (qualities - quality_targets(spans, truth, mask)).abs()
    weights = torch.ones(3, 5)
    for sample, query in ((0, 0), (0, 3), (1, 2), (2, 4), (2, 1)):
        weights[sample, query] = 3
    weighted = weights * error
    expected = {
        "mean": sum(stage.mean() for stage in weighted),
        "sum": sum(stage.sum(1).mean() for stage in weighted),
        "weighted_mean": sum(stage.sum() / weights.sum() for stage in weighted),
    }
    for reduction, value in expected.items():
        ours = quality_loss(qualities, spans, truth, mask, assigned, 3.0, reduction)
        torch.testing.assert_close(ours, value)
    # Without emphasis (QVHighlights, w_q = 1) the weighted mean is the mean.
    equal = [quality_loss(qualities, spans, truth, mask, assigned, 1.0, name) for name in ("mean", "weighted_mean")]
    torch.testing.assert_close(*equal)


def test_embeddings_of_the_alignment_losses_follow_the_interleaved_fusion():
    model = small_model(small_settings(fusion={"mode": "interleaved"}, fa={"vtc_stage": "after"}))
    batch = small_batch()
    output = model(batch)
    assert output.text_embedding.shape == (len(batch), HIDDEN)
    torch.testing.assert_close(output.video_embedding, masked_mean(output.clip_embeddings, batch.video_mask))
