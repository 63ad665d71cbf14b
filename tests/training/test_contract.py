"""What methods may ask of the loop beside the defaults: rankings, optimisers, schedules, objectives that change."""

import shutil
from dataclasses import dataclass

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from torch import Tensor, nn

from sadetr.configuration import load_scale
from sadetr.data.store import FeatureStore
from sadetr.errors import SettingsError
from sadetr.evaluation.moment_retrieval import pairwise_iou
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.experiments import RunId, run_settings
from sadetr.inspection.query import inspect_query
from sadetr.layout import Layout, RunFolder
from sadetr.models.interface import Batch, Method, Output, Step
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer
from sadetr.training.predictor import run_predictor
from sadetr.training_settings import ScheduleSettings
from tests.training.conftest import digests, own_torch_state

NAME = "qvhighlights/sa_detr/full/seed2018"
RANKED = """
extends: {scale}
label: "generated data: not comparable with the paper"
data: generated
method_training:
  sa_detr: {{ranking: {{kind: nms, threshold: 0.3, kept: 4}}}}
"""
OVERLAP = 0.3


@dataclass(frozen=True)
class Ranked:
    """The default training with suppression, where a run of its name lies."""

    layout: Layout
    run: RunFolder


@pytest.fixture(scope="module")
def ranked(workspace, tmp_path_factory) -> Ranked:
    folder = tmp_path_factory.mktemp("ranked")
    scale = folder / "ranked.yaml"
    scale.write_text(RANKED.format(scale=workspace.scale))
    layout = Layout(load_scale(str(scale)), folder / "results")
    shutil.copytree(workspace.layout.folder, layout.folder, ignore=shutil.ignore_patterns("runs"))
    settings = run_settings(RunId.parse(NAME), str(scale))
    return Ranked(layout, workspace.train(layout.run(RunId.parse(NAME)).path, settings))


def history(run: RunFolder) -> dict[str, list]:
    return pq.read_table(run.history).drop_columns("seconds").to_pydict()


def test_suppression_changes_what_is_scored_and_nothing_that_is_trained(finished, ranked):
    assert digests(ranked.run)["last"] == digests(finished)["last"]
    plain, ours = history(finished), history(ranked.run)
    assert ours["loss"] == plain["loss"]
    # The first window stays, all others may go.
    assert ours["val/R1@0.5"] == plain["val/R1@0.5"]
    assert ours["val/mAP"] != plain["val/mAP"]


def test_checkpoints_are_selected_by_what_is_written(workspace, ranked):
    values, split = history(ranked.run)["val/mAP"], workspace.split("val")
    for checkpoint, value in (("best", max(values)), ("last", values[-1])):
        rows = read_predictions(ranked.run.prediction(checkpoint, "val"), split.queries)
        metrics = evaluate(rows, split.queries, highlights=True, clip_length=split.dataset.clip_length)
        assert metrics["mAP"] == value
        for row in rows:
            # Behind rounding: what is written does not overlap.
            windows = np.array(row["pred_relevant_windows"])
            assert 1 <= len(windows) <= 4
            assert not (windows[:, :2] % 2).any()
            overlaps = pairwise_iou(windows[:, None, :2], windows[:, :2])
            assert overlaps[~np.eye(len(windows), dtype=bool)].max(initial=0) <= OVERLAP


def test_whoever_predicts_later_ranks_as_the_run_did(workspace, ranked):
    run, queries = RunId.parse(NAME), workspace.split("val").queries
    written = read_predictions(ranked.run.prediction("best", "val"), queries)
    store = FeatureStore.open(ranked.layout.store("qvhighlights"))
    with own_torch_state():
        again = run_predictor(run, ranked.layout, "best", lambda: store)(queries)
    assert again == written
    assert (
        inspect_query(run, ranked.layout, str(queries[0].qid)).windows.tolist() == written[0]["pred_relevant_windows"]
    )


@pytest.mark.parametrize(
    "training",
    [
        {"optimiser": "adam", "weight_decay": 0.0},
        {"decayed": "matrices", "weight_decay": 0.1},
        {"schedule": ScheduleSettings(hold_epochs=0, warmup_epochs=2, unit="step")},
        {"schedule": ScheduleSettings(shape="milestones", milestones=[1, 2])},
        {"schedule": ScheduleSettings(shape="plateau", patience=0, better="higher", step_factor=0.3)},
    ],
    ids=["adam", "matrices", "steps", "milestones", "plateau"],
)
def test_every_optimiser_and_schedule_resumes_with_the_same_bits(workspace, finished, tmp_path, monkeypatch, training):
    settings = workspace.settings(**training)
    expected = workspace.train(tmp_path / "whole", settings)
    assert digests(expected)["last"] != digests(finished)["last"]
    save = TrainingState.save

    def interrupted(state: TrainingState, path) -> None:
        save(state, path)
        if state.epoch == 2:
            raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", interrupted)
        with pytest.raises(KeyboardInterrupt):
            workspace.train(tmp_path / "run", settings)
    run = workspace.train(tmp_path / "run", settings)
    assert digests(run) == digests(expected)
    assert history(run) == history(expected)


