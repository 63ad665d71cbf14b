"""Whole trainings on a tiny corpus: same bits, interruptions, damaged states, blocked folders."""

import builtins
import io
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from sadetr.cli import main
from sadetr.errors import ResultsError, SettingsError
from sadetr.layering import CONFIG
from sadetr.layout import RunFolder
from sadetr.models.construction import make_method
from sadetr.settings import Selection
from sadetr.training import loop
from sadetr.training import run as run_module
from sadetr.training.checkpoint import TrainingState, digest, read_tensors, snapshot
from sadetr.training.loop import DivergedError, Trainer
from sadetr.training.prediction import predict
from sadetr.training.schedule import learning_rate
from tests.training.conftest import digests, own_torch_state, provenance

SPLITS = ("val", "test")
CHECKPOINTS = ("best", "last")


def history(run: RunFolder) -> dict[str, list]:
    """Everything but the clock."""
    return pq.read_table(run.path / "history.parquet").drop_columns("seconds").to_pydict()


def assert_same_run(run: RunFolder, expected: RunFolder) -> None:
    assert digests(run) == digests(expected)
    assert history(run) == history(expected)
    for checkpoint in digests(expected):
        for split in SPLITS:
            predictions = run.prediction(checkpoint, split)
            assert predictions.read_bytes() == expected.prediction(checkpoint, split).read_bytes()
    for key in ("code_fingerprint", "config_fingerprint", "features", "epochs", "parameters"):
        assert provenance(run)[key] == provenance(expected)[key]
    assert not run.state.exists()


def test_the_same_seed_gives_the_same_bits(workspace, finished, tmp_path):
    # Whatever the process drew before.
    torch.manual_seed(123)
    assert_same_run(workspace.train(tmp_path / "run"), finished)


def test_another_seed_gives_another_model(workspace, finished, tmp_path):
    other = workspace.train(tmp_path / "run", workspace.settings(seed=1, epochs=1))
    assert digests(other)["last"] != digests(finished)["last"]
    assert history(other)["loss"][0] != history(finished)["loss"][0]


def test_the_validation_interval_does_not_change_the_model(workspace, finished, tmp_path):
    rare = workspace.train(tmp_path / "run", workspace.settings(validate_every=2))
    assert digests(rare)["last"] == digests(finished)["last"]
    often, seldom = history(finished), history(rare)
    assert often["loss"] == seldom["loss"]
    assert None not in often["val/mAP"]
    # Every second epoch and the last.
    assert seldom["val/mAP"] == [None, *often["val/mAP"][1:]]


def test_a_finished_run_is_complete_and_self_consistent(workspace, finished):
    settings = workspace.settings()
    predictions = [finished.prediction(name, split) for name in CHECKPOINTS for split in SPLITS]
    for path in [*finished.trained, *map(finished.checkpoint, CHECKPOINTS), *predictions]:
        assert path.is_file()
    record, rows = provenance(finished), history(finished)
    assert rows["epoch"] == [1, 2, 3]
    assert rows["learning_rate"] == [learning_rate(settings.training, epoch) for epoch in range(3)]
    terms = [name for name in rows if name.startswith("loss/")]
    for epoch in range(3):
        assert rows["loss"][epoch] == pytest.approx(sum(rows[name][epoch] for name in terms))
    # The first of the best epochs.
    values = rows["val/mAP"]
    assert record["epochs"] == {"best": values.index(max(values)) + 1, "last": 3}
    for name in CHECKPOINTS:
        weights, metadata = read_tensors(finished.checkpoint(name))
        assert digest(weights) == record["weights_sha256"][name]
        assert metadata["epoch"] == str(record["epochs"][name])
    model = make_method(settings)
    assert record["parameters"] == sum(parameter.numel() for parameter in model.parameters())
    # The predictions are those of the checkpoint beside them.
    model.load_state_dict(read_tensors(finished.checkpoint("best"))[0])
    split = workspace.split("val")
    rows = predict(model, split, 7, torch.device("cpu")).rows(split.queries)
    written = [json.loads(line) for line in finished.prediction("best", "val").read_text().splitlines()]
    assert [row["qid"] for row in written] == [query.qid for query in workspace.split("val").queries]
    assert all(len(row["pred_relevant_windows"]) == 10 for row in written)
    assert [len(row["pred_saliency_scores"]) for row in written] == workspace.split("val").lengths.tolist()
    for ours, theirs in zip(rows, written, strict=True):
        assert ours["pred_saliency_scores"] == pytest.approx(theirs["pred_saliency_scores"], abs=2e-4)


