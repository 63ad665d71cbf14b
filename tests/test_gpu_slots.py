"""How many trainings share a GPU is asked for with --config, and reaches every training."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from sadetr.cli import app
from sadetr.commandline import check_config
from sadetr.errors import SettingsError
from sadetr.experiments import RunId
from sadetr.forecast.trainings import recorded_gpu_memory
from sadetr.training.devices import RESERVE_MIB, Share
from sadetr.workflow import Workflow


def test_by_default_a_gpu_has_one_run():
    flow = Workflow({})
    assert flow.runs_per_gpu == 1
    assert flow.command(["python"], "train", ["gpu"]) == "python -m sadetr train"


def test_numbers_become_options_of_trainings():
    config = {"runs_per_gpu": 4, "gpu_memory": 9000}
    check_config(["--config", "runs_per_gpu=4", "gpu_memory=9000"], config)
    flow = Workflow(config)
    assert flow.runs_per_gpu == 4
    assert flow.command(["python"], "train", ["gpu"]).endswith("train --runs-per-gpu 4 --gpu-memory 9000")
    assert "gpu" not in flow.command(["python"], "table", ["scale", "results", "data", "seeds"])


@pytest.mark.parametrize("value", [0, -1, "four", 1.5, True])
def test_what_is_no_number_of_runs(value):
    with pytest.raises(SettingsError, match=rf"runs_per_gpu={value}: expected a whole number above 0"):
        Workflow({"runs_per_gpu": value})


def test_memory_is_that_of_the_recorded_step(tmp_path: Path):
    """Larger with the batch, the most of all GPUs, and unknown for other methods and narrow networks."""
    step = {"benchmark": "training_step", "variant": "full", "measured": "peak_memory", "batch": [16, 75, 2818]}
    rows = [
        step | {"method": "sa_detr", "device": "GPU A", "mib": 1000.0},
        step | {"method": "sa_detr", "device": "GPU B", "mib": 1100.0},
    ]
    (tmp_path / "training_step.cuda.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    run = RunId("qvhighlights", "sa_detr", "full", 2018)
    assert recorded_gpu_memory(run, "paper", tmp_path) == 2 * 1100
    assert recorded_gpu_memory(RunId("qvhighlights", "qd_detr", "full", 2018), "paper", tmp_path) is None
    assert recorded_gpu_memory(run, "mini", tmp_path) is None
    assert recorded_gpu_memory(run, "paper", tmp_path / "absent") is None


@pytest.mark.parametrize(
    ("options", "recorded", "share"),
    [
        ([], None, Share(1, None, reserve_mib=RESERVE_MIB)),
        ([], 9000.0, Share(1, None, reserve_mib=9000.0)),
        (["--runs-per-gpu", "2"], 9000.0, Share(2, 9000.0, reserve_mib=9000.0)),
        (["--runs-per-gpu", "2", "--gpu-memory", "700"], 900.0, Share(2, 700)),
    ],
)
def test_a_training_is_told_what_is_recorded(monkeypatch, tmp_path: Path, options, recorded, share):
    """Checked where GPUs are shared; elsewhere features leave that much free."""
    seen = []
    monkeypatch.setattr("sadetr.forecast.trainings.recorded_gpu_memory", lambda run, scale: recorded)
    monkeypatch.setattr("sadetr.training.run.train", lambda *arguments: seen.append(arguments[-1]))
    where = ["--scale", "paper", "--results", str(tmp_path), "--data-root", str(tmp_path)]
    done = CliRunner().invoke(app, ["train", "--run", "qvhighlights/sa_detr/full/seed2018", *where, *options])
    assert done.exit_code == 0, done.output
    assert seen == [share]
