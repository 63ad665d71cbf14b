"""Rows and splits without labels through a whole run: training, predictions, scores, `predict`."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.errors import DataError, SadetrError
from sadetr.experiments import RunId
from sadetr.layout import Layout
from sadetr.reporting.scoring import score_run
from sadetr.settings import Selection
from sadetr.training.loop import Trainer
from sadetr.training.run import train
from tests.training.conftest import Workspace, digests, own_torch_state, provenance

RUN = RunId("qvhighlights", "sa_detr", "full", 2018)
WINDOWS = ("relevant_windows",)
SALIENCY = ("saliency_scores", "relevant_clip_ids")


@pytest.fixture
def copy(workspace: Workspace, tmp_path: Path) -> Layout:
    """The workspace's data and features under results of its own."""
    layout = Layout(workspace.layout.scale, tmp_path / "results")
    for path in (workspace.layout.data_root, workspace.layout.store("qvhighlights")):
        shutil.copytree(path, layout.folder / path.relative_to(workspace.layout.folder))
    return layout


def edit(layout: Layout, workspace: Workspace, split: str, change: Callable[[list[dict]], list[dict]]) -> None:
    path = layout.annotations(workspace.settings().dataset)[split]
    rows = change([json.loads(line) for line in path.read_text().splitlines()])
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))


def hide(*fields: str, rows: slice = slice(None)) -> Callable[[list[dict]], list[dict]]:
    def change(found: list[dict]) -> list[dict]:
        for row in found[rows]:
            for field in fields:
                row.pop(field)
        return found

    return change


def trained(layout: Layout, workspace: Workspace, **dataset):
    settings = workspace.settings(epochs=1)
    settings = settings.model_copy(update={"dataset": settings.dataset.model_copy(update=dataset)})
    folder = layout.run(RUN)
    with own_torch_state():
        store = layout.store("qvhighlights")
        train(settings, store, layout.annotations(settings.dataset), folder.path)
    return folder


def predicted(layout: Layout, *arguments: str):
    scale = ["--scale", layout.scale.reference, "--results", str(layout.results)]
    with own_torch_state():
        return CliRunner().invoke(app, ["predict", *arguments, *scale])


@pytest.mark.parametrize("fields", [WINDOWS, SALIENCY, SALIENCY[:1]], ids="+".join)
def test_a_training_row_without_labels_is_as_if_it_were_not_there(workspace, copy, tmp_path, capsys, fields):
    other = Layout(copy.scale, tmp_path / "other")
    shutil.copytree(copy.folder, other.folder)
    edit(copy, workspace, "train", hide(*fields, rows=slice(4, 6)))
    edit(other, workspace, "train", lambda rows: rows[:4] + rows[6:])
    run = trained(copy, workspace)
    printed = capsys.readouterr().out
    assert f"2 of 48 queries have no {fields[0]} and are left out of training (qid " in printed
    assert "46 training queries" in printed
    assert digests(run) == digests(trained(other, workspace))
    assert provenance(run)["training_queries"] == 46
    assert provenance(run)["training_queries_without_labels"] == 2


def test_an_unlabelled_test_split_is_predicted_and_the_rest_is_scored(workspace, finished, copy, capsys):
    edit(copy, workspace, "test", hide(*WINDOWS, *SALIENCY))
    run = trained(copy, workspace)
    assert provenance(run)["training_queries_without_labels"] == 0
    assert len(run.prediction("best", "test").read_text().splitlines()) == 8
    score_run(RUN, copy)
    printed = capsys.readouterr().out
    assert "highlight_test_with_gt.jsonl: no query has relevant_windows: moment metrics have no value" in printed
    rows = pq.read_table(run.metrics).to_pylist()
    values = {(row["split"], row["metric"]): row["value"] for row in rows if row["checkpoint"] == "best"}
    assert values["val", "mAP"] is not None
    assert values["test", "mAP"] is values["test", "HD_mAP"] is None
    shares = {key: value for key, value in values.items() if key[1].startswith("labelled")}
    assert shares == {("test", "labelled_windows"): 0, ("test", "labelled_saliency"): 0}


def test_partly_labelled_splits_are_scored_on_what_they_have(workspace, copy, capsys):
    edit(copy, workspace, "val", hide(*WINDOWS, rows=slice(0, 3)))
    edit(copy, workspace, "test", hide(*SALIENCY, rows=slice(0, 2)))
    run = trained(copy, workspace)
    assert "in selecting checkpoints, 3 of 12 queries have no relevant_windows" in capsys.readouterr().out
    score_run(RUN, copy)
    assert "2 of 8 queries have no saliency_scores and are left out of all highlight" in capsys.readouterr().out
    rows = [row for row in pq.read_table(run.metrics).to_pylist() if row["checkpoint"] == "last"]
    values = {(row["split"], row["metric"]): row["value"] for row in rows}
    assert (values["val", "labelled_windows"], values["test", "labelled_saliency"]) == (75, 75)
    assert None not in (values["val", "mAP"], values["test", "HD_mAP"])


