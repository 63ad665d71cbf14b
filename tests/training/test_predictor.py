"""Checkpoint files as predictors: an official checkpoint plus features gives metrics in two commands."""

import json
import shutil
from pathlib import Path

import pytest
import safetensors.torch
import torch
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.configuration import resolve
from sadetr.errors import SadetrError
from sadetr.evaluation.scorer import evaluate
from sadetr.experiments import RunId
from sadetr.layout import Layout
from sadetr.models.construction import make_method
from sadetr.models.qd_detr.official import OFFICIAL
from sadetr.training.checkpoint import read_tensors, write_tensors
from sadetr.training.prediction import predict
from tests.models.test_weights import official_names
from tests.training.conftest import Workspace, own_torch_state

SETTING = ("--setting", "qvhighlights")


@pytest.fixture
def bare(workspace: Workspace, tmp_path: Path) -> Layout:
    """The workspace's data under results of its own, not prepared."""
    layout = Layout(workspace.layout.scale, tmp_path / "results")
    shutil.copytree(workspace.layout.data_root, layout.data_root)
    return layout


@pytest.fixture
def ready(workspace: Workspace, bare: Layout) -> Layout:
    """The workspace's data under results of its own, prepared."""
    shutil.copytree(workspace.layout.store("qvhighlights"), bare.store("qvhighlights"))
    return bare


def invoke(layout: Layout, command: str, *arguments: object):
    scale = ["--scale", layout.scale.reference, "--results", str(layout.results)]
    with own_torch_state():
        return CliRunner().invoke(app, [command, *map(str, arguments), *scale])


def qd_detr(workspace: Workspace):
    """A QD-DETR of the scale's sizes, and its state as the official code names it."""
    settings = resolve("qvhighlights", "qd_detr", "full", 2018, str(workspace.scale))
    torch.manual_seed(3)
    model = make_method(settings)
    names = official_names(OFFICIAL, model)
    return settings, model, {names[name]: value.clone() for name, value in model.state_dict().items()}


def test_an_official_checkpoint_is_scored_in_two_commands(workspace, bare, tmp_path):
    settings, model, tensors = qd_detr(workspace)
    torch.save({"model": tensors, "epoch": 3}, tmp_path / "model_best.ckpt")
    imported = tmp_path / "qd.safetensors"
    done = CliRunner().invoke(
        app, ["import-weights", "--method", "qd_detr", str(tmp_path / "model_best.ckpt"), "--out", str(imported)]
    )
    assert done.exit_code == 0, done.output
    done = invoke(bare, "evaluate", "--checkpoint", imported, *SETTING, "--split", "val", "--out", tmp_path / "m.json")
    assert done.exit_code == 0, done.output
    assert "features of qvhighlights are not prepared yet; preparing them" in done.output
    split = workspace.split("val")
    training = settings.training
    found = predict(model, split, training.batch_size, torch.device("cpu"), ranking=training.ranking)
    rows = found.rows(split.queries)
    report = json.loads((tmp_path / "m.json").read_text())
    assert report["metrics"] == evaluate(rows, split.queries, highlights=True, clip_length=2.0)
    out = tmp_path / "p.jsonl"
    done = invoke(bare, "predict", "--checkpoint", imported, *SETTING, "--split", "val", "--out", out)
    assert done.exit_code == 0, done.output
    assert "not prepared" not in done.output
    assert [json.loads(line) for line in out.read_text().splitlines()] == json.loads(json.dumps(rows))


def test_a_runs_checkpoint_says_by_its_place_what_it_is(finished, ready, tmp_path):
    out = tmp_path / "p.jsonl"
    arguments = ("predict", "--checkpoint", finished.checkpoint("last"), *SETTING, "--split", "test", "--out", out)
    done = invoke(ready, *arguments)
    assert done.exit_code == 0, done.output
    assert out.read_bytes() == finished.prediction("last", "test").read_bytes()
    # The variant of its run, not the method's first.
    folder = tmp_path / "run"
    shutil.copytree(finished.path, folder)
    config = json.loads((folder / "config.json").read_text()) | {"variant": "learned_anchors"}
    (folder / "config.json").write_text(json.dumps(config))
    done = invoke(ready, "predict", "--checkpoint", folder / "checkpoints/last.safetensors", *arguments[3:])
    assert "sa_detr/learned_anchors for qvhighlights" in str(done.exception)


