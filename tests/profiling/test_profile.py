"""A profile covers what a step consists of, for every method, and changes nothing about it."""

import contextlib
import io
import json
from pathlib import Path
from typing import Any

import pytest
import torch

from sadetr.configuration import resolve
from sadetr.errors import SettingsError
from sadetr.layering import named_files
from sadetr.models.construction import make_method
from sadetr.profiling import command
from sadetr.profiling.command import profile_run
from sadetr.profiling.instruments import WATCHED, watched
from sadetr.profiling.parts import OperatorCounter, Parts
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.checkpoint import TrainingState, digest
from sadetr.training.loop import Trainer
from tests.training.conftest import Workspace, own_torch_state

STEP = ("waiting for the batch", "transfer", "step")
PARTS = ("forward", "objective", "backward", "clipping", "optimiser")


def trained(workspace: Workspace, settings: RunSettings, instruments: Any) -> str:
    """Digest of the weights after two epochs inside what ``instruments`` makes of the network."""
    Streams(settings.seed).seed_global("initialisation", 0)
    model = make_method(settings)
    splits = {name: workspace.split(name) for name in ("train", "val", "test")}
    state = TrainingState("")
    with instruments(model), contextlib.redirect_stdout(io.StringIO()):
        epochs = Trainer(model, settings, splits["train"], splits, state).epochs()
        next(epochs)
        next(epochs)
        epochs.close()
    return digest(state.weights)


@pytest.mark.parametrize("method", named_files("methods"))
def test_nothing_changes_and_every_part_is_seen(workspace: Workspace, method: str) -> None:
    settings = resolve("qvhighlights", method, "full", 2018, str(workspace.scale))
    parts = Parts(torch.device("cpu"))

    @contextlib.contextmanager
    def counted(model):
        with watched(parts, model), OperatorCounter(parts):
            yield

    before = [getattr(owner, name) for owner, name, _ in WATCHED]
    with own_torch_state():
        assert trained(workspace, settings, counted) == trained(workspace, settings, contextlib.nullcontext)
    assert [getattr(owner, name) for owner, name, _ in WATCHED] == before
    for path in [f"training/{name}" for name in STEP] + [f"training/step/{name}" for name in PARTS]:
        assert parts.totals[path].calls, path
    assert {"gathering", "validation/prediction/forward", "validation/scoring", "snapshot"} < set(parts.totals)
    networks = [path for path in parts.totals if path.startswith("training/step/forward/")]
    losses = [path for path in parts.totals if path.startswith("training/step/objective/")]
    assert networks
    # VSLNet's and 2D-TAN's own objectives may be of one piece.
    assert losses or method in ("vslnet", "two_d_tan")
    for path, total in parts.totals.items():
        inner = [each.seconds for other, each in parts.totals.items() if other.rpartition("/")[0] == path]
        assert sum(inner) <= total.seconds or not total.calls
    forward, backward = (
        sum(each.flops for path, each in parts.totals.items() if f"{path}/".startswith(f"training/step/{name}/"))
        for name in ("forward", "backward")
    )
    # Gradients of weights and of inputs cost a product each. The first layers' inputs and masks have none, and torch
    # counts more than there is for convolutions of single channels, as VSLNet has them.
    assert 0.8 * forward < backward < 4 * forward


def test_steps_that_no_training_could_take_are_an_error_before_anything_is_measured(
    workspace: Workspace, tmp_path: Path, monkeypatch
) -> None:
    execution = workspace.settings().execution.model_copy(update={"step": "captured"})
    settings = workspace.settings().model_copy(update={"execution": execution})
    annotations = workspace.layout.annotations(settings.dataset)
    measured = []
    monkeypatch.setattr(command, "measure_limits", measured.append)
    with own_torch_state(), pytest.raises(SettingsError, match=r"execution.step is 'captured', which needs a GPU"):
        profile_run(settings, workspace.layout.store("qvhighlights"), annotations, 2, tmp_path / "out")
    assert not measured
    assert not (tmp_path / "out").exists()


def test_the_command_leaves_a_table_and_a_trace(workspace: Workspace, tmp_path: Path, capsys) -> None:
    settings = workspace.settings()
    annotations = workspace.layout.annotations(settings.dataset)
    with own_torch_state():
        profile_run(settings, workspace.layout.store("qvhighlights"), annotations, 2, tmp_path)
    printed = capsys.readouterr().out
    for word in (
        "aligner",
        "refiner",
        "matching.match",
        "backward",
        "saving",
        "GFLOP",
        "of limit",
        "a whole epoch (3 ",
    ):
        assert word in printed
    assert sorted(path.name for path in tmp_path.iterdir()) == ["profile.json", "trace.json"]
    values = json.loads((tmp_path / "profile.json").read_text())
    by_part = {part["part"]: part for part in values["parts"]}
    assert by_part["training/step"]["calls"] == 1
    assert by_part["training"]["ms"] >= by_part["training/step"]["ms"] > 0
    # 48 queries are three steps of 20, and two are timed.
    assert values["epoch_s"]["training"] == pytest.approx(3 * by_part["training"]["ms"] / 1000, abs=1e-5)
    events = json.loads((tmp_path / "trace.json").read_text())["traceEvents"]
    names = {event.get("name") for event in events}
    assert {"training", "aligner", "backward", "clipping", "optimiser", "aten::addmm"} < names
