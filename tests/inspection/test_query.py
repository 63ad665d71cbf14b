"""Looking into a network: what is recorded is what was computed, and recording changes nothing."""

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, read_predictions
from sadetr.experiments import run_settings
from sadetr.inspection import query as query_module
from sadetr.inspection.command import explain_query
from sadetr.inspection.picture import query_picture
from sadetr.inspection.query import inspect_query
from sadetr.models.inspection import Inspection, inspect
from sadetr.models.interface import Method
from sadetr.nn.recording import recorded_calls
from sadetr.nn.spans import cw_to_se
from sadetr.reporting import figures
from sadetr.training.prediction import predicted_batch
from tests.samples import only, padded, small_batch, small_model, small_settings

from .conftest import FULL, PLAIN

BATCH = small_batch()
MODES = ("mul_logits", "add_log", "mul_prob")


@pytest.fixture
def svg_only(monkeypatch):
    """The vector format alone: rasterising three of them takes longer than all tests here."""
    monkeypatch.setattr(figures, "METADATA", {"svg": figures.METADATA["svg"]})


def inspected(**changes) -> tuple[Method, Inspection]:
    model = small_model(small_settings(**changes)).eval()
    with torch.no_grad():
        return model, inspect(model, BATCH)


def test_inspecting_predicts_the_same_bits():
    model, found = inspected()
    with torch.no_grad():
        output = model(BATCH)
    for name in ("spans", "scores", "saliency"):
        assert torch.equal(getattr(found.output, name), getattr(output, name))
    assert not any(module._forward_pre_hooks for module in model.modules())


def test_recording_changes_no_training_step():
    results = []
    for names in ((), ("refiner.layers.0.cross_attention", "global_block")):
        torch.manual_seed(1)
        model = small_model(small_settings(dropout=0.1)).train()
        torch.manual_seed(2)
        with recorded_calls(model, names) as calls:
            output = model(BATCH)
            sum(model.objective(output, BATCH).values()).backward()
        assert all(len(calls[name]) == 1 for name in names)
        results.append([parameter.grad for parameter in model.parameters() if parameter.grad is not None])
    assert all(torch.equal(first, second) for first, second in zip(*results, strict=True))


def test_hooks_are_gone_after_an_error():
    model = small_model()
    with pytest.raises(RuntimeError, match="in between"), recorded_calls(model, ["global_block"]):
        raise RuntimeError("in between")
    assert not model.global_block._forward_pre_hooks
    with pytest.raises(AttributeError), recorded_calls(model, ["global_block", "no_such_block"]):
        pass
    assert not model.global_block._forward_pre_hooks


def test_shapes_and_the_way_of_the_anchors():
    _, found = inspected(refiner_layers=3)
    size, queries, clips = len(BATCH), 6, BATCH.video.shape[1]
    assert found.anchors.shape == (4, size, queries, 2)
    assert found.qualities.shape == (3, size, queries)
    assert found.masks.shape == (3, size, queries, clips)
    assert found.attention.shape == (3, size, 4, queries, clips)
    assert torch.equal(found.anchors[0], found.output.anchors)
    assert torch.equal(found.anchors[-1], found.output.spans)
    assert torch.equal(found.qualities[-1], found.output.scores)


def test_masks_are_equation_5_at_the_anchors_of_their_layer():
    _, found = inspected(gauss={"alpha": 3.0})
    for layer, sample, query in np.ndindex(2, len(BATCH), 6):
        centre, width = found.anchors[layer, sample, query].double().tolist()
        length = int(BATCH.video_mask[sample].sum())
        expected = [math.exp(-3.0 * ((i / length - centre) / max(width, 1e-3)) ** 2) for i in range(1, length + 1)]
        torch.testing.assert_close(
            found.masks[layer, sample, query, :length].double(), torch.tensor(expected).double(), rtol=1e-3, atol=1e-6
        )


