"""UVCOM: what its predictions may depend on, centres and walks by their definitions, whose text is the negative."""

from dataclasses import replace

import pytest
import torch
from torch.nn import functional

from sadetr.configuration import load_method
from sadetr.models.interface import Step
from sadetr.models.uvcom.alignment import Aligned, alignment_terms, first_window_clips, mean_similarity
from sadetr.models.uvcom.integration import Centres, nearest_centre, random_walk
from sadetr.models.uvcom.model import UVCOM
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.slots import SlotAttention
from sadetr.nn.spans import inverse_sigmoid, se_to_cw
from tests.samples import HIDDEN, SHAPE, agree, merged, only, padded, shaken, small_batch, small_step, with_garbage

SMALL = {
    "hidden_width": HIDDEN,
    "num_heads": 4,
    "feedforward_width": 48,
    "encoder_layers": 2,
    "fusion_layers": 2,
    "text_fusion_layers": 1,
    "dropout": 0.0,
    "input_dropout": 0.0,
    "num_moment_queries": 6,
    "video_centres": 7,
    "slot_width": 40,
    "alignment_width": 24,
}
CORRECTED = load_method("uvcom").variants["corrected"].model
HARD = Step(80, 200, torch.Generator())
"""From this epoch on the least similar text is the negative."""


def small(shake: bool = True, **changes) -> UVCOM:
    torch.manual_seed(0)
    model = UVCOM(UVCOMSettings.model_validate(merged(SMALL, changes)), SHAPE)
    return shaken(model) if shake else model


def terms(model, batch, step=None):
    return model.objective(model(batch, step or small_step()), batch)


def gaps(model, batch, name: str) -> list[float]:
    """How far a prediction of each sample is from the one that it has alone."""
    together = getattr(model(batch), name)
    alone = [getattr(model(only(batch, index)), name)[0] for index in range(len(batch))]
    return [(each - row[: len(each)]).abs().max().item() for each, row in zip(alone, together, strict=True)]


@pytest.mark.parametrize("changes", [{}, {"text_positions": 9}, {"encoder_layers": 1, "decoder_layers": 1}])
def test_corrected_a_batch_predicts_what_its_samples_predict_alone(changes):
    model, batch = small(**CORRECTED, **changes).eval(), small_batch()
    assert all(max(gaps(model, batch, name)) < 1e-5 for name in ("spans", "scores", "saliency"))


@pytest.mark.parametrize("step", [small_step(), HARD], ids=["next", "least similar"])
def test_corrected_padding_and_what_it_holds_change_no_loss(step):
    model, batch = small(**CORRECTED), small_batch()
    expected = terms(model, batch, step)
    for other in (padded(batch, clips=3, tokens=2, slots=1), with_garbage(batch)):
        for name, value in terms(model, other, step).items():
            agree(value, expected[name])


@pytest.mark.parametrize("fault", [{"word_mask": "tiled"}, {"padding": "counted"}], ids=str)
def test_each_published_fault_makes_predictions_depend_on_the_batch(fault):
    model, batch = small(**merged(CORRECTED, fault)).eval(), small_batch()
    assert max(gaps(model, batch, "spans")) > 1e-4
    assert max(gaps(model, batch, "saliency")) > 1e-3


def test_the_faults_of_padding_are_none_where_all_lengths_are_equal():
    batch = small_batch((7, 7, 7), (4, 4, 4), (1, 1, 1))
    published, corrected = (small(**changes)(batch, small_step()) for changes in ({}, CORRECTED))
    for name in ("spans", "scores", "saliency"):
        agree(getattr(published, name), getattr(corrected, name))
    agree(published.contrast.negative_saliency, corrected.contrast.negative_saliency)


def test_centres_are_those_of_expectation_maximisation_by_differences():
    torch.manual_seed(0)
    module, values = Centres(8, 5, 3), torch.randn(2, 6, 8)
    mask = torch.arange(6) < torch.tensor([[6], [4]])
    for sample in range(2):
        given = values[sample, : mask[sample].sum()]
        centres = module.starts
        for _ in range(3):
            apart = functional.normalize(centres, dim=-1)[:, None] - functional.normalize(given, dim=-1)
            shares = (-apart.square().sum(-1) / (2 * 1.2**2)).softmax(0)
            centres = torch.stack([(share[:, None] * given).sum(0) / share.sum() for share in shares])
        agree(module(values, mask)[sample], centres)


