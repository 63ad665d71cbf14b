"""What the loop promises, it promises every method: the others too resume bit for bit and keep every checkpoint."""

import pytest

from sadetr.configuration import resolve
from sadetr.layering import named_files
from sadetr.layout import RunFolder
from sadetr.training.checkpoint import TrainingState
from sadetr.training.run import train
from tests.training.conftest import digests, own_torch_state

SCALE = """
extends: %s
label: "generated data: not comparable with the paper"
data: generated
families:
  detr: {hidden_width: 32, dropout: 0.1, input_dropout: 0.2}
"""
OTHERS = sorted(set(named_files("methods")) - {"sa_detr"})


class Interrupted(Exception):
    """Stands for a kill."""


@pytest.mark.parametrize("method", OTHERS)
def test_an_interrupted_training_ends_like_an_uninterrupted_one(workspace, tmp_path, monkeypatch, method):
    scale = tmp_path / "narrow.yaml"
    scale.write_text(SCALE % workspace.scale)
    settings = resolve("qvhighlights", method, "full", 2018, str(scale))
    assert settings.training.epochs == 3

    def run(name: str) -> RunFolder:
        annotations = workspace.layout.annotations(settings.dataset)
        store = workspace.layout.store("qvhighlights")
        with own_torch_state():
            train(settings, store, annotations, tmp_path / name)
        return RunFolder(tmp_path / name)

    expected = digests(run("whole"))
    assert {"best", "last"} <= expected.keys()
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