@pytest.mark.parametrize("mode", MODES)
def test_attention_is_a_distribution_over_valid_clips(mode):
    _, found = inspected(gauss={"mode": mode})
    total = found.attention.sum(-1)
    assert not found.attention.masked_select(~BATCH.video_mask[None, :, None, None]).any()
    if mode == "mul_prob":
        assert (total <= 1 + 1e-6).all()
        assert (total < 0.999).any()
    else:
        torch.testing.assert_close(total, torch.ones_like(total))


def test_modulated_attention_is_equation_6():
    """The attention follows from the recorded masks and the logits of the layer's own arguments."""
    model = small_model().eval()
    name = "refiner.layers.1.cross_attention"
    with torch.no_grad(), recorded_calls(model, [name]) as calls:
        found = inspect(model, BATCH)
        layer = model.get_submodule(name)
        content, position, _, context = calls[name][0]
        logits = layer._logits(layer.query(content), position, context) * found.masks[1].unsqueeze(1)
        logits = logits.masked_fill(~BATCH.video_mask[:, None, None], -torch.inf)
    torch.testing.assert_close(found.attention[1], logits.softmax(-1))


def test_without_modulation_there_are_no_masks():
    _, found = inspected(ad={"enhance": False, "modulate": False})
    assert found.masks is None
    assert found.attention is not None


def test_padding_and_company_change_nothing():
    model, found = inspected()
    with torch.no_grad():
        wider, alone = inspect(model, padded(BATCH, clips=3, tokens=2)), inspect(model, only(BATCH, 1))
    length = int(BATCH.video_mask[1].sum())
    for name in ("anchors", "qualities", "masks", "attention"):
        ours = getattr(found, name)[:, 1:2]
        for other in (getattr(wider, name)[:, 1:2], getattr(alone, name)):
            clips = slice(None) if name in ("anchors", "qualities") else slice(length)
            torch.testing.assert_close(ours[..., clips], other[..., clips], rtol=1e-4, atol=1e-5)


def test_a_query_is_inspected_as_it_was_predicted(trained, val_file):
    queries = read_annotations(val_file)
    rows = {row["qid"]: row for row in read_predictions(trained.run(FULL).prediction("last", "val"), queries)}
    for query in queries[:3]:
        found = inspect_query(FULL, trained, str(query.qid), "last")
        assert (found.split, found.query.vid) == ("val", query.vid)
        np.testing.assert_allclose(found.windows, rows[query.qid][WINDOWS], atol=1e-3)
        np.testing.assert_allclose(found.saliency, rows[query.qid][SALIENCY], atol=1e-3)
        assert (np.diff(found.scores) <= 0).all()
        np.testing.assert_allclose(found.anchors[-1], found.spans)
        assert ((found.inside >= 0) & (found.inside <= 1 + 1e-9)).all()


def test_a_query_keeps_the_company_that_it_was_predicted_in(trained, val_file):
    """A published network's mask mixes the samples of a batch, so that another batch predicts otherwise."""
    queries = read_annotations(val_file)
    dataset = run_settings(FULL, trained.scale.reference).dataset
    split = Split(queries, FeatureStore.open(trained.store("qvhighlights")), dataset)
    batches = list(split.prediction_batches(3, split.by_length()))
    for row in range(len(queries)):
        batch, place = predicted_batch(split, row, 3)
        assert sum(torch.equal(batch.video, other.video) for other in batches) == 1
        alone, _ = predicted_batch(split, row, 1)
        clips = alone.video.shape[1]
        assert torch.equal(batch.video[place, :clips], alone.video[0])


def test_a_training_query_is_found_too(trained):
    path = trained.data_root / "annotations/qvhighlights/highlight_train_release.jsonl"
    assert inspect_query(FULL, trained, str(read_annotations(path)[0].qid)).split == "train"


def test_attention_inside_is_all_of_it_for_the_whole_video(trained, val_file):
    found = inspect_query(FULL, trained, str(read_annotations(val_file)[0].qid))
    whole = np.broadcast_to([-1.0, found.query.duration + 1], found.anchors.shape)
    np.testing.assert_allclose(replace(found, anchors=whole).inside, 1)
    np.testing.assert_array_equal(replace(found, anchors=np.full_like(found.anchors, -1.0)).inside, 0)


