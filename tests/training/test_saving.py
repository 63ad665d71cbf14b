"""The resumable state is written beside the training: in order, one at a time, and never claimed before it is there."""

import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import SafetensorError

from sadetr import progress
from sadetr.errors import ResultsError
from sadetr.layering import CONFIG
from sadetr.layout import RunFolder
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer
from sadetr.training.saving import BackgroundSaver
from tests.training.conftest import own_torch_state
from tests.training.test_training import Interrupted, assert_same_run, interrupt

SECONDS = 60
"""After which something that has to happen will not happen any more."""


def state_of(epoch: int) -> TrainingState:
    history = [{"epoch": number} for number in range(1, epoch + 1)]
    return TrainingState("x", epoch, history=history, weights={"a": torch.full((3,), float(epoch))})


class Gate:
    """Writers wait here until they are let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.entered, self.opened, self.inside, self.most = threading.Semaphore(0), threading.Semaphore(0), 0, 0
        save = TrainingState.save

        def waited(state: TrainingState, path: Path) -> None:
            self.inside += 1
            self.most = max(self.most, self.inside)
            self.entered.release()
            assert self.opened.acquire(timeout=SECONDS)
            save(state, path)
            self.inside -= 1

        monkeypatch.setattr(TrainingState, "save", waited)


def test_a_state_is_written_as_it_was_handed_over(tmp_path, monkeypatch):
    gate, state, path = Gate(monkeypatch), state_of(1), tmp_path / "state.safetensors"
    said = []
    with BackgroundSaver(path, lambda saved: said.append((saved.epoch, path.exists()))) as saver:
        saver.save(state)
        assert gate.entered.acquire(timeout=SECONDS)
        # As the next epoch does.
        state.epoch, state.weights = 2, {"a": torch.zeros(3)}
        state.history.append({"epoch": 2})
        assert not path.exists()
        assert not said
        gate.opened.release()
    assert said == [(1, True)]
    loaded, expected = TrainingState.load(path), state_of(1)
    assert (loaded.epoch, loaded.history) == (expected.epoch, expected.history)
    assert torch.equal(loaded.weights["a"], expected.weights["a"])


def test_one_state_is_written_at_a_time_and_in_order(tmp_path, monkeypatch):
    gate, path, handed, said = Gate(monkeypatch), tmp_path / "state.safetensors", [], []

    def hand_over() -> None:
        with BackgroundSaver(path, lambda saved: said.append(saved.epoch)) as saver:
            for epoch in (1, 2, 3):
                saver.save(state_of(epoch))
                handed.append(epoch)

    thread = threading.Thread(target=hand_over)
    thread.start()
    for epoch in (1, 2, 3):
        assert gate.entered.acquire(timeout=SECONDS)
        assert said == list(range(1, epoch))
        # The next one waits.
        assert epoch + 1 not in handed
        gate.opened.release()
    thread.join(SECONDS)
    assert said == handed == [1, 2, 3]
    assert gate.most == 1
    assert TrainingState.load(path).epoch == 3


def test_a_failure_is_raised_at_the_next_state_or_at_the_end(tmp_path, monkeypatch, capsys):
    def fail(state: TrainingState, path: Path) -> None:
        raise ResultsError(f"{path}: cannot be written")

    monkeypatch.setattr(TrainingState, "save", fail)
    said = []
    with BackgroundSaver(tmp_path / "state", said.append) as saver:
        saver.save(state_of(1))
        with pytest.raises(ResultsError, match="cannot be written"):
            saver.save(state_of(2))
    with pytest.raises(ResultsError, match="cannot be written"), BackgroundSaver(tmp_path / "state", said.append) as it:
        it.save(state_of(1))
    assert "cannot be written" not in capsys.readouterr().out
    assert not said


@pytest.mark.parametrize("failure", [ResultsError("state: cannot be written"), MemoryError("no room"), ValueError("?")])
def test_an_error_of_the_trainings_own_goes_first_and_both_are_told(tmp_path, monkeypatch, capsys, failure):
    """Whatever went wrong with the state."""

    def fail(state: TrainingState, path: Path) -> None:
        raise failure

    def train() -> None:
        with BackgroundSaver(tmp_path / "state", print) as saver:
            saver.save(state_of(1))
            raise Interrupted

    monkeypatch.setattr(TrainingState, "save", fail)
    with pytest.raises(Interrupted):
        train()
    said = capsys.readouterr().out.strip()
    assert said == f"saving the last state failed: {type(failure).__name__}: {failure}"


def test_an_epoch_is_trained_while_the_one_before_is_written(workspace, finished, tmp_path, monkeypatch):
    """Each writer waits for a step of the next epoch, and nobody hears of an epoch that cannot be gone on from."""
    run, train_epoch, save = RunFolder(tmp_path / "run"), Trainer._train_epoch, TrainingState.save
    started = [threading.Event() for _ in range(4)]
    ahead = []

    def spied(trainer: Trainer, epoch: int, report: object) -> object:
        started[epoch].set()
        told = progress.read(run.path).epoch
        ahead.append(told - (TrainingState.load(run.state).epoch if run.state.exists() else 0))
        row = train_epoch(trainer, epoch, report)
        if epoch == 2:
            started[3].set()
        return row

    def late(state: TrainingState, path: Path) -> None:
        assert started[state.epoch].wait(SECONDS)
        assert progress.read(run.path).epoch < state.epoch
        save(state, path)

    monkeypatch.setattr(Trainer, "_train_epoch", spied)
    monkeypatch.setattr(TrainingState, "save", late)
    workspace.train(run.path)
    assert max(ahead) <= 0
    assert_same_run(run, finished)


def test_a_full_disk_is_an_error_that_keeps_the_last_state(workspace, finished, tmp_path, monkeypatch):
    run, calls, save_file = RunFolder(tmp_path / "run"), [], safetensors.torch.save_file

    def full(tensors: dict, path: Path, metadata: dict) -> None:
        calls.append(path)
        if len(calls) == 2:
            raise SafetensorError("I/O error: No space left on device (os error 28)")
        save_file(tensors, path, metadata)

    with monkeypatch.context() as patch:
        patch.setattr(safetensors.torch, "save_file", full)
        with pytest.raises(ResultsError, match=r"state\.safetensors: cannot be written .*No space left"):
            workspace.train(run.path)
    assert TrainingState.load(run.state).epoch == progress.read(run.path).epoch == 1
    assert not list(run.path.rglob(".*.tmp"))
    assert_same_run(workspace.train(run.path), finished)


def test_the_last_epochs_state_is_there_before_the_run_is_finished(workspace, finished, tmp_path, monkeypatch):
    """What goes wrong with the last state goes wrong before anything is made of it."""
    run = RunFolder(tmp_path / "run")
    with monkeypatch.context() as patch:
        interrupt(patch, TrainingState, "save", 3)
        with pytest.raises(Interrupted):
            workspace.train(run.path)
    assert not run.checkpoint("last").exists()
    assert TrainingState.load(run.state).epoch == 2
    assert_same_run(workspace.train(run.path), finished)


def test_what_others_are_writing_in_the_run_folder_stays(workspace, tmp_path):
    """Half-written files are removed where none but a training writes them; it holds the folder's lock."""
    run = RunFolder(tmp_path / "run")
    own = [*run.trained, run.state, run.path / progress.FILE, run.checkpoint("last"), run.prediction("best", "val")]
    others = [run.predicted("best", "val"), run.metrics, run.query_scores, run.predictions / "mine.jsonl"]
    halves = [[path.with_name(f".{path.name}.0a1b2c3d.tmp") for path in paths] for paths in (own, others)]
    for half in [*halves[0], *halves[1]]:
        half.parent.mkdir(parents=True, exist_ok=True)
        half.touch()
    # As the writer of tensors has.
    folder = run.path / f".{run.state.name}.x1y2z3_4.tmp"
    folder.mkdir()
    (folder / run.state.name).touch()
    workspace.train(run.path, workspace.settings(epochs=1))
    assert sorted(run.path.rglob(".*.tmp")) == sorted(halves[1])


