"""MH-DETR: pooling of neighbours and of channels, what padding is, positions, the start, the loss without a sigmoid."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from sadetr.configuration import resolve
from sadetr.errors import SettingsError
from sadetr.losses.saliency import clamped_score_loss
from sadetr.models.inspection import inspect
from sadetr.models.mh_detr.layers import PooledAttentionLayer, PoolingLayer
from sadetr.models.mh_detr.model import MHDETR
from sadetr.models.mh_detr.settings import MHDETRSettings
from sadetr.nn.decoders import Memory
from sadetr.nn.layers import neighbour_mean
from sadetr.nn.stochastic import DropPath
from tests.samples import NARROW, SHAPE, agree, merged, only, padded, shaken, small_batch, with_garbage

SMALL = NARROW | {
    "text_input_dropout": 0.0,
    "path_dropout": 0.0,
    "decoder_layers": 2,
    "clip_positions": 14,
    "text_positions": 9,
}
HIDDEN_PADDING = {"padding": "hidden"}


def fresh(**changes) -> MHDETR:
    torch.manual_seed(0)
    return MHDETR(MHDETRSettings.model_validate(merged(SMALL, changes)), SHAPE)


def small(**changes) -> MHDETR:
    """A network none of whose parameters is constant."""
    model = fresh(**changes)
    return shaken(model)


def terms(model, batch):
    return model.objective(model(batch), batch)


def test_without_padding_a_batch_predicts_what_its_samples_predict_alone():
    model, batch = small(**HIDDEN_PADDING).eval(), small_batch()
    together = model(batch)
    for index, length in enumerate(batch.video_mask.sum(1)):
        alone = model(only(batch, index))
        for name in ("spans", "scores"):
            agree(getattr(alone, name)[0], getattr(together, name)[index])
        agree(alone.saliency[0], together.saliency[index, :length])


def test_without_padding_no_loss_depends_on_it():
    model, batch = small(**HIDDEN_PADDING), small_batch()
    expected = terms(model, batch)
    for other in (padded(batch, clips=3, tokens=2, slots=1), with_garbage(batch)):
        found = terms(model, other)
        for name, value in expected.items():
            agree(found[name], value)


def test_published_padding_is_seen_by_every_prediction_and_harmless_where_there_is_none():
    published, corrected, batch = small().eval(), small(**HIDDEN_PADDING).eval(), small_batch()
    more = published(padded(batch, clips=2))
    for name in ("spans", "scores"):
        assert (getattr(published(batch), name) - getattr(more, name)).abs().max() > 1e-4
    assert (published(batch).saliency - more.saliency[:, :9])[batch.video_mask].abs().max() > 1e-4
    even = small_batch((7, 7, 7), (4, 4, 4), (1, 2, 1))
    agree(published(even).spans, corrected(even).spans)
    agree(terms(published, even)["saliency_bce"], terms(corrected, even)["saliency_bce"])


def test_a_neighbour_mean_leaves_out_what_is_not_there():
    x = torch.tensor([[1.0, 4.0, 10.0, 100.0, 7.0]]).unsqueeze(-1)
    everything = torch.ones(1, 5, dtype=torch.bool)
    pool = nn.AvgPool1d(3, 1, 1, count_include_pad=False)
    torch.testing.assert_close(neighbour_mean(x, everything).squeeze(-1), pool(x.squeeze(-1)))
    mask = torch.tensor([[True, True, True, False, False]])
    assert neighbour_mean(x, mask).flatten().tolist() == [2.5, 5.0, 7.0, 10.0, 0.0]


def test_pooled_channels_are_pairs_of_neighbours_of_the_result_and_of_the_input():
    layer, passed = PooledAttentionLayer(8, 2, 12, 0.0), []
    with torch.no_grad():
        layer.self_attention.out.weight.zero_()
        layer.norm.bias.fill_(3)
    layer.context.register_forward_pre_hook(lambda _, arguments: passed.append(arguments[0]))
    x = torch.randn(2, 3, 8)
    layer(x, None, None, Memory(x, torch.zeros(3, 8), torch.ones(2, 3, dtype=torch.bool)))
    attended = nn.functional.layer_norm(x, (8,)) + 3
    for channel, values in ((0, attended), (1, attended), (2, attended), (3, attended), (4, x), (5, x), (6, x), (7, x)):
        pair = 2 * (channel % 4)
        torch.testing.assert_close(passed[0][..., channel], values[..., pair : pair + 2].mean(-1))


def test_paths_are_dropped_per_sample_in_the_first_branch_and_per_row_in_the_second():
    torch.manual_seed(0)
    layer = PoolingLayer(8, 12, 0.0, 0.5)
    x = torch.ones(40, 50, 8)
    per_sample, per_row = layer.drop_sample(x), layer.drop_row(x)
    assert per_sample.unique().tolist() == per_row.unique().tolist() == [0.0, 2.0]
    assert torch.equal(per_sample, per_sample[:, :1, :1].expand_as(x))
    assert torch.equal(per_row, per_row[:1, :, :1].expand_as(x))
    assert torch.equal(layer.eval().drop_row(x), x)


@pytest.mark.parametrize("probability", [0.0, 1.0])
def test_a_path_is_always_or_never_dropped_at_the_ends(probability):
    x = torch.randn(3, 4)
    assert torch.equal(DropPath(probability)(x), (1 - probability) * x)


def test_layers_and_queries_start_equal_and_positions_at_zero():
    model = fresh()
    first, second = (dict(layer.named_parameters()) for layer in model.decoder)
    drawn = [name for name in first if not torch.equal(first[name], second[name])]
    # A stack starts from copies of one layer, of which only the weights of linear layers are drawn once more.
    assert drawn == [
        "self_attention.out.weight",
        "context.attention.out.weight",
        "context.feedforward.0.weight",
        "context.feedforward.3.weight",
    ]
    assert first["context.feedforward.0.weight"].std().item() == pytest.approx(0.02, rel=0.1)
    for table in (model.video_positions.table, model.fused_positions.table, model.text_positions.table):
        assert not table.any()
    spans = model.eval()(small_batch()).spans
    agree(spans, spans[:, :1].expand_as(spans))


def test_the_matching_tells_equal_queries_apart():
    model, batch = fresh(), small_batch()
    torch.stack(list(terms(model, batch).values())).sum().backward()
    gradient = model.moment_queries.grad
    assert (gradient - gradient[:1]).abs().max() > 0


@pytest.mark.parametrize(
    ("clips", "tokens", "setting"), [(15, 4, "clip_positions"), (9, 10, "text_positions")], ids=["clips", "words"]
)
def test_a_sample_beyond_the_positions_is_an_error_that_names_the_setting(clips, tokens, setting):
    model, batch = small(), small_batch((clips,), (tokens,), (1,))
    with pytest.raises(SettingsError, match=rf"{max(clips, tokens)} clips or words.*{setting}"):
        model(batch)


def test_positions_reach_the_longest_video_of_every_benchmark_setting_of_the_paper():
    qvhighlights, charades = (
        resolve(setting, "mh_detr", "full", 1, "paper") for setting in ("qvhighlights", "charades_sta_vgg")
    )
    assert qvhighlights.model.clip_positions >= qvhighlights.dataset.max_video_clips
    assert qvhighlights.model.text_positions >= qvhighlights.dataset.max_text_tokens
    # Charades-STA's longest video of the training split has 194.33 s.
    assert charades.model.clip_positions * charades.dataset.clip_length >= 194.33


def test_scores_are_probabilities_without_a_sigmoid():
    scores = torch.tensor([[0.25, 0.5, -1.0, 2.0]], requires_grad=True)
    targets, mask = torch.tensor([[1.0, 0.25, 0.5, 0.0]]), torch.ones(1, 4, dtype=torch.bool)
    loss = clamped_score_loss(scores, targets, mask, 5.0)
    low, high = torch.tensor(1e-7).log(), torch.tensor(2.0**-23).log()
    expected = -(5 * torch.tensor(0.25).log() + (1.25 + 0.75) * torch.tensor(0.5).log() + 2.5 * low + high) / 4
    torch.testing.assert_close(loss, expected)
    (gradient,) = torch.autograd.grad(loss, scores)
    assert gradient[0, :2].tolist() == pytest.approx([-5.0, (-2.5 + 1.5) / 4])
    assert not gradient[0, 2:].any()


def test_the_last_layer_alone_is_supervised_unless_told_otherwise():
    batch = small_batch()
    losses = {}
    for aux in (False, True):
        model = small(loss={"aux": aux})
        losses[aux] = terms(model, batch)["l1"].item()
    assert losses[True] > 1.5 * losses[False]
    assert MHDETRSettings.model_validate({"loss": {"saliency": 0.0}}).loss.aux is False


def test_no_saliency_loss_where_its_weight_is_zero():
    found = terms(small(loss={"saliency": 0.0}), small_batch())
    assert found["saliency_margin"].item() == found["saliency_bce"].item() == 0
    assert found["l1"] > 0


def test_labels_are_shares_of_the_highest():
    model, batch = small(), small_batch()
    output, doubled = model(batch), small(saliency={"levels": 24})
    twice = replace(batch, saliency=2 * batch.saliency)
    agree(doubled.objective(output, twice)["saliency_bce"], model.objective(output, batch)["saliency_bce"])


def test_what_published_padding_attends_to_is_not_shown():
    model, batch = small().eval(), small_batch()
    with torch.no_grad():
        found = inspect(model, batch)
    assert found.attention.shape[:2] == (2, len(batch))
    assert not found.attention.masked_select(~batch.video_mask[None, :, None, None]).any()
    agree(found.attention[:, 0].sum(-1), torch.ones_like(found.attention[:, 0, ..., 0]))
