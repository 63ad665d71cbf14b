"""BAM-DETR: sampling, boundaries and matching against their definitions, references within the video, its faults."""

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sadetr.configuration import load_method
from sadetr.losses.settings import MatchingCosts
from sadetr.models.bam_detr.boundaries import POINTS, BoundarySampling
from sadetr.models.bam_detr.decoder import References, reference_ends, reference_spans
from sadetr.models.bam_detr.model import BAMDETR
from sadetr.models.bam_detr.objective import boundary_loss, boundary_targets, layer_losses, match_ends
from sadetr.models.bam_detr.settings import BAMDETRSettings
from sadetr.nn.spans import cw_to_se, se_to_cw
from tests.samples import (
    HIDDEN,
    NARROW,
    SHAPE,
    agree,
    merged,
    only,
    padded,
    random_spans,
    shaken,
    small_batch,
    small_step,
    total_loss,
    with_garbage,
)

SMALL = NARROW | {"encoder_layers": 1}
CORRECTED = load_method("bam_detr").variants["corrected"].model


def small(shake: bool = True, **changes) -> BAMDETR:
    torch.manual_seed(0)
    model = BAMDETR(BAMDETRSettings.model_validate(merged(SMALL, changes)), SHAPE)
    return shaken(model) if shake else model


def sampled_on_a_grid(sampling: BoundarySampling, content, place, clips, lengths, extents) -> Tensor:
    """Sample the projected clips of each head with torch's own sampler, on a map of one row."""
    heads = sampling.heads
    shape = (*content.shape[:2], heads, POINTS)
    offset, weight = sampling.offsets(content).view(shape), sampling.weights(content).view(shape).softmax(-1)
    share = (place[..., None, None] + offset / lengths) * lengths / extents
    # The sampler's last place is the last clip of its map.
    share = share.clamp(0, 1) * (extents - 1) / (clips.shape[1] - 1)
    values = sampling.value(clips).unflatten(-1, (heads, -1))
    mixed = []
    for head in range(heads):
        grid = torch.stack((2 * share[:, :, head] - 1, torch.zeros_like(share[:, :, head])), -1)
        rows = values[:, :, head].transpose(1, 2).unsqueeze(2)
        found = functional.grid_sample(rows, grid, align_corners=True)
        mixed.append((found * weight[:, None, :, head]).sum(-1).transpose(1, 2))
    return sampling.out(torch.stack(mixed, -1).flatten(2))


@pytest.mark.parametrize("extents", [[9, 9, 9], [9, 4, 1]], ids=["batch", "own"])
def test_sampling_interpolates_between_clips_as_torchs_sampler(extents):
    torch.manual_seed(0)
    sampling = shaken(BoundarySampling(8, 4)).double()
    content = torch.randn(3, 5, 8, dtype=torch.float64, requires_grad=True)
    place, clips = torch.rand(3, 5, dtype=torch.float64), torch.randn(3, 9, 16, dtype=torch.float64)
    lengths, extents = (torch.tensor(each).double().view(3, 1, 1, 1) for each in ([9, 4, 1], extents))
    results = []
    for sample in (sampling, lambda *inputs: sampled_on_a_grid(sampling, *inputs)):
        result = sample(content, place, clips, lengths, extents)
        probe = torch.linspace(-1, 1, result.numel(), dtype=torch.float64).view(result.shape)
        leaves = [content, *sampling.parameters()]
        results.append([result, *torch.autograd.grad((probe * result).sum(), leaves)])
    torch.testing.assert_close(results[0], results[1], rtol=1e-9, atol=1e-11)


def test_sampled_places_start_one_to_four_clips_to_the_right():
    model = small(shake=False)
    for layer in model.decoder.layers:
        for side in (layer.left, layer.right):
            assert side.sampling.offsets.bias.view(4, POINTS).tolist() == 4 * [[1.0, 2.0, 3.0, 4.0]]
    # Around an end that far from the video's last clip, that clip is all that is seen.
    sampling = model.decoder.layers[0].right.sampling
    torch.nn.init.zeros_(sampling.offsets.weight)
    clips, length = torch.randn(1, 7, 2 * HIDDEN), torch.full((1, 1, 1, 1), 7.0)
    seen = sampling(torch.randn(1, 1, HIDDEN), torch.ones(1, 1), clips, length, length)
    alone = sampling(torch.randn(1, 1, HIDDEN), torch.ones(1, 1), clips[:, -1:], length / 7, length / 7)
    agree(seen, alone)