def test_the_nearest_centre_has_the_largest_mean_cosine():
    torch.manual_seed(0)
    centres, others = torch.randn(3, 7, 8), torch.randn(3, 5, 8)
    found = nearest_centre(centres, others)
    for sample in range(3):
        means = [functional.cosine_similarity(centre[None], others[sample]).mean().item() for centre in centres[sample]]
        assert torch.equal(found[sample, 0], centres[sample, means.index(max(means))])


def test_the_random_walk_is_the_solution_of_its_large_system():
    torch.manual_seed(0)
    clips, starts, centres = torch.randn(2, 9, 8), torch.randn(2, 9, 8), torch.randn(2, 5, 8)
    mask = torch.arange(9) < torch.tensor([[9], [6]])
    found = random_walk(clips, centres, starts, mask)
    for sample, length in enumerate((9, 6)):
        x, y, valid = starts[sample, :length], centres[sample], clips[sample, :length]
        cosines = functional.cosine_similarity(y[:, None], valid[None], dim=-1)
        shares = (5 * cosines).softmax(0)
        affinity = shares.T @ (shares / shares.sum(1, keepdim=True))
        walked = torch.linalg.inv(torch.eye(length) - 0.25 * affinity) @ (0.5 * shares.T @ y + x)
        agree(found[sample, :length], walked / 2)


def test_one_slot_is_what_all_would_be():
    torch.manual_seed(0)
    module = shaken(SlotAttention(8, (12, 10), 5, "shared"))
    sentence, clips = torch.randn(2, 1, 8), torch.randn(2, 6, 8)
    mask = torch.arange(6) < torch.tensor([[6], [3]])
    slots = module(sentence.expand(-1, 30, -1), clips, mask)
    agree(slots, module(sentence, clips, mask).expand_as(slots))


def test_spans_are_offsets_from_the_references_behind_their_layer():
    model, batch = small(decoder_layers=1), small_batch()
    found = {}
    model.decoder.register_forward_hook(lambda module, inputs, decoded: found.update(decoded=decoded))
    output = model(batch)
    decoded = found["decoded"]
    agree(output.spans.logit(), model.span_head(decoded.contents[-1]) + inverse_sigmoid(decoded.ends[-1]))
    # The move of the last references is learned too.
    (gradient,) = torch.autograd.grad(output.spans.sum(), model.decoder.offset[0].weight)
    assert gradient.norm() > 0


def test_the_token_is_a_centre_of_the_video_and_carries_a_position():
    model, batch = small(), small_batch()
    read = {}
    model.integration.encoder.register_forward_pre_hook(lambda module, inputs: read.update(inputs=inputs))
    model.integration.video_centres.register_forward_hook(lambda module, inputs, centres: read.update(centres=centres))
    model(batch)
    values, positions, mask = read["inputs"]
    assert (read["centres"] == values[:, :1]).all(-1).any(1).all()
    assert torch.equal(positions[:, 0], model.integration.token_position.expand(len(batch), -1))
    assert mask[:, 0].all()


def test_from_the_given_epoch_on_the_negative_is_the_least_similar_text():
    model, batch = small(), small_batch()
    late = replace(HARD, epoch=79)
    assert model(batch, late).contrast.others.source.tolist() == [1, 2, 0]
    contrast = model(batch, HARD).contrast
    similarity = mean_similarity(contrast.aligned, torch.ones_like(batch.video_mask))
    assert torch.equal(contrast.others.source, similarity.argmin(1))