def test_the_best_checkpoint_is_the_first_of_equally_good_epochs(workspace, tmp_path, monkeypatch):
    seen = []

    def validate(trainer, epoch):
        seen.append(digest(snapshot(trainer._model)))
        return {"val/mAP": [5.0, 7.0, 7.0][epoch]}

    monkeypatch.setattr(Trainer, "_validate", validate)
    run = workspace.train(tmp_path / "run")
    assert provenance(run)["epochs"] == {"best": 2, "last": 3}
    assert len(set(seen)) == 3
    for name, expected in (("best", seen[1]), ("last", seen[2])):
        assert digests(run)[name] == expected
        assert digest(read_tensors(run.checkpoint(name))[0]) == expected
    assert run.prediction("best", "val").read_bytes() != run.prediction("last", "val").read_bytes()


def two_rules(workspace, **training):
    """The field's rule on the test split, and a clean one on the validation split, as on TACoS."""
    settings = workspace.settings(**training)
    rules = {"selection": Selection(metrics=["R1@0.5", "R1@0.7"], split="test"), "clean_selection": Selection()}
    return settings.model_copy(update={"dataset": settings.dataset.model_copy(update=rules)})


def test_every_selection_rule_keeps_its_own_epoch(workspace, tmp_path, monkeypatch):
    seen = []

    def validate(trainer, epoch):
        seen.append(digest(snapshot(trainer._model)))
        # The mean decides, not one of the metrics.
        first, second = [(9.0, 1.0), (2.0, 2.0), (5.0, 6.0)][epoch]
        return {"test/R1@0.5": first, "test/R1@0.7": second, "test/mAP": 0.0, "val/mAP": [5.0, 7.0, 6.0][epoch]}

    monkeypatch.setattr(Trainer, "_validate", validate)
    run = workspace.train(tmp_path / "run", two_rules(workspace))
    assert provenance(run)["epochs"] == {"best": 3, "clean": 2, "last": 3}
    for name, expected in (("best", seen[2]), ("clean", seen[1]), ("last", seen[2])):
        assert digests(run)[name] == digest(read_tensors(run.checkpoint(name))[0]) == expected
        assert read_tensors(run.checkpoint(name))[1]["epoch"] == str(provenance(run)["epochs"][name])
    predictions = {path.name for path in run.predictions.iterdir()}
    assert predictions == {f"{name}.{split}.jsonl" for name in ("best", "clean", "last") for split in SPLITS}
    assert run.prediction("clean", "val").read_bytes() != run.prediction("best", "val").read_bytes()


def test_a_run_with_two_rules_validates_each_split_once_and_can_be_interrupted(workspace, tmp_path, monkeypatch):
    settings, predicted = two_rules(workspace), []
    with monkeypatch.context() as patch:
        patch.setattr(loop, "predict", lambda *arguments: predicted.append(arguments[1]) or predict(*arguments))
        expected = workspace.train(tmp_path / "expected", settings)
    assert len(predicted) == 2 * settings.training.epochs
    rows = history(expected)
    for split in SPLITS:
        assert None not in rows[f"{split}/R1@0.5"] + rows[f"{split}/mAP"]
    means = [(a + b) / 2 for a, b in zip(rows["test/R1@0.5"], rows["test/R1@0.7"], strict=True)]
    epochs = {"best": means.index(max(means)) + 1, "clean": rows["val/mAP"].index(max(rows["val/mAP"])) + 1, "last": 3}
    assert provenance(expected)["epochs"] == epochs
    with monkeypatch.context() as patch:
        interrupt(patch, Trainer, "_step", 8)
        with pytest.raises(Interrupted):
            workspace.train(tmp_path / "run", settings)
    assert_same_run(workspace.train(tmp_path / "run", settings), expected)


def test_the_loop_reads_no_files(workspace, monkeypatch):
    """Features and annotations are in memory, or mapped, before the first step."""
    settings = workspace.settings(epochs=2)
    splits = {name: workspace.split(name) for name in ("train", "val")}
    trainer = Trainer(make_method(settings), settings, splits["train"], splits, TrainingState("x"))
    for owner, name in ((builtins, "open"), (io, "open"), (np, "load"), (json, "loads")):
        monkeypatch.setattr(owner, name, lambda *_, **__: pytest.fail("a file was read"))
    assert [state.epoch for state in trainer.epochs()] == [1, 2]