def test_every_step_has_its_rate(workspace, monkeypatch):
    """Three steps an epoch; the history holds the first one's."""
    settings = workspace.settings(schedule=ScheduleSettings(hold_epochs=0, warmup_epochs=2, unit="step"))
    splits, used = {name: workspace.split(name) for name in ("train", "val")}, []
    take = Trainer._step

    def recorded(trainer: Trainer, *arguments):
        used.append([group["lr"] for group in trainer._optimiser.param_groups])
        return take(trainer, *arguments)

    monkeypatch.setattr(Trainer, "_step", recorded)
    state = TrainingState("x")
    for _ in Trainer(Counting(), settings, splits["train"], splits, state).epochs():
        pass
    rate = settings.training.learning_rate
    expected = [rate * min((step + 1) / 6, 1) * (1 - step / 9) for step in range(9)]
    assert [value for (value,) in used] == pytest.approx(expected)
    assert [row["learning_rate"] for row in state.history] == pytest.approx(expected[::3])


def test_a_plateau_is_of_the_loss_on_the_split_that_is_watched(workspace):
    """That loss rises with the epochs here, so that only the first one is the best."""
    schedule = ScheduleSettings(shape="plateau", patience=1, step_factor=0.5)
    settings = workspace.settings(schedule=schedule, epochs=6)
    splits, state = {name: workspace.split(name) for name in ("train", "val")}, TrainingState("x")
    for _ in Trainer(Counting(), settings, splits["train"], splits, state).epochs():
        pass
    assert [int(row["val/loss"]) for row in state.history] == [0, 1, 2, 4, 5, 6]
    rate = settings.training.learning_rate
    assert [row["learning_rate"] / rate for row in state.history] == [1, 1, 1, 0.5, 0.5, 0.25]
    elsewhere = workspace.settings(schedule=schedule.model_copy(update={"watched_split": "dev"}))
    with pytest.raises(SettingsError, match=r"watched_split: 'dev'.*train, val"):
        Trainer(Counting(), elsewhere, splits["train"], splits, TrainingState("x"))


@dataclass(frozen=True)
class CountedOutput(Output):
    """A field behind the base's, as methods have them."""

    offset: Tensor


class Counting(Method):
    """Its objective is the number of finished epochs, and one loss waits until half of the training is over."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, step: Step | None = None) -> CountedOutput:
        spans = torch.full((len(batch), 1, 2), 0.5) + self.offset
        return CountedOutput(spans, spans[..., 0], batch.video_mask.float(), offset=self.offset, step=step)

    def objective(self, output: CountedOutput, batch: Batch) -> dict[str, Tensor]:
        epoch, late = (0, False) if output.step is None else (output.step.epoch, output.step.progress >= 0.5)
        terms = {"epoch": 0 * output.offset + epoch}
        return terms | ({"late": output.offset.square() + 1} if late else {})


def test_an_objective_may_follow_the_epochs(workspace):
    settings = workspace.settings(epochs=4)
    splits = {name: workspace.split(name) for name in ("train", "val")}
    model = Counting()
    state = TrainingState("x")
    for _ in Trainer(model, settings, splits["train"], splits, state).epochs():
        pass
    assert [row["loss/epoch"] for row in state.history] == [0, 1, 2, 3]
    assert [row.get("loss/late") is None for row in state.history] == [True, True, False, False]
    # Continued, it goes on counting.
    halfway = TrainingState("x", 2, history=state.history[:2], weights=state.weights, optimiser=state.optimiser)
    rest = [reached.history[-1] for reached in Trainer(model, settings, splits["train"], splits, halfway).epochs()]
    assert [row["loss/epoch"] for row in rest] == [2, 3]


def test_outside_training_there_is_no_step(workspace):
    batch = next(workspace.split("val").prediction_batches(5))
    model = Counting()
    assert model(batch).step is None
    assert model.objective(model(batch), batch)["epoch"] == 0
    assert model(batch, Step(3, 12, torch.Generator())).step.progress == 0.25
