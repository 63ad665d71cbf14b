"""What a training lets others see while it runs, and what it leaves to be checked."""

import hashlib

import pytest

from sadetr import progress
from sadetr.training.loop import Trainer
from sadetr.training.saving import BackgroundSaver
from tests.training.conftest import provenance
from tests.training.test_training import Interrupted, assert_same_run, history, interrupt


def test_every_epoch_is_seen_while_the_training_runs(workspace, tmp_path, monkeypatch):
    seen, train_epoch = [], Trainer._train_epoch

    def spied(trainer, *arguments):
        seen.append((progress.is_alive(tmp_path / "run"), progress.read(tmp_path / "run")))
        return train_epoch(trainer, *arguments)

    save = BackgroundSaver.save
    monkeypatch.setattr(Trainer, "_train_epoch", spied)
    monkeypatch.setattr(BackgroundSaver, "save", lambda saver, state: (save(saver, state), saver._wait()))
    run = workspace.train(tmp_path / "run")
    assert [alive for alive, _ in seen] == [True] * 3
    reached = [each for _, each in seen]
    assert [(each.epoch, each.epochs) for each in reached] == [(0, 3), (1, 3), (2, 3)]
    rows = history(run)["val/mAP"]
    assert {each.metric for each in reached} == {"val mAP"}
    assert [each.best for each in reached] == [None, rows[0], max(rows[:2])]
    assert reached[2].seconds > reached[1].seconds > reached[0].seconds == 0
    assert reached[2].device == provenance(run)["device"]
    assert not (run.path / progress.FILE).exists()


def test_an_interrupted_training_says_where_it_stopped_and_a_wrong_file_changes_nothing(
    workspace, finished, tmp_path, monkeypatch
):
    with monkeypatch.context() as patch:
        interrupt(patch, Trainer, "_step", 5)
        with pytest.raises(Interrupted):
            workspace.train(tmp_path / "run")
    assert progress.read(tmp_path / "run").epoch == 1
    assert not progress.is_alive(tmp_path / "run")
    (tmp_path / "run" / progress.FILE).write_text("{}")
    assert_same_run(workspace.train(tmp_path / "run"), finished)
    assert not (tmp_path / "run" / progress.FILE).exists()


def test_provenance_holds_the_checksum_of_every_other_file(finished):
    recorded = provenance(finished)["files_sha256"]
    files = {path for path in finished.path.rglob("*") if path.is_file() and path.name != progress.LOCK}
    files -= {finished.provenance}
    assert recorded == {
        str(path.relative_to(finished.path)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files
    }