def test_written_numbers_and_pictures(trained, val_file, svg_only, tmp_path, capsys):
    query = read_annotations(val_file)[0]
    for name in ("one", "two"):
        paths = explain_query(FULL, trained, str(query.qid), "best", tmp_path / name)
    assert [path.name for path in paths] == [f"best.qid{query.qid}.{end}" for end in ("json", "svg")]
    for path in paths:
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()
    written = json.loads(paths[0].read_text())
    found = inspect_query(FULL, trained, str(query.qid))
    assert written["data"] == trained.scale.label
    assert written["ground_truth"] == query.windows.tolist()
    first = written["moment_queries"][0]
    assert first["index"] == found.order[0]
    np.testing.assert_allclose(first["attention"], found.attention[:, :, 0], rtol=1e-5)
    np.testing.assert_allclose(first["masks"], found.masks[:, 0], rtol=1e-5)
    np.testing.assert_allclose(first["anchors"], found.anchors[:, 0], rtol=1e-5)
    printed = capsys.readouterr().out
    assert trained.scale.label in printed
    assert query.query in printed
    assert f"{first['anchors'][0][0]:.1f}–{first['anchors'][0][1]:.1f}" in printed


def test_the_default_folder_is_the_runs_own(trained, val_file, svg_only):
    qid = str(read_annotations(val_file)[1].qid)
    paths = explain_query(PLAIN, trained, qid, "last")
    assert {path.parent for path in paths} == {trained.folder / "inspection" / PLAIN.folder}
    written = json.loads(paths[0].read_text())["moment_queries"][0]
    assert written["masks"] is None
    assert len(written["attention"]) == 2


def test_a_method_without_anything_inside(trained, val_file, svg_only, tmp_path, capsys, monkeypatch):
    """Nothing declared: predictions and saliency."""
    from sadetr.models.sa_detr.model import SADETR

    monkeypatch.setattr(SADETR, "shown", None)
    qid = str(read_annotations(val_file)[0].qid)
    paths = explain_query(FULL, trained, qid, "best", tmp_path)
    assert "shows nothing between its layers" in capsys.readouterr().out
    written = json.loads(paths[0].read_text())
    assert written["moment_queries"][0]["anchors"] is None
    assert len(written["windows"]) == 10
    titles = [axes.get_title() for axes in query_picture(inspect_query(FULL, trained, qid), "").axes]
    assert titles == ["predicted spans; right: score", "saliency, scaled to 0-1, over the annotators' mean"]


def test_nothing_leaves_the_page(trained, val_file):
    found = inspect_query(FULL, trained, str(read_annotations(val_file)[0].qid))
    long = replace(found.query, query="a man in a $5_000 suit walks along a road " * 8)
    figure = query_picture(replace(found, query=long), trained.scale.label)
    figure.draw_without_rendering()
    box, (width, height) = figure.get_tightbbox(), figure.get_size_inches()
    assert min(box.x0, box.y0) >= -0.01
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


def test_seconds_are_those_of_the_duration(trained, val_file):
    query = read_annotations(val_file)[0]
    spans = torch.tensor([[0.5, 1.0], [0.25, 0.5]])
    expected = cw_to_se(spans).double().numpy() * query.duration
    np.testing.assert_allclose(query_module._seconds(spans, query), expected)


def test_errors(trained, workspace, val_file, tmp_path):
    qid = str(read_annotations(val_file)[0].qid)
    with pytest.raises(SettingsError, match="no query '999999'; the nearest qid is"):
        inspect_query(FULL, trained, "999999")
    with pytest.raises(SettingsError, match="no checkpoint 'worst'; qvhighlights has best, last"):
        inspect_query(FULL, trained, qid, "worst")
    with pytest.raises(ResultsError, match="train the run first"):
        inspect_query(replace(FULL, seed=3), trained, qid)
    other = replace(FULL, seed=4)
    folder = trained.run(other)
    folder.path.mkdir(parents=True)
    folder.checkpoints.mkdir()
    folder.checkpoint("best").write_bytes(trained.run(FULL).checkpoint("best").read_bytes())
    with pytest.raises(ResultsError, match="trained with other settings"):
        inspect_query(other, trained, qid)
