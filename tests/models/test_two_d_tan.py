"""2D-TAN: what its candidates should score, and what its predictions may depend on."""

from dataclasses import replace

import numpy as np
import pytest
import safetensors.torch
import torch

from sadetr.configuration import load_method, resolve
from sadetr.errors import SettingsError
from sadetr.losses.moment_maps import best_overlap, overlap_targets
from sadetr.models.construction import make_method
from sadetr.models.official import import_weights, renamed
from sadetr.models.two_d_tan.model import TwoDTAN, overlap_loss
from sadetr.models.two_d_tan.official import OFFICIAL
from sadetr.models.two_d_tan.settings import TwoDTANSettings
from sadetr.models.weights import official_network
from sadetr.nn.spans import cw_to_se
from sadetr.parity.fixture import Fixture
from sadetr.settings import Postprocess
from sadetr.training.prediction import decoded_windows
from tests.samples import HIDDEN, SHAPE, agree, only, padded, shaken, small_batch, with_garbage

SMALL = {
    "hidden_width": HIDDEN,
    "sentence_width": 12,
    "sampled_clips": 16,
    "positions": 8,
    "scales": [4, 2],
    "text_layers": 2,
    "map_layers": 2,
    "map_kernel": 3,
}
CONVOLVED = {"candidates": "convolved"}
each_kind = pytest.mark.parametrize("changes", [{}, CONVOLVED], ids=["pooled", "convolved"])


def small(**changes) -> TwoDTAN:
    torch.manual_seed(0)
    return shaken(TwoDTAN(TwoDTANSettings.model_validate(SMALL | changes), SHAPE))


def loss(model, batch):
    return model.objective(model(batch), batch)["overlap"]


@each_kind
def test_a_batch_predicts_what_its_samples_predict_alone(changes):
    model, batch = small(**changes).eval(), small_batch()
    together = model(batch)
    for index in range(len(batch)):
        alone = model(only(batch, index))
        for name in ("spans", "scores"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])


@each_kind
def test_padding_and_what_it_holds_change_no_loss(changes):
    model, batch = small(**changes), small_batch()
    expected = loss(model, batch)
    agree(loss(model, padded(batch, clips=3, tokens=2, slots=1)), expected)
    agree(loss(model, with_garbage(batch)), expected)


def test_words_read_backwards_start_in_the_padding():
    """Why no published run reads so, and ours neither."""
    batch = small_batch()
    for bidirectional in (False, True):
        model = small(bidirectional=bidirectional).eval()
        gap = (model(padded(batch, tokens=2)).logits - model(batch).logits).abs().max()
        assert (gap > 1e-5) == bidirectional


def test_times_of_the_batch_are_not_read():
    """The temporal endpoint features are the DETRs'."""
    model, batch = small().eval(), small_batch()
    video = batch.video.clone()
    video[..., -2:] += 1
    assert torch.equal(model(replace(batch, video=video)).logits, model(batch).logits)


def test_candidates_reach_from_the_start_of_a_position_to_the_end_of_one():
    spans = cw_to_se(small()(small_batch()).spans[0])
    assert len(spans) == 8 + 7 + 6 + 5 + 2 + 1
    assert spans.min() == 0
    assert spans.max() == 1
    agree(spans * 8, (spans * 8).round())
    assert (spans[:, 1] - spans[:, 0]).min() == pytest.approx(1 / 8)


@pytest.mark.parametrize(
    ("lowest", "highest", "bias", "expected"),
    [
        (0.5, 1.0, 0.0, [0, 0, 0, 0.2, 0.4, 1]),
        (0.3, 0.7, 0.0, [0, 0, 0.5, 0.75, 1, 1]),
        (0.3, 0.7, 0.5, [0, 0, 0.75, 0.875, 1, 1]),
    ],
)
def test_targets_rise_between_two_overlaps(lowest, highest, bias, expected):
    ious = torch.tensor([0.0, 0.3, 0.5, 0.6, 0.7, 1.0], dtype=torch.float64)
    agree(overlap_targets(ious, lowest, highest, bias), torch.tensor(expected, dtype=torch.float64))


def test_of_several_windows_the_best_counts():
    candidates = torch.tensor([[0.0, 0.5], [0.5, 1.0]])
    windows = torch.tensor([[[0.0, 0.5], [0.5, 0.75], [0.5, 1.0]]])
    mask = torch.tensor([[True, True, False]])
    assert best_overlap(candidates, windows, mask).tolist() == [[1.0, 0.5]]


def test_the_right_scores_have_the_least_loss():
    model, batch = small(), small_batch()
    output = model(batch)
    ious = best_overlap(cw_to_se(output.spans[0]), cw_to_se(batch.spans), batch.spans_mask)
    targets = overlap_targets(ious, 0.5, 1.0, 0.0)
    right = overlap_loss(replace(output, logits=targets.logit(eps=1e-6)), batch, model.settings)
    entropy = -(torch.xlogy(targets, targets) + torch.xlogy(1 - targets, 1 - targets)).mean()
    assert right.item() == pytest.approx(entropy.item(), abs=1e-4)
    assert right < loss(model, batch)


