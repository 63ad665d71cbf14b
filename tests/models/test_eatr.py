"""EaTR: pseudo events against their definition, what depends on the batch as published, where gradients stop."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor
from torch.nn import functional

from sadetr.configuration import load_method
from sadetr.losses.settings import MatchingCosts
from sadetr.models.eatr.events import Events, pseudo_events, supervise_events
from sadetr.models.eatr.model import EaTR
from sadetr.models.eatr.settings import EaTRSettings
from tests.samples import (
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
CORRECTED = load_method("eatr").variants["corrected"].model


def small(shake: bool = True, **changes) -> EaTR:
    torch.manual_seed(0)
    model = EaTR(EaTRSettings.model_validate(merged(SMALL, changes)), SHAPE)
    return shaken(model) if shake else model


def ragged(lengths: list[int], seed: int) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    mask = torch.arange(max(lengths)) < torch.tensor(lengths)[:, None]
    return torch.randn(*mask.shape, 5, generator=generator) * mask[..., None], mask


def as_published(video: Tensor, mask: Tensor) -> list[list[tuple[float, float]]]:
    """Pseudo events pair by pair, from the squared lengths that the checkerboard amounts to."""
    near = functional.pad(functional.normalize(video, dim=-1), (0, 0, 2, 2))
    count = video.shape[1]
    signed = near[:, :count] + near[:, 1 : count + 1] - near[:, 3 : count + 3] - near[:, 4:]
    rows = []
    for sample, (scores, length) in enumerate(zip(signed.square().sum(-1), mask.sum(1), strict=True)):
        threshold = scores.mean()
        scores[0] = scores[length - 1] = 100
        rows += [
            (sample, clip)
            for clip in range(count)
            if scores[clip] >= max(scores[clip - 1], scores[(clip + 1) % count], threshold)
        ]
    events = [[] for _ in video]
    for (before, start), (sample, end) in zip([rows[-1], *rows[:-1]], rows, strict=True):
        index = (before + sample) / 2
        if index == int(index):
            length = int(mask[int(index)].sum())
            events[int(index)].append(((start + end) / 2 / length, (end - start) / length))
    return events


@pytest.mark.parametrize("lengths", [[9], [12, 7], [8, 12, 5], [5, 5, 5, 1], [6, 14, 3, 9, 2]])
@pytest.mark.parametrize("seed", range(4))
def test_events_are_those_of_the_definition(lengths, seed):
    video, mask = ragged(lengths, seed)
    events, expected = pseudo_events(video, mask, "batch"), as_published(video, mask)
    assert events.mask.sum(1).tolist() == [len(each) for each in expected]
    for spans, valid, each in zip(events.spans, events.mask, expected, strict=True):
        agree(spans[valid], torch.tensor(each).view(-1, 2))
        assert not spans[~valid].any()


@pytest.mark.parametrize("size", [1, 2, 3, 4])
def test_a_batch_of_odd_size_has_one_event_that_is_none_unless_corrected(size):
    video, mask = ragged([9, 8, 7, 6][:size], 0)
    negative = (pseudo_events(video, mask, "batch").spans[..., 1] < 0).sum(1)
    assert negative.tolist() == [int(size % 2 == 1 and sample == size // 2) for sample in range(size)]
    assert (pseudo_events(video, mask, "own").spans[..., 1] >= 0).all()


@pytest.mark.parametrize("seed", range(3))
def test_corrected_events_follow_one_another_through_the_video_and_need_no_batch(seed):
    lengths = [11, 4, 1, 8, 16]
    video, mask = ragged(lengths, seed)
    garbage = torch.where(mask[..., None], video, torch.randn(video.shape))
    together = pseudo_events(garbage, mask, "own")
    for sample, length in enumerate(lengths):
        spans = together.spans[sample, together.mask[sample]]
        alone = pseudo_events(video[sample : sample + 1, :length], mask[sample : sample + 1, :length], "own")
        agree(spans, alone.spans[alone.mask])
        starts, ends = spans[:, 0] - spans[:, 1] / 2, spans[:, 0] + spans[:, 1] / 2
        if length == 1:
            assert not len(spans)
            continue
        agree(ends[:-1], starts[1:])
        agree(torch.stack((starts[0], ends[-1])), torch.tensor([0.0, (length - 1) / length]))


def test_a_cut_between_scenes_is_a_boundary():
    scenes = torch.eye(6)[[0] * 6 + [1] * 5 + [2] * 9][None]
    events = pseudo_events(scenes, torch.ones(1, 20, dtype=torch.bool), "own")
    ends = 20 * (events.spans[0, :, 0] + events.spans[0, :, 1] / 2)
    # Equally strong on both sides of a cut.
    assert {5, 6} <= set(ends.round().tolist())
    assert {10, 11} <= set(ends.round().tolist())
    assert not set(ends.round().tolist()) & {3, 8, 13, 14, 15, 16}


def test_more_events_than_queries_leave_the_dearest_out():
    generator = torch.Generator().manual_seed(0)
    spans = random_spans(generator, 2, 3)
    far = torch.tensor([0.5, 3.0]).expand(2, 2, 2)
    events = Events(torch.cat((spans[:, [2, 0]], far, spans[:, [1]]), 1), torch.ones(2, 5, dtype=torch.bool))
    found = supervise_events(spans.requires_grad_(), events, MatchingCosts())
    assert found.matched.tolist() == 2 * [[True, True, False, False, True]]
    assert found.assigned[found.matched].tolist() == 2 * [2, 0, 1]
    agree(torch.stack((found.l1, found.giou)), torch.zeros(2))


def test_a_corrected_batch_predicts_what_its_samples_predict_alone():
    model, batch = small(**CORRECTED).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores", "event_spans"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])
        agree(alone.saliency[0], together.saliency[index, :length])


def test_padding_and_what_it_holds_change_no_corrected_loss():
    model, batch = small(**CORRECTED), small_batch()
    expected = total_loss(model, batch)
    agree(total_loss(model, padded(batch, clips=3, tokens=2, slots=1)), expected)
    agree(total_loss(model, with_garbage(batch)), expected)


@pytest.mark.parametrize("fault", ["slot_padding", "sentence"])
def test_each_published_fault_alone_makes_predictions_depend_on_padding(fault):
    model = small(**{name: value for name, value in CORRECTED.items() if name != fault}).eval()
    batch = small_batch()
    longer = padded(batch, clips=3 if fault == "slot_padding" else 0, tokens=2 if fault == "sentence" else 0)
    assert (model(batch).spans - model(longer).spans)[0].abs().max() > 1e-4


def test_saliency_does_not_depend_on_padding_even_as_published():
    model, batch = small().eval(), small_batch()
    longer = model(padded(batch, clips=3, tokens=2)).saliency[:, : batch.video.shape[1]]
    agree(longer[batch.video_mask], model(batch).saliency[batch.video_mask])


def test_all_anchors_start_in_the_middle_and_the_heads_learn_first():
    model, batch = small(shake=False), small_batch()
    output = model(batch, small_step())
    for spans in (output.anchors, output.event_spans, output.layer_spans):
        agree(spans, torch.full_like(spans, 0.5))
    total_loss(model, batch).backward()
    assert model.span_head[-1].weight.grad.norm() > 0
    assert model.event_head[-1].weight.grad.norm() > 0


def test_only_the_first_layers_spans_teach_the_head_of_the_anchors():
    model, batch = small(), small_batch()
    spans = model(batch, small_step()).layer_spans
    weight = model.event_head[0].weight
    assert torch.autograd.grad(spans[0].sum(), weight, retain_graph=True)[0].norm() > 0
    (later,) = torch.autograd.grad(spans[1:].sum(), weight, retain_graph=True, materialize_grads=True)
    assert not later.any()


def test_one_head_predicts_spans_and_moves_references():
    model, batch = small(), small_batch()
    assert not [name for name in model.state_dict() if "offset" in name]
    names = [name for name, _ in model.named_parameters()]
    assert len(names) == len(set(names))
    before = model.eval()(batch)
    with torch.no_grad():
        model.span_head[-1].bias.add_(1.0)
        after = model(batch)
    # The second layer's spans move by their own offset and by that of the references they start from.
    logit_moves = (after.layer_spans.logit() - before.layer_spans.logit()).mean((1, 2, 3))
    agree(logit_moves[0], torch.tensor(1.0))
    assert logit_moves[1] > 1.3


def test_every_parameter_learns():
    model, batch = small(text_positions=9), small_batch()
    total_loss(model, batch).backward()
    assert not [name for name, parameter in model.named_parameters() if parameter.grad is None]


def test_event_losses_are_weighted_on_top_of_the_span_losses():
    batch = small_batch()
    terms = [
        model.objective(model(batch, small_step()), batch)
        for model in (small(), small(event_weight=6.0, loss={"l1": 20.0}))
    ]
    agree(terms[1]["event_l1"], 4 * terms[0]["event_l1"])
    agree(terms[1]["event_giou"], 2 * terms[0]["event_giou"])
    agree(terms[1]["giou"], terms[0]["giou"])


def test_another_videos_clips_change_no_other_samples_prediction():
    model, batch = small().eval(), small_batch((7, 7, 7), (4, 4, 4), (1, 2, 1))
    changed = replace(batch, video=torch.cat((batch.video[:2], 2 * batch.video[2:])))
    assert torch.equal(model(batch).spans[:2], model(changed).spans[:2])