def test_corrected_no_negative_is_of_the_same_video():
    model = small(**CORRECTED)
    batch = replace(small_batch(), video_id=torch.tensor([4, 4, 7]))
    for step in (small_step(), HARD):
        others = model(batch, step).contrast.others
        chosen = batch.video_id[others.source] != batch.video_id
        assert chosen[others.real].all()
    assert others.real.all()
    alone = replace(batch, video_id=torch.tensor([4, 4, 4]))
    assert not model(alone, HARD).contrast.others.real.any()
    agree(terms(model, alone, HARD)["saliency_negative"], torch.tensor(0.0))


def test_published_only_the_first_window_is_aligned_and_only_its_whole_clips():
    ends = torch.tensor([[0.31, 0.74], [0.02, 0.09], [0.5, 1.0]])
    mask = torch.arange(10) < torch.tensor([[10], [10], [4]])
    found = first_window_clips(se_to_cw(ends), mask)
    assert [row.nonzero().flatten().tolist() for row in found] == [[3, 4, 5, 6], [], [2, 3]]


def aligned(batch) -> Aligned:
    generator = torch.Generator().manual_seed(0)
    shapes = ((len(batch), 8), (*batch.video_mask.shape, 8), (len(batch), 8))
    return Aligned(*(functional.normalize(torch.randn(shape, generator=generator), dim=-1) for shape in shapes))


def test_alignment_is_half_a_contrast_of_texts_and_half_one_of_clips():
    batch, settings = small_batch(), UVCOMSettings(aligned_clips="relevant")
    given = aligned(batch)
    found = alignment_terms(given, batch, settings)
    cosines, diagonal = given.videos @ given.texts.T, torch.arange(len(batch))
    both = functional.cross_entropy(cosines, diagonal) + functional.cross_entropy(cosines.T, diagonal)
    agree(found["video_text"], both / 4)
    clips = torch.stack([clips @ text for clips, text in zip(given.clips, given.texts, strict=True)]).log_softmax(1)
    agree(found["clip_text"], -(clips * batch.relevant).mean() / 2)


def test_later_windows_are_aligned_if_corrected():
    batch = small_batch((9, 9, 9), (5, 3, 1), (2, 1, 3))
    one = replace(batch, spans=batch.spans[:, :1], spans_mask=batch.spans_mask[:, :1])
    given = aligned(batch)
    published, corrected = UVCOMSettings(), UVCOMSettings(**CORRECTED)
    agree(*(alignment_terms(given, each, published)["clip_text"] for each in (batch, one)))
    more = replace(batch, relevant=batch.relevant | (torch.arange(9) == 5))
    values = [alignment_terms(given, each, corrected)["clip_text"] for each in (batch, more)]
    assert values[1] > values[0]
    agree(*(alignment_terms(given, each, published)["clip_text"] for each in (batch, more)))


@pytest.mark.parametrize("changes", [{}, CORRECTED, {"text_positions": 5}])
def test_every_parameter_has_a_gradient_and_only_what_compares_slots_learns_nothing(changes):
    model = small(**changes)
    torch.stack(list(terms(model, small_batch()).values())).sum().backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]
    still = {name.split(".")[1] for name, parameter in model.named_parameters() if not parameter.grad.any()}
    assert still == {"norm_slots", "query", "key"}


def test_layers_start_as_copies_with_matrices_of_their_own():
    model = small(shake=False, fusion_layers=3)
    first, second, third = (layer.feedforward[0] for layer in model.integration.video_fusion)
    assert torch.equal(first.bias, second.bias)
    assert torch.equal(first.bias, third.bias)
    assert not torch.equal(first.weight, second.weight)


def test_alignment_has_a_weight_and_no_more_than_training_needs_is_computed():
    model, batch = small(), small_batch()
    once = terms(model, batch)
    twice = terms(small(loss={"alignment": 2.0}), batch)
    assert set(once) == {
        *("l1", "giou", "label"),
        *("saliency_margin", "saliency_rank", "saliency_negative"),
        *("video_text", "clip_text"),
    }
    for name in ("video_text", "clip_text"):
        agree(twice[name], 2 * once[name])
    calls = []
    model.integration.register_forward_hook(lambda *_: calls.append(1))
    assert model(batch).contrast is None
    assert len(calls) == 1
