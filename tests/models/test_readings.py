"""Readings of the paper other than the chosen ones: D6, D19, D46 and D52, each against its definition."""

import pytest
import torch

from sadetr.losses.quality import quality_loss, quality_targets
from sadetr.models.sa_detr.aligner import ModalAligner
from sadetr.nn.layers import masked_mean
from tests.samples import HIDDEN, only, padded, small_batch, small_model, small_settings, small_step, with_garbage

READINGS = {
    "D6": {"fusion": {"mode": "interleaved"}},
    "D19": {"local": {"input": "fusion"}},
    "D46": {"refiner": {"update": "linear"}},
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