STALLED = """
import os, sys, time
from pathlib import Path
import safetensors.torch

save_file, calls = safetensors.torch.save_file, []

def stalled(tensors, path, metadata):
    save_file(tensors, path, metadata)
    calls.append(path)
    if len(calls) == 2:
        os.truncate(path, Path(path).stat().st_size // 2)
        Path(os.environ["STALLED"]).touch()
        time.sleep(600)

safetensors.torch.save_file = stalled
from sadetr.cli import main
main()
"""


def test_a_kill_while_a_state_is_written_leaves_the_one_before(workspace, finished, tmp_path, capsys):
    name = "qvhighlights/sa_detr/full/seed2018"
    results, stalled = tmp_path / "results", tmp_path / "stalled"
    (results / "tiny").mkdir(parents=True)
    for part in ("features", "data"):
        (results / "tiny" / part).symlink_to(workspace.layout.folder / part)
    run = RunFolder(results / "tiny" / "runs" / name)
    arguments = ["train", "--run", name, "--scale", str(workspace.scale), "--results", str(results)]
    process = subprocess.Popen(
        [sys.executable, "-c", STALLED, *arguments],
        cwd=CONFIG.parent,
        env={"STALLED": str(stalled), "OMP_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
    )
    try:
        deadline = time.monotonic() + SECONDS
        while not stalled.exists():
            assert process.poll() is None, "the training ended before it could be killed"
            assert time.monotonic() < deadline
            time.sleep(0.01)
    finally:
        process.kill()
        assert process.wait() == -signal.SIGKILL
    assert TrainingState.load(run.state).epoch == progress.read(run.path).epoch == 1
    assert list(run.path.glob(".state.safetensors.*.tmp"))
    with own_torch_state():
        workspace.train(run.path)
    assert "continuing after epoch 1 of 3" in capsys.readouterr().out
    assert not list(run.path.rglob(".*.tmp"))
    assert_same_run(run, finished)
