"""Moment-DETR and QD-DETR: what their predictions may depend on, the published fault, the switches of Table 11."""

from dataclasses import replace

import pytest
import torch

from sadetr.configuration import load_method
from sadetr.layering import named_files
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.models.inspection import inspect
from sadetr.models.qd_detr.model import QDDETR
from sadetr.models.qd_detr.settings import QDDETRSettings
from tests.samples import (
    NARROW,
    SHAPE,
    agree,
    merged,
    only,
    padded,
    shaken,
    small_batch,
    small_step,
    total_loss,
    with_garbage,
)

SMALL = NARROW
CORRECTED = {"word_mask": "own", "negatives": "next_video"}
DYNAMIC = {"anchors": {"dynamic": True}}
FAMILY = [
    name
    for name in named_files("methods")
    if issubclass(load_method(name).settings_type(), DetectionTransformerSettings)
]


def small(method: str, **changes):
    """A network none of whose parameters is constant."""
    record = load_method(method)
    torch.manual_seed(0)
    model = record.network_type()(record.settings_type().model_validate(merged(SMALL, changes)), SHAPE)
    return shaken(model)


INDEPENDENT = pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("moment_detr", {}),
        ("moment_detr", {"text_positions": 9}),
        ("qd_detr", CORRECTED),
        ("qd_detr", CORRECTED | DYNAMIC | {"modulate": True}),
    ],
    ids=["moment_detr", "moment_detr-text_positions", "qd_detr-corrected", "qd_detr-gaussian_mask"],
)


@INDEPENDENT
def test_a_batch_predicts_what_its_samples_predict_alone(method, changes):
    model, batch = small(method, **changes).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])
        agree(alone.saliency[0], together.saliency[index, :length])


@INDEPENDENT
def test_padding_and_what_it_holds_change_no_loss(method, changes):
    model, batch = small(method, **changes), small_batch()
    expected = total_loss(model, batch)
    agree(total_loss(model, padded(batch, clips=3, tokens=2, slots=1)), expected)
    agree(total_loss(model, with_garbage(batch)), expected)


def test_the_published_mask_makes_predictions_depend_on_the_batch():
    model, batch = small("qd_detr").eval(), small_batch()
    together = model(batch)
    # Sample 0 is the longest; sample 1 shows what a longer video loses and a shorter text does to others.
    gaps = [
        (model(only(batch, index)).saliency[0] - together.saliency[index, : batch.video_mask[index].sum()]).abs().max()
        for index in range(len(batch))
    ]
    assert max(gaps) > 1e-3
    corrected = small("qd_detr", **CORRECTED).eval()
    corrected.load_state_dict(model.state_dict())
    assert (corrected(batch).saliency - together.saliency)[batch.video_mask].abs().max() > 1e-3


def test_the_published_mask_is_harmless_where_all_lengths_are_equal():
    published, corrected = small("qd_detr").eval(), small("qd_detr", **CORRECTED).eval()
    batch = small_batch((7, 7, 7), (4, 4, 4), (1, 2, 1))
    agree(published(batch).spans, corrected(batch).spans)


def test_the_negative_pass_is_the_next_samples_text():
    model, batch = small("qd_detr", **CORRECTED).eval(), small_batch()
    assert model(batch).negative_saliency is None
    negative = model(batch, small_step()).negative_saliency
    swapped = replace(batch, text=batch.text.roll(-1, 0), text_mask=batch.text_mask.roll(-1, 0))
    agree(negative, model(swapped).saliency)


@pytest.mark.parametrize("negatives", ["next", "next_video"])
def test_a_pair_of_one_video_is_a_negative_only_as_published(negatives):
    model, batch = small("qd_detr", negatives=negatives), small_batch()
    shared = replace(batch, video_id=torch.zeros_like(batch.video_id))
    output = model(batch, small_step())
    values = [model.objective(output, each)["saliency_negative"].item() for each in (batch, shared)]
    assert values[0] > 0
    assert values[1] == (values[0] if negatives == "next" else 0)