def test_references_stay_within_the_video():
    torch.manual_seed(0)
    references = References(400)
    before = references.logits.detach().clone()
    evaluated = references.eval()()
    assert torch.equal(references.logits, before)
    trained = references.train()()
    assert torch.equal(trained, evaluated)
    point, left, right = trained.detach().unbind(-1)
    assert (point - left > -1e-6).all()
    assert (point + right < 1 + 1e-6).all()
    # Training shortens what it reads, for good; what is within the video it leaves alone.
    assert torch.equal(references.logits[:, 0], before[:, 0])
    changed = (references.logits != before).any(1)
    assert 0 < changed.sum() < len(changed)
    assert torch.equal(references(), trained)
    # The gradient is that of the shortened ones: an optimiser may move each of them on its own.
    gradient = torch.autograd.grad(trained[:, 1].sum(), references.logits)[0]
    assert not gradient[:, [0, 2]].any()
    assert (gradient[:, 1] > 0).all()


def test_spans_reach_from_the_points_by_their_distances():
    references = torch.tensor([[0.5, 0.2, 0.1], [0.1, 0.3, 0.2], [0.9, 0.1, 0.4]])
    agree(cw_to_se(reference_spans(references)), torch.tensor([[0.3, 0.6], [-0.2, 0.3], [0.8, 1.3]]))
    agree(reference_ends(references), torch.tensor([[0.3, 0.6], [0.0, 0.3], [0.8, 1.0]]))


def test_all_layers_start_at_the_learned_references():
    model = small(shake=False)
    output = model(small_batch(), small_step())
    expected = model.references().expand_as(output.layer_references)
    inside = (expected > 1e-3) & (expected < 1 - 1e-3)
    agree(output.layer_references[inside], expected[inside])


@pytest.mark.parametrize(("part", "column"), [("point", 0), ("left", 1), ("right", 2)])
def test_every_part_of_a_reference_is_moved_by_a_head_of_its_own(part, column):
    model, batch = small().eval(), small_batch()
    before = model(batch).layer_references
    with torch.no_grad():
        getattr(model.decoder.moves[-1], part)[-1].bias.add_(0.5)
        after = model(batch).layer_references
    assert torch.equal(after[0], before[0])
    moved = (after[1] - before[1]).abs().amax((0, 1))
    assert moved[column] > 1e-2
    if part != "point":
        assert moved.count_nonzero() == 1


def test_no_layer_learns_by_the_references_of_the_layer_behind():
    model, batch = small(), small_batch()
    references = model(batch, small_step()).layer_references
    weights = list(model.decoder.moves[0].parameters())
    own = torch.autograd.grad(references[0].sum(), weights, retain_graph=True)
    assert all(gradient.any() for gradient in own)
    later = torch.autograd.grad(references[1].sum(), weights, materialize_grads=True)
    assert not any(gradient.any() for gradient in later)


def test_queries_are_matched_by_their_ends():
    truth, mask = se_to_cw(torch.tensor([[[0.4, 0.6]]])), torch.ones(1, 1, dtype=torch.bool)
    # The first is too wide, the second beside: their centres and widths say the second, their ends the first.
    spans = se_to_cw(torch.tensor([[[[0.35, 0.65], [0.46, 0.66]]]]))
    logits, costs = torch.zeros(1, 1, 2, 2), MatchingCosts(giou=0, label=0)
    assert match_ends(spans, logits, truth, mask, costs).item() == 0
    # What lies outside of the video costs nothing.
    late, wide = se_to_cw(torch.tensor([[[0.8, 1.0]]])), torch.tensor([[[[0.77, 1.0], [0.8, 1.4]]]])
    assert match_ends(se_to_cw(wide), logits, late, mask, costs).item() == 1


def test_losses_of_a_layer_are_sums_over_layers():
    generator = torch.Generator().manual_seed(0)
    spans, truth = random_spans(generator, 2, 3, 6), random_spans(generator, 3, 2)
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    logits, qualities = torch.randn(2, 3, 6, 2, generator=generator), torch.rand(2, 3, 6, generator=generator)
    assigned = match_ends(spans, logits, truth, mask, MatchingCosts())
    both = layer_losses(spans, logits, qualities, truth, mask, assigned, 0.1)
    single = [
        layer_losses(spans[[at]], logits[[at]], qualities[[at]], truth, mask, assigned[[at]], 0.1) for at in (0, 1)
    ]
    for name, value in both.items():
        agree(value, single[0][name] + single[1][name])
    ends = cw_to_se(spans)[0].gather(1, assigned[0].unsqueeze(-1).expand(-1, -1, 2)) - cw_to_se(truth)
    agree(single[0]["l1"], ends[mask].abs().mean())