def test_a_file_of_unknown_origin_needs_a_method(finished, ready, tmp_path):
    path = shutil.copy(finished.checkpoint("last"), tmp_path / "moved.safetensors")
    arguments = ("predict", "--checkpoint", path, *SETTING, "--split", "test", "--out", tmp_path / "p.jsonl")
    done = invoke(ready, *arguments)
    assert isinstance(done.exception, SadetrError)
    assert "does not say which method it is of; add --method" in str(done.exception)
    assert invoke(ready, *arguments, "--method", "sa_detr").exit_code == 0
    assert (tmp_path / "p.jsonl").read_bytes() == finished.prediction("last", "test").read_bytes()


@pytest.fixture
def imported(workspace, tmp_path) -> Path:
    _, model, _ = qd_detr(workspace)
    path = tmp_path / "qd.safetensors"
    write_tensors(path, model.state_dict(), {"method": "qd_detr"})
    return path


def fault(layout: Layout, *arguments: object) -> str:
    done = invoke(layout, "evaluate", *arguments)
    assert isinstance(done.exception, SadetrError), done.output
    return str(done.exception)


def test_shapes_that_do_not_fit_name_tensors_and_settings(ready, imported, workspace, tmp_path):
    weights, metadata = read_tensors(imported)
    other = tmp_path / "other.safetensors"

    def changed(change) -> str:
        write_tensors(other, change(dict(weights)), metadata)
        return fault(ready, "--checkpoint", other, *SETTING)

    message = changed(lambda found: found | {"video_projection.0.weight": torch.zeros(2818)})
    assert "other.safetensors: does not fit the network qd_detr/full for qvhighlights" in message
    assert "tensor 'video_projection.0.weight' is [2818] in the file and [98] by dataset.video_streams" in message
    message = changed(lambda found: found | {"anchors.learned.weight": torch.zeros(7, 2)})
    assert "is [7, 2] in the file and [10, 2] by model.num_moment_queries (10)" in message
    message = changed(lambda found: {name: value for name, value in found.items() if "decoder.layers.1" not in name})
    assert "more is not in the file (" in message
    assert "model.decoder_layers 2" in message
    message = changed(lambda found: {name: value[..., :1] for name, value in found.items()})
    assert "more of other sizes" in message
    assert len(message) < 1500


def test_an_official_checkpoint_is_to_be_imported_first(ready, workspace, tmp_path):
    _, _, tensors = qd_detr(workspace)
    safetensors.torch.save_file(tensors, tmp_path / "raw.safetensors")
    torch.save(tensors, tmp_path / "raw.ckpt")
    for name, method in (("raw.safetensors", ("--method", "qd_detr")), ("raw.ckpt", ()), ("none.safetensors", ())):
        message = fault(ready, "--checkpoint", tmp_path / name, *SETTING, *method)
        assert name in message
        assert "python -m sadetr import-weights" in message


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--method", "sa_detr"), "is of method 'qd_detr', not 'sa_detr'; leave --method out"),
        (("--variant", "correct"), "no variant 'correct'; the nearest is 'corrected'"),
        (("--split", "dev"), "no split 'dev' in setting 'qvhighlights'"),
        (("--baseline", "whole_video"), "one of them"),
        (("--predictions", "p.jsonl"), "one of them"),
        (("--run", str(RunId("qvhighlights", "sa_detr", "full", 1))), "so --checkpoint does nothing here"),
    ],
)
def test_options_that_contradict_a_checkpoint_are_refused(ready, imported, arguments, message):
    assert message in fault(ready, "--checkpoint", imported, *SETTING, *arguments)


@pytest.mark.parametrize("option", ["--method", "--variant"])
def test_options_of_a_checkpoint_are_refused_without_one(ready, option):
    message = fault(ready, "--baseline", "whole_video", *SETTING, option, "full")
    assert message == f"there is no --checkpoint, so {option} does nothing here; leave it out"


def test_another_variant_of_the_same_shapes_is_predicted_its_own_way(ready, imported, tmp_path):
    found = []
    for variant in ("full", "corrected"):
        out = tmp_path / f"{variant}.jsonl"
        arguments = ("--checkpoint", imported, *SETTING, "--split", "val", "--out", out, "--variant", variant)
        done = invoke(ready, "predict", *arguments)
        assert done.exit_code == 0, done.output
        found.append(out.read_bytes())
    assert found[0] != found[1]