def test_checkpoints_are_safetensors_and_nothing_is_pickled(finished):
    files = [path for path in finished.path.rglob("*") if path.is_file() and path.name != ".lock"]
    assert {path.suffix for path in files} == {".safetensors", ".json", ".jsonl", ".parquet"}
    for name in CHECKPOINTS:
        header = finished.checkpoint(name).read_bytes()[:16]
        # A length, then JSON: neither a zip archive nor a pickle.
        assert header[8:9] == b"{"


def test_a_finished_run_is_not_trained_again(workspace, finished, tmp_path, capsys, monkeypatch):
    folder = shutil.copytree(finished.path, tmp_path / "run")
    before = {path: path.stat().st_mtime_ns for path in folder.rglob("*.*") if path.is_file()}
    monkeypatch.setattr(run_module, "_train", lambda *arguments: pytest.fail("trained again"))
    workspace.train(folder)
    assert "already trained" in capsys.readouterr().out
    assert {path: path.stat().st_mtime_ns for path in before} == before
    # Other settings in the same folder are another run.
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        workspace.train(folder, workspace.settings(learning_rate=5e-4))
    (folder / "checkpoints" / "best.safetensors").unlink()
    with pytest.raises(pytest.fail.Exception, match="trained again"):
        workspace.train(folder)


class Interrupted(Exception):
    """Stands for a kill in this process."""


def interrupt(monkeypatch, owner, name, call):
    """Raise in the ``call``-th call of a function, before it does anything."""
    original, calls = getattr(owner, name), []

    def interrupted(*arguments, **named):
        calls.append(1)
        if len(calls) == call:
            raise Interrupted
        return original(*arguments, **named)

    monkeypatch.setattr(owner, name, interrupted)


@pytest.mark.parametrize(
    ("owner", "name", "call", "continued"),
    [
        # Three steps per epoch: in the first epoch, in the middle of the second.
        (Trainer, "_step", 2, 0),
        (Trainer, "_step", 5, 1),
        (Trainer, "_validate", 2, 1),
        (TrainingState, "save", 3, 2),
        # After the last epoch: between two checkpoints, and just before the run counts as complete.
        (run_module, "write_tensors", 2, 3),
        (run_module, "write_predictions", 4, 3),
        (run_module, "atomic_write_text", 2, 3),
    ],
)
def test_an_interrupted_run_ends_like_any_other(
    workspace, finished, tmp_path, capsys, monkeypatch, owner, name, call, continued
):
    with monkeypatch.context() as patch:
        interrupt(patch, owner, name, call)
        with pytest.raises(Interrupted):
            workspace.train(tmp_path / "run")
    assert not (tmp_path / "run" / "provenance.json").exists()
    capsys.readouterr()
    run = workspace.train(tmp_path / "run")
    output = capsys.readouterr().out
    assert (f"continuing after epoch {continued} of 3" in output) == bool(continued)
    assert_same_run(run, finished)