def test_boundaries_lie_around_the_ends_of_each_window():
    generator = torch.Generator().manual_seed(3)
    truth, mask = random_spans(generator, 3, 2), torch.tensor([[True, True], [True, False], [True, True]])
    extents = [20, 14, 7]
    found = boundary_targets(truth, mask, torch.tensor(extents).view(3, 1), 20)
    for sample, extent in enumerate(extents):
        for clip in range(20):
            expected = [False, False]
            for start, end in cw_to_se(truth[sample, mask[sample]]).tolist():
                at, length = (clip + 0.5) / extent, end - start
                expected[0] |= start - length / 4 <= at <= start + length / 10
                expected[1] |= end - length / 10 <= at <= end + length / 4
            assert found[sample, clip].tolist() == expected
    assert found.any()
    assert not found.all()


def test_clips_on_a_boundary_and_all_others_weigh_half_each():
    targets = torch.zeros(2, 8, 2, dtype=torch.bool)
    targets[0, 1, 0] = targets[0, 2:7, 1] = targets[1, 3:5] = True
    mask, features = torch.ones(2, 8, dtype=torch.bool), torch.full((2, 8, 6), 0.4)
    probability = torch.tensor(0.4).tanh()
    expected = -(probability.log() + (1 - probability).log()) / 2
    for counted in (True, False):
        agree(boundary_loss(features, targets, mask, counted), expected)
    # Padding lowers the weight of the other clips, as published, unless it is left out.
    longer = torch.cat((mask, torch.zeros_like(mask)), 1)
    wider = torch.cat((targets, torch.zeros_like(targets)), 1), longer
    agree(boundary_loss(features.repeat(1, 2, 1), *wider, counted=False), expected)
    assert boundary_loss(features.repeat(1, 2, 1), *wider, counted=True) < expected - 0.1


def test_features_of_zero_are_a_finite_loss():
    features = torch.zeros(1, 4, 6, requires_grad=True)
    targets, mask = torch.tensor([[[True, False]] * 4]), torch.ones(1, 4, dtype=torch.bool)
    value = boundary_loss(features, targets, mask, counted=True)
    value.backward()
    assert value.isfinite()
    assert features.grad.isfinite().all()


def test_windows_are_ranked_by_quality_and_no_class_is_learned():
    model, batch = small(), small_batch()
    output = model(batch, small_step())
    assert torch.equal(output.scores, output.layer_qualities[-1])
    assert torch.equal(output.layer_scores, output.layer_qualities)
    total_loss(model, batch).backward()
    without = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in model.named_parameters() if name.startswith("label_heads.")}
    assert "label" in small(loss={"label": 4.0}).objective(output, batch)


def test_the_other_texts_clips_are_not_decoded():
    model, batch = small(negatives="next_video"), small_batch()
    alone, trained = model(batch), model(batch, small_step())
    agree(trained.spans, alone.spans)
    assert alone.negative_saliency is None
    assert trained.boundaries.shape == (*batch.video_mask.shape, 2 * HIDDEN)


def test_a_corrected_batch_predicts_what_its_samples_predict_alone():
    model, batch = small(**CORRECTED).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])
        for name in ("saliency", "boundaries"):
            agree(getattr(alone, name)[0], getattr(together, name)[index, :length])


def test_padding_and_what_it_holds_change_no_corrected_loss():
    model, batch = small(**CORRECTED), small_batch()
    expected = total_loss(model, batch)
    agree(total_loss(model, padded(batch, clips=3, tokens=2, slots=1)), expected)
    agree(total_loss(model, with_garbage(batch)), expected)


@pytest.mark.parametrize("fault", ["word_mask", "padding"])
def test_each_published_fault_alone_makes_predictions_depend_on_the_batch(fault):
    model = small(**{name: value for name, value in CORRECTED.items() if name != fault}).eval()
    batch = small_batch()
    together = model(batch).spans
    assert max((model(only(batch, index)).spans[0] - together[index]).abs().max() for index in range(3)) > 1e-5


def test_only_the_last_layer_is_supervised_where_the_others_are_not_to_be():
    model, batch = small(loss={"aux": False}), small_batch()
    output = model(batch, small_step())
    (gradient,) = torch.autograd.grad(
        sum(model.objective(output, batch)[name] for name in ("l1", "giou")), output.layer_references
    )
    assert not gradient[0].any()
    assert gradient[1].any()