@pytest.mark.parametrize(
    ("split", "fields", "dataset", "message"),
    [
        ("val", WINDOWS, {}, "val_release.jsonl: no row has relevant_windows, so checkpoint 'best' cannot be selected"),
        ("val", SALIENCY, {"selection": Selection(metrics=["HIT@1"])}, "no row has saliency_scores, so checkpoint"),
        ("test", WINDOWS, {"clean_selection": Selection(split="test")}, "under clean_selection in the setting"),
        ("train", WINDOWS, {}, "there is nothing to train on"),
        ("train", SALIENCY, {}, "or choose the setting's saliency rule 'window'"),
    ],
)
def test_what_cannot_be_selected_or_trained_on_is_refused_before_the_first_epoch(
    workspace, copy, monkeypatch, split, fields, dataset, message
):
    monkeypatch.setattr(Trainer, "epochs", lambda trainer: pytest.fail("an epoch was trained"))
    edit(copy, workspace, split, hide(*fields))
    with pytest.raises(DataError, match=message.replace("(", r"\(")):
        trained(copy, workspace, **dataset)
    assert not copy.run(RUN).state.exists()


def test_a_saliency_free_validation_split_selects_by_moments(workspace, copy):
    edit(copy, workspace, "val", hide(*SALIENCY))
    history = pq.read_table(trained(copy, workspace).history).to_pydict()
    assert history["val/mAP"] != [None]
    assert history["val/HD_mAP"] == [None]


@pytest.fixture
def run_in_place(finished, copy) -> Layout:
    """The finished run, where the command line looks for it."""
    shutil.copytree(finished.path, copy.run(RUN).path)
    return copy


def contents(folder: Path) -> dict[str, tuple[bytes, int]]:
    return {str(path): (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize(("checkpoint", "split"), [("best", "val"), ("last", "test")])
def test_predict_writes_what_the_training_wrote_and_touches_nothing_else(workspace, run_in_place, checkpoint, split):
    edit(run_in_place, workspace, split, hide(*WINDOWS, *SALIENCY))
    run = run_in_place.run(RUN)
    before, folder_times = contents(run.path), run.predictions.stat().st_mtime_ns
    done = predicted(run_in_place, "--run", str(RUN), "--split", split, "--checkpoint", checkpoint)
    assert done.exit_code == 0, done.output
    written = run.predicted(checkpoint, split)
    assert str(written) in done.output
    assert written.read_bytes() == run.prediction(checkpoint, split).read_bytes()
    assert contents(run.path).items() - before.items() == {(str(written), contents(run.path)[str(written)])}
    assert before.items() <= contents(run.path).items()
    assert run.predictions.stat().st_mtime_ns == folder_times


def test_predict_takes_splits_that_are_not_reported(run_in_place, tmp_path):
    out = tmp_path / "train.jsonl"
    done = predicted(run_in_place, "--run", str(RUN), "--split", "train", "--out", str(out))
    assert done.exit_code == 0, done.output
    assert len(out.read_text().splitlines()) == 48
    assert not run_in_place.run(RUN).predicted("best", "train").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--run", str(RUN), "--split", "dev"], "no split 'dev' in setting 'qvhighlights'; known: train, val, test"),
        (["--run", str(RUN), "--split", "val", "--checkpoint", "clean"], "it is one of best, last"),
        (["--run", str(RUN), "--split", "val", "--method", "sa_detr"], "so --method does nothing here"),
        (["--run", str(RUN), "--split", "val", "--setting", "tacos"], "so --setting does nothing here"),
        (["--run", "qvhighlights/sa_detr/full/seed9", "--split", "val"], "train the run first"),
        (["--split", "val"], "say what to predict with"),
        (["--split", "val", "--setting", "qvhighlights", "--out", "p.jsonl"], "say what to predict with"),
        (["--split", "val", "--checkpoint", "f", "--setting", "qvhighlights"], "say what to predict with"),
    ],
)
def test_predict_refuses_what_it_cannot_do(run_in_place, arguments, message):
    done = predicted(run_in_place, *arguments)
    assert isinstance(done.exception, SadetrError)
    assert message in str(done.exception)
