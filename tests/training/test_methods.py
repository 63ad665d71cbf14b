"""What the loop promises, it promises every method: the baselines resume bit for bit and keep every checkpoint."""

import pyarrow.parquet as pq
import pytest

from sadetr.configuration import resolve
from sadetr.layout import RunFolder
from sadetr.training.checkpoint import TrainingState
from sadetr.training.run import train
from tests.training.conftest import digests, own_torch_state


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("method", ["moment_detr", "qd_detr"])
def test_an_interrupted_baseline_ends_like_an_uninterrupted_one(workspace, tmp_path, monkeypatch, method):
    settings = resolve("qvhighlights", method, "full", 2018, str(workspace.scale))
    narrow = {"hidden_width": 32, "dropout": 0.1, "input_dropout": 0.2}
    settings = settings.model_copy(
        update={
            "model": settings.model.model_copy(update=narrow),
            "training": settings.training.model_copy(update={"epochs": 3}),
        }
    )

    def run(name: str) -> RunFolder:
        annotations = workspace.layout.annotations(settings.dataset)
        store = workspace.layout.store("qvhighlights")
        with own_torch_state():
            train(settings, store, annotations, tmp_path / name)
        return RunFolder(tmp_path / name)

    expected = digests(run("whole"))
    assert {"best", "last"} <= expected.keys()
    # No quality is predicted, so none is watched.
    assert not any(name.startswith("monitor/") for name in pq.read_schema(tmp_path / "whole/history.parquet").names)
    save = TrainingState.save

    def interrupted(state, path):
        save(state, path)
        if state.epoch == 2:
            raise Interrupted

    with monkeypatch.context() as patch:
        patch.setattr(TrainingState, "save", interrupted)
        with pytest.raises(Interrupted):
            run("interrupted")
    finished = run("interrupted")
    assert digests(finished) == expected
    assert all(finished.prediction(name, "val").exists() for name in ("best", "last"))