def test_dynamic_anchors_replace_the_embedding_and_learn_through_every_loss():
    model, batch = small("qd_detr", **DYNAMIC), small_batch()
    assert model.anchors.learned is None
    output = model(batch, small_step())
    assert (output.anchors[0] - output.anchors[1]).abs().max() > 1e-3
    terms = model.objective(output, batch)
    assert "init_l1" not in terms
    (gradient,) = torch.autograd.grad(terms["l1"], model.anchors.mlp[0].weight)
    assert gradient.norm() > 0


def test_initial_loss_is_a_switch_of_dynamic_anchors():
    model, batch = small("qd_detr", anchors={"dynamic": True, "init_loss": True}), small_batch()
    terms = model.objective(model(batch, small_step()), batch)
    assert {"init_l1", "init_giou"} <= terms.keys()
    with pytest.raises(ValueError, match="dynamic"):
        small("qd_detr", anchors={"init_loss": True})


def test_gaussian_mask_enters_every_decoder_layer():
    plain, masked = small("qd_detr", **DYNAMIC).eval(), small("qd_detr", **DYNAMIC, modulate=True).eval()
    assert plain.state_dict().keys() == masked.state_dict().keys()
    assert all(layer.cross_attention.gauss is not None for layer in masked.decoder.layers)
    batch = small_batch()
    assert (plain(batch).spans - masked(batch).spans).abs().max() > 1e-4
    wide = small("qd_detr", **DYNAMIC, modulate=True, gauss={"alpha": 1e-9}).eval()
    agree(wide(batch).spans, plain(batch).spans)


@pytest.mark.parametrize("method", FAMILY)
def test_without_auxiliary_losses_only_the_last_layer_is_supervised(method):
    model, batch = small(method, loss={"aux": False}), small_batch()
    output = model(batch, small_step())
    terms = model.objective(output, batch)
    (gradient,) = torch.autograd.grad(terms["l1"], output.layer_spans)
    assert gradient[0].abs().max() == 0
    assert gradient[-1].abs().max() > 0


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("moment_detr", {}),
        ("moment_detr", {"contrast": {"enabled": True}, "text_positions": 5}),
        ("qd_detr", {}),
        ("qd_detr", {"text_positions": 5} | DYNAMIC),
    ],
    ids=["moment_detr", "moment_detr-contrast", "qd_detr", "qd_detr-dynamic"],
)
def test_every_parameter_learns(method, changes):
    model, batch = small(method, **changes), small_batch()
    total_loss(model, batch).backward()
    # No loss reads the projection of the video; published so.
    idle = {name for name, parameter in model.named_parameters() if parameter.grad is None}
    assert idle == ({"contrast.video.weight", "contrast.video.bias"} if "contrast" in changes else set())


def test_attention_starts_with_zero_output_biases_and_the_decoder_ignores_the_zero_start_of_its_offsets():
    torch.manual_seed(0)
    decoder = QDDETR(QDDETRSettings.model_validate(SMALL), SHAPE).decoder
    assert decoder.layers[0].self_attention.out.bias.abs().max() == 0
    assert decoder.offset[-1].bias.abs().max() == 0
    assert decoder.offset[-1].weight.abs().max() > 0


@pytest.mark.parametrize(
    ("method", "changes"), [("moment_detr", {}), ("qd_detr", {}), ("qd_detr", DYNAMIC | {"modulate": True})]
)
def test_inspection_shows_the_layers_and_predicts_the_same_bits(method, changes):
    model, batch = small(method, **changes).eval(), small_batch()
    with torch.no_grad():
        found, output = inspect(model, batch), model(batch)
    assert torch.equal(found.output.spans, output.spans)
    layers, size, count = len(output.layer_spans), len(batch), output.spans.shape[1]
    clips = batch.video.shape[1]
    assert found.attention.shape == (layers, size, 4, count, clips)
    assert (found.attention.masked_select(~batch.video_mask[None, :, None, None]) == 0).all()
    shares = found.attention.sum(-1)
    # Moment-DETR's queries read words too.
    assert (shares <= 1 + 1e-5).all()
    assert torch.equal(found.qualities[-1], output.scores)
    if method == "moment_detr":
        assert found.anchors is None
        return
    torch.testing.assert_close(shares, torch.ones_like(shares))
    assert torch.equal(found.anchors[0], output.anchors)
    assert torch.equal(found.anchors[-1], output.spans)
    assert (found.masks is None) == (not changes)
    if changes:
        assert found.masks.shape == (layers, size, count, clips)