@each_kind
def test_every_parameter_learns(changes):
    model = small(**changes)
    loss(model, small_batch()).backward()
    assert all(parameter.grad.abs().max() > 0 for parameter in model.parameters())


def test_windows_of_a_query_overlap_no_more_than_the_threshold():
    settings = resolve("tacos", "two_d_tan", "full", 0, "paper")
    assert settings.training.ranking.threshold == 0.4
    output = small().eval()(small_batch())
    values = (output.spans.numpy(), output.scores.detach().numpy())
    found = decoded_windows(*values, [100.0] * 3, Postprocess(), settings.training.ranking)
    for windows, kept in zip(*found, strict=True):
        windows = windows[kept]
        start, end = windows[:, :2].T
        shared = np.minimum.outer(end, end) - np.maximum.outer(start, start)
        hull = np.maximum.outer(end, end) - np.minimum.outer(start, start)
        assert np.where(np.eye(len(windows)), 0, shared / hull).max() <= 0.4
        assert (np.diff(windows[:, 2]) <= 0).all()


def test_the_published_sizes():
    """Of 36 tensors and 60,704,769 numbers with SlowFast and CLIP features, on Charades-STA and on TACoS."""
    for setting in ("charades_sta", "tacos"):
        with torch.device("meta"):
            model = make_method(resolve(setting, "two_d_tan", "full", 0, "paper"))
        sizes = [parameter.numel() for parameter in model.parameters()]
        assert len(sizes) == 36
        assert sum(sizes) == 60_704_769


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"positions": 7}, "multiple of positions 7"),
        ({"map_kernel": 4}, "must be odd"),
        ({"bidirectional": True, "sentence_width": 13}, "must be even"),
        ({"loss": {"lowest_iou": 0.7, "highest_iou": 0.7}}, "must be below"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        TwoDTANSettings.model_validate(SMALL | changes)


def theirs_of(model: TwoDTAN) -> dict[str, torch.Tensor]:
    """Our tensors under the authors' names."""
    found = {}
    for pattern, ours in OFFICIAL.rules.items():
        found |= {name: value for old, value in model.state_dict().items() if (name := renamed(old, {ours: pattern}))}
    return found


@pytest.mark.parametrize(
    "changes", [{}, CONVOLVED, {"bidirectional": True, "text_layers": 1, "map_kernel": 5, "map_layers": 3}]
)
def test_sizes_are_read_off_the_authors_tensors(changes):
    model = small(**changes)
    tensors = theirs_of(model)
    assert len(tensors) == len(model.state_dict())
    for setting, read in OFFICIAL.sizes.items():
        assert read(tensors) in (getattr(model.settings, setting), None)
    # Without a fixture too: what no tensor shows has defaults, whatever the map's side.
    network, _ = official_network(load_method("two_d_tan"), tensors)
    imported = import_weights(tensors, OFFICIAL, network.state_dict())
    assert all(torch.equal(imported.weights[name], value) for name, value in model.state_dict().items())


def given(shared, **changes) -> Fixture:
    path = shared("parity", "two_d_tan", "case_a.safetensors")
    maps = {"KERNEL_SIZES": [3, 3], "HIDDEN_SIZES": [4, 4], "STRIDES": [1, 1], "DILATIONS": [1, 1], "PADDINGS": [2, 0]}
    options = {
        "FRAME_MODULE": {"NAME": "FrameAvgPool", "PARAMS": {"KERNEL_SIZE": 4, "STRIDE": 4}},
        "PROP_MODULE": {"NAME": "SparsePropMaxPool", "PARAMS": {"NUM_SCALE_LAYERS": [16]}},
        "FUSION_MODULE": {"NAME": "BaseFusion", "PARAMS": {"LSTM": {"BIDIRECTIONAL": False}}},
        "MAP_MODULE": {"NAME": "MapConv", "PARAMS": {"INPUT_SIZE": 4, **maps, **changes}},
    }
    loss = {"NAME": "bce_rescale_loss", "PARAMS": {"MIN_IOU": 0.5, "MAX_IOU": 1.0, "BIAS": 0.0}}
    return Fixture(path, {"config": {"TAN": options, "LOSS": loss}}, safetensors.torch.load_file(path))


@pytest.mark.parametrize(
    "changes", [{"STRIDES": [1, 2]}, {"PADDINGS": [1, 1]}, {"KERNEL_SIZES": [3, 5]}, {"HIDDEN_SIZES": [4, 8]}]
)
def test_a_map_that_ours_cannot_be_is_named(shared, changes):
    read = OFFICIAL.options["scales"]
    assert read(given(shared)) == [16]
    with pytest.raises(SettingsError, match=next(iter(changes))):
        read(given(shared, **changes))


def test_overlaps_are_the_authors(shared):
    fixture = given(shared)
    batch = OFFICIAL.batch(fixture)
    model = TwoDTAN(TwoDTANSettings.model_validate(SMALL | {"positions": 16, "scales": [16]}), SHAPE)
    ious = best_overlap(model.windows(), cw_to_se(batch.spans), batch.spans_mask)
    first, last = model.cells.T
    agree(ious, fixture["target.iou_map"][:, 0, first, last])
