"""UniVTG: which clips learn which window, what its predictions may depend on, and its two published faults."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sadetr.models.official import import_weights, renamed
from sadetr.models.univtg.model import PADDED, UniVTG, losses
from sadetr.models.univtg.official import OFFICIAL
from sadetr.models.univtg.settings import UniVTGSettings
from sadetr.settings import Postprocess
from sadetr.shapes import FeatureShape
from sadetr.training.prediction import decoded_windows
from sadetr.training_settings import HardSuppression
from tests.samples import (
    HIDDEN,
    SHAPE,
    TEXT_WIDTH,
    VIDEO_WIDTH,
    agree,
    only,
    padded,
    shaken,
    small_batch,
    with_garbage,
)

SMALL = {
    "hidden_width": HIDDEN,
    "num_heads": 4,
    "feedforward_width": 48,
    "encoder_layers": 2,
    "input_dropout": 0.0,
    "path_dropout": 0.0,
}
CORRECTED = {"timestamps": "centre", "padding": "masked"}


def small(shape=SHAPE, **changes) -> UniVTG:
    """A network none of whose parameters is constant."""
    torch.manual_seed(0)
    model = UniVTG(UniVTGSettings.model_validate(SMALL | changes), shape)
    return shaken(model)


def loss(model, batch):
    return torch.stack(list(model.objective(model(batch), batch).values())).sum()


@pytest.mark.parametrize("changes", [{}, {"text_positions": 9}], ids=["plain", "text_positions"])
def test_a_batch_predicts_what_its_samples_predict_alone(changes):
    model, batch = small(**CORRECTED, **changes).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores", "saliency"):
            agree(getattr(alone, name)[0], getattr(together, name)[index, :length])
        assert (together.scores[index, length:] == -torch.inf).all()


def test_a_batch_gets_the_windows_that_its_samples_get_alone():
    model, batch = small(**CORRECTED).eval(), small_batch()
    ranking = HardSuppression(threshold=0.9, kept=10)

    def windows(some):
        output = model(some)
        values = (output.spans.detach().numpy(), output.scores.detach().numpy())
        found, kept = decoded_windows(*values, [100.0] * len(some), Postprocess(), ranking)
        return [each[there] for each, there in zip(found, kept, strict=True)]

    for index, together in enumerate(windows(batch)):
        np.testing.assert_allclose(together, windows(only(batch, index))[0], atol=1e-3)


def test_padding_and_what_it_holds_change_no_loss():
    model, batch = small(**CORRECTED), small_batch()
    expected = loss(model, batch)
    agree(loss(model, padded(batch, clips=3, tokens=2, slots=1)), expected)
    agree(loss(model, with_garbage(batch)), expected)


def test_the_published_heads_read_padding_and_the_corrected_ones_do_not():
    batch = small_batch()
    for padding, changed in (("read", True), ("masked", False)):
        model = small(padding=padding).eval()
        gap = (model(with_garbage(batch)).offsets - model(batch).offsets)[batch.video_mask].abs().max()
        assert (gap > 1e-4) == changed


def test_both_readings_are_one_where_no_clip_is_padding_and_clips_last_a_second():
    batch = small_batch((7, 7, 7), (4, 4, 4), (1, 2, 1))
    shape = FeatureShape(VIDEO_WIDTH, TEXT_WIDTH, clip_length=1.0)
    agree(small(shape).eval()(batch).spans, small(shape, **CORRECTED).eval()(batch).spans)


@pytest.mark.parametrize(
    ("clip_length", "timestamps", "behind"),
    [(2.0, "clip_length", 1.0), (1.0, "clip_length", 0.5), (2.0, "centre", 0.5), (0.5, "centre", 0.5)],
)
def test_points(clip_length, timestamps, behind):
    model = small(FeatureShape(VIDEO_WIDTH, TEXT_WIDTH, clip_length), timestamps=timestamps)
    mask = torch.tensor([[True] * 4, [True, True, False, False]])
    expected = [
        [behind / 4, (1 + behind) / 4, (2 + behind) / 4, (3 + behind) / 4],
        [behind / 2, (1 + behind) / 2, 0, 0],
    ]
    assert model.points(mask).tolist() == pytest.approx(np.array(expected))


@pytest.mark.parametrize(("timestamps", "inside"), [("clip_length", [2, 3, 4, 5, 6]), ("centre", [3, 4, 5, 6])])
def test_the_published_points_add_the_clip_before_a_window(timestamps, inside):
    """Window [6 s, 14 s] of ten clips of 2 s."""
    model, batch = small(timestamps=timestamps), small_batch((10,), (3,), (1,))
    batch = replace(batch, spans=torch.tensor([[[0.5, 0.4]]]))
    output = model(batch)
    certain = torch.full((1, 10), -20.0)
    certain[0, inside] = 20.0
    terms = losses(replace(output, logits=certain), batch, model.settings)
    assert terms["foreground"] < 1e-6


def test_without_annotators_the_clips_outside_windows_are_the_negatives():
    """Window [0.3, 0.7] of ten clips: saliency labels are read by one contrast and not by the other."""
    batch = replace(small_batch((10,), (3,), (1,)), spans=torch.tensor([[[0.5, 0.4]]]), aligned_clip=torch.tensor([4]))
    inside = torch.tensor([[False] * 3 + [True] * 4 + [False] * 3])
    labelled = replace(batch, saliency=inside.float())
    unlabelled = replace(batch, saliency=torch.zeros(1, 10))
    saliency, windows = small(timestamps="centre"), small(timestamps="centre", contrast="windows")
    expected = saliency.objective(saliency(labelled), labelled)["intra"]
    assert expected > 0
    agree(windows.objective(windows(unlabelled), unlabelled)["intra"], expected)
    # Clip 7 lies outside; where it is the positive, it has negatives all the same.
    edge = replace(unlabelled, aligned_clip=torch.tensor([7]))
    assert windows.objective(windows(edge), edge)["intra"] > 0


def test_a_window_holds_its_clips_point():
    output = small()(small_batch())
    assert (output.offsets[..., 0] < 0).all()
    assert (output.offsets[..., 1] > 0).all()
    assert (output.spans[..., 1] > 0).all()


def test_saliency_is_similarity_and_foreground_and_lowest_at_padding():
    batch = small_batch()
    output = small()(batch)
    valid = batch.video_mask
    agree((output.saliency - output.logits.sigmoid())[valid], output.similarity[valid])
    assert output.similarity[valid].abs().max() <= 1
    assert output.saliency[~valid].max() < -100
    assert math.exp(PADDED) == pytest.approx(1.4e-45, rel=1e-2)


def test_every_weight_counts_and_every_parameter_learns():
    model, batch = small(text_positions=9), small_batch()
    terms = model.objective(model(batch), batch)
    torch.stack(list(terms.values())).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())
    doubled = small(text_positions=9, loss={name: 2 * getattr(model.settings.loss, name) for name in terms})
    for name, value in doubled.objective(doubled(batch), batch).items():
        agree(value, 2 * terms[name])


def test_layers_start_with_the_same_biases_and_different_weights():
    first, second = UniVTG(UniVTGSettings.model_validate(SMALL), SHAPE).encoder
    assert torch.equal(first.feedforward[0].bias, second.feedforward[0].bias)
    assert not torch.equal(first.feedforward[0].weight, second.feedforward[0].weight)


def test_sizes_are_read_off_the_authors_tensors():
    """Any depth that the authors' options reach: names of ours and theirs are one to one."""
    depths = {"encoder_layers": 1, "projection_blocks": 3, "head_layers": 2, "text_positions": 9}
    state = small(**depths).state_dict()
    theirs = {}
    for pattern, ours in OFFICIAL.rules.items():
        theirs |= {found: state[name] for name in state if (found := renamed(name, {ours: pattern}))}
    assert len(theirs) == len(state)
    for setting, value in {**depths, "hidden_width": HIDDEN, "feedforward_width": 48}.items():
        if setting in OFFICIAL.sizes:
            assert OFFICIAL.sizes[setting](theirs) == value
    imported = import_weights(theirs, OFFICIAL, state)
    assert all(torch.equal(imported.weights[name], state[name]) for name in state)