def test_a_killed_process_continues_with_the_same_bits(workspace, tmp_path):
    name = "qvhighlights/sa_detr/full/seed2018"
    # Long enough for the kill to hit the middle.
    scale = tmp_path / "tiny.yaml"
    scale.write_text(workspace.scale.read_text().replace("epochs: 3,", "epochs: 12,"))
    results = tmp_path / "results"
    shutil.copytree(workspace.layout.folder, results / "tiny", ignore=shutil.ignore_patterns("runs"))
    command = [sys.executable, "-m", "sadetr", "train", "--run", name, "--scale", str(scale)]
    run = RunFolder(results / "tiny" / "runs" / name)

    process = subprocess.Popen([*command, "--results", str(results)], cwd=CONFIG.parent, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (run.state.exists() and TrainingState.load(run.state).epoch >= 1):
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        process.wait()
    reached = TrainingState.load(run.state).epoch
    assert 1 <= reached < 12
    assert not run.provenance.exists()

    done = subprocess.run(
        [*command, "--results", str(results)], cwd=CONFIG.parent, capture_output=True, text=True, check=True
    )
    assert f"continuing after epoch {reached} of 12" in done.stdout
    assert_same_run(run, workspace.train(tmp_path / "uninterrupted", workspace.settings(epochs=12)))


def damaged_state(kind: str, folder: Path) -> None:
    path = RunFolder(folder).state
    path.parent.mkdir()
    if kind == "foreign":
        TrainingState("another training", epoch=2).save(path)
    elif kind == "truncated":
        TrainingState("another training", epoch=2, weights={"a": torch.zeros(100)}).save(path)
        path.write_bytes(path.read_bytes()[:-50])
    else:
        path.write_bytes(b"no state")


@pytest.mark.parametrize("kind", ["foreign", "truncated", "garbage"])
def test_a_state_that_cannot_be_continued_is_discarded(workspace, finished, tmp_path, capsys, kind):
    damaged_state(kind, tmp_path / "run")
    run = workspace.train(tmp_path / "run")
    output = capsys.readouterr().out
    assert "state.safetensors" in output
    assert "training from the start" in output
    assert_same_run(run, finished)


def test_a_file_in_the_place_of_the_run_folder_is_named(workspace, tmp_path):
    (tmp_path / "blocked").write_text("a file")
    for folder in (tmp_path / "blocked", tmp_path / "blocked" / "run"):
        with pytest.raises(ResultsError, match="blocked"):
            workspace.train(folder)
    assert (tmp_path / "blocked").read_text() == "a file"


def test_a_folder_blocked_at_the_end_keeps_the_state(workspace, finished, tmp_path):
    folder = tmp_path / "run"
    folder.mkdir()
    (folder / "predictions").write_text("a file")
    with pytest.raises(ResultsError, match="predictions"):
        workspace.train(folder)
    assert not RunFolder(folder).provenance.exists()
    assert not list(folder.glob(".*.tmp"))
    (folder / "predictions").unlink()
    assert_same_run(workspace.train(folder), finished)


def test_the_command_line_reports_a_blocked_folder(workspace, tmp_path, capsys, monkeypatch):
    results = tmp_path / "results"
    (results / "tiny").mkdir(parents=True)
    (results / "tiny" / "features").symlink_to(workspace.layout.folder / "features")
    (results / "tiny" / "data").symlink_to(workspace.layout.folder / "data")
    (results / "tiny" / "runs").write_text("a file")
    arguments = ["train", "--run", "qvhighlights/sa_detr/full/seed2018", "--scale", str(workspace.scale)]
    monkeypatch.setattr(sys, "argv", ["sadetr", *arguments, "--results", str(results)])
    with own_torch_state(), pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 1
    error = capsys.readouterr().err
    assert error.startswith("error: ")
    assert "cannot be written" in error


def test_divergence_is_an_error_that_keeps_the_last_good_state(workspace, tmp_path):
    settings = workspace.settings(learning_rate=1e30)
    with pytest.raises(DivergedError, match=r"epoch 1: .* is not finite"):
        workspace.train(tmp_path / "run", settings)
    assert not RunFolder(tmp_path / "run").state.exists()


def test_without_denoising_the_run_trains_too(workspace, tmp_path):
    run = workspace.train(tmp_path / "run", workspace.settings(variant="without_denoising", epochs=1))
    gone = {"loss/noise_l1", "loss/noise_giou", "loss/quality_margin"}
    assert not gone & history(run).keys()


def test_progress_is_one_plain_line_per_epoch_in_a_log(workspace, tmp_path, capsys):
    workspace.train(tmp_path / "run", workspace.settings(epochs=2))
    lines = capsys.readouterr().out.splitlines()
    assert "from the memory map" in lines[0]
    assert "48 training queries" in lines[1]
    # Behind them comes at most a warning: six steps are few.
    assert [line.split("  loss")[0] for line in lines[2:4]] == ["epoch   1/2", "epoch   2/2"]
    assert all(line.startswith("warning: epoch 2: ") for line in lines[4:])


def test_an_unknown_selection_metric_is_named_at_the_first_validation(workspace, tmp_path):
    settings = workspace.settings()
    selection = settings.dataset.selection.model_copy(update={"metrics": ["map"]})
    dataset = settings.dataset.model_copy(update={"selection": selection})
    with pytest.raises(SettingsError, match=r"'map', which has no value on 'val'; known: .*mAP"):
        workspace.train(tmp_path / "run", settings.model_copy(update={"dataset": dataset}))
