"""The scripts in ``benchmarks/`` run, each on the least that it takes; what they measure is no test's business."""

import contextlib
import importlib
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import pandas as pd
import pytest
from typer.testing import CliRunner

from sadetr.cli import app
from sadetr.layering import named_files
from tests.training.conftest import own_torch_state

pytestmark = pytest.mark.long
ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
REAL_ANNOTATIONS = {
    "batch_composition": [],
    "full_size_training": ["--steps", "1", "--queries", "32", "--threads", "1"],
    "simulated_difficulty": ["--fit", "60", "--judge", "20"],
}
"""Script -> options, of those that read official annotations."""
SELF_CONTAINED = {
    "batch": ["--queries", "6", "--batches", "1", "--threads", "1"],
    "dag_overhead": ["--repeats", "1"],
    "evaluation": ["--method", "vslnet", "--queries", "4", "--repeats", "1", "--threads", "1"],
    "feature_store": ["--queries", "6", "--batch", "2", "--batches", "1", "--clips", "10"],
    "matching": ["--repeats", "2", "--problems", "100"],
    "memory": ["--method", "vslnet", "--steps", "1", "--threads", "1"],
    "saving": ["--method", "vslnet", "--repeats", "1"],
    "scorer": ["--largest", "2000"],
    "taped_step": ["--methods", "moment_detr", "--steps", "2"],
    "training_step": ["--method", "moment_detr", "--steps", "1", "--threads", "1"],
}


LESS = {
    "batch_composition": {"SETTINGS": ("tacos",), "BUCKETS": (1, 8), "EPOCHS": 1},
    "dag_overhead": {"PLANNED": "table5"},
    "full_size_training": {"SCALE": "mini"},
    "scorer": {"REPEATS": 1},
    "training_step": {"SCALE": "mini", "WARMING_STEPS": 1},
}
"""Script -> constants, of those that take long as they are."""


@pytest.fixture(scope="module", autouse=True)
def importable() -> Iterator[None]:
    """Scripts import each other from their folder, as Python lets them."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(FOLDER))
        yield


def lines(script: str, *options: str) -> list[dict]:
    """What ``script`` prints; every line is JSON. It is called in this process: importing torch takes seconds."""
    module, printed = importlib.import_module(script), io.StringIO()
    with pytest.MonkeyPatch.context() as patch, own_torch_state(), contextlib.redirect_stdout(printed):
        for name, value in LESS.get(script, {}).items():
            assert type(getattr(module, name)) is type(value)
            patch.setattr(module, name, value)
        patch.setattr(sys, "argv", [str(FOLDER / f"{script}.py"), *options])
        patch.setattr(sys, "__stdout__", printed)
        patch.setenv("PYTHONPATH", str(ROOT))
        patch.chdir(ROOT)
        assert module.main() in (None, 0)
    return [json.loads(line) for line in printed.getvalue().splitlines()]


def make_features(*options: str) -> None:
    """Generate and prepare, as the command line does."""
    for step in ("generate", "prepare"):
        done = CliRunner().invoke(app, [step, *options])
        assert done.exit_code == 0, done.exception


@pytest.mark.parametrize("script", SELF_CONTAINED)
def test_a_script_without_data(script: str, tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path)] if script in ("batch", "evaluation", "feature_store", "saving") else []
    found = lines(script, *SELF_CONTAINED[script], *folder)
    for line in found:
        assert {"command", "load_average", "device", "processor", "python", "torch", "numpy", "commit"} <= line.keys()
        assert line["benchmark"] == script
        assert line["command"].startswith(f"python benchmarks/{script}.py")
        # Whatever was timed several times says how far the times lie apart.
        timed = [values for values in (line, *line.values()) if isinstance(values, dict) and "median_ms" in values]
        assert all({"min_ms", "iqr_ms"} <= values.keys() for values in timed)
    assert len(found) == 1 or script in ("batch", "feature_store", "matching", "training_step")


def test_reproductions_are_simulated() -> None:
    found = lines("verdicts", "--reproductions", "1", "--losses", "0")
    assert [line["kind"] for line in found] == ["detectable"] * 2 + ["false alarms"] * 10


@pytest.mark.parametrize("script", REAL_ANNOTATIONS)
def test_a_script_on_official_annotations(script: str, tmp_path: Path, shared: Callable[..., Path]) -> None:
    folder = ["--folder", str(tmp_path)] if script == "full_size_training" else []
    assert lines(script, "--data-root", str(shared("annotations").parent), *REAL_ANNOTATIONS[script], *folder)


def test_a_curve_goes_on_where_it_stopped(tmp_path: Path) -> None:
    make_features("--setting", "charades_sta", "--results", str(tmp_path))
    state = str(tmp_path / "curve.state")
    options = ["--scale", "mini", "--setting", "charades_sta", "--results", str(tmp_path), "--data-root", str(tmp_path)]
    first = lines("simulated_curves", *options, "--epochs", "1", "--state", state)
    second = lines("simulated_curves", *options, "--epochs", "2", "--state", state)
    assert [row["epoch"] for row in first + second] == [1, 2]


def test_ways_of_a_step_are_told_apart() -> None:
    """A forecast finds the plain one by `step` alone."""
    found = lines("training_step", "--method", "vslnet", "--steps", "1", "--threads", "1", "--precision", "bf16")
    assert {(line["step_kind"], line["precision"]) for line in found} == {("plain", "bf16")}
    assert {"step/bf16", "forward/bf16"} < {line["measured"] for line in found}


def test_precisions_are_compared_over_seeds(tmp_path: Path) -> None:
    scale = tmp_path / "tiny.yaml"
    scale.write_text(TINY)
    options = ["--scale", str(scale), "--results", str(tmp_path)]
    make_features("--setting", "qvhighlights", *options)
    (line,) = lines("precision", "--method", "moment_detr", "--seeds", "2", *options)
    assert (line["precision"], line["seeds"]) == ("bf16", 2)
    for values in line["metrics"].values():
        low, high = values["difference"]
        assert low <= values["other"][0] - values["float32"][0] + 0.01
        assert high >= values["other"][0] - values["float32"][0] - 0.01


TINY = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 24, val_queries: 8, test_queries: 4, clips: 16}
training: {epochs: 1}
method_training: {moment_detr: {epochs: 1}}
"""


@pytest.fixture
def dynamics() -> ModuleType:
    """The script ``dynamics.py`` as a module."""
    return importlib.import_module("dynamics")


def curves(dynamics: ModuleType, seeds: int, shift: float = 0.0, spread: float = 1.0) -> pd.DataFrame:
    """Three epochs of random curves, R1@0.5 of the last ``shift`` and ``spread`` away from the others'."""
    rng = np.random.default_rng(seeds)
    rows = [
        ("qd_detr", seed, epoch, *(spread * rng.normal(size=6) + 50 + epoch + (epoch == 3) * shift * np.arange(6)))
        for seed in range(seeds)
        for epoch in (1, 2, 3)
    ]
    return pd.DataFrame(rows, columns=dynamics.COLUMNS)


def test_curves_are_told_apart_by_means_and_by_spreads(dynamics: ModuleType) -> None:
    theirs = curves(dynamics, 37)
    same = dynamics.compare(curves(dynamics, 20), theirs)
    assert same["rejected"] == []
    assert same["tests"] == 2 * (3 * 6 + 6)
    assert same["seeds"] == {"ours": 20, "theirs": 37}
    low, high = same["best"]["mAP"]["difference"]
    assert low < 0 < high
    moved = dynamics.compare(curves(dynamics, 20, shift=2.0), theirs)["rejected"]
    assert "mean: epoch 3/HIT@1" in moved
    assert not [name for name in moved if "spread" in name or "epoch 1" in name or "epoch 2" in name]
    wide = dynamics.compare(curves(dynamics, 20, spread=5.0), theirs)["rejected"]
    assert "spread: epoch 1/train_loss" in wide


def test_p_values_are_corrected_as_holm_does(dynamics: ModuleType) -> None:
    corrected = dynamics.holm([0.01, 0.04, 0.03, 0.005])
    assert corrected == pytest.approx([0.03, 0.06, 0.06, 0.02])


def test_dynamics_are_trained_and_compared(tmp_path: Path, dynamics: ModuleType) -> None:
    scale = str(FOLDER / "dynamics.yaml")
    make_features("--setting", "qvhighlights", "--scale", scale, "--results", str(tmp_path))
    theirs, ours = tmp_path / "theirs.csv", tmp_path / "ours.csv"
    curves(dynamics, 3).assign(method="moment_detr").to_csv(theirs, index=False)
    options = ["--method", "moment_detr", "--theirs", str(theirs), "--results", str(tmp_path)]
    small = ["--seeds", "2", "--epochs", "1", "--processes", "1", "--curves", str(ours)]
    (line,) = lines("dynamics", *options, *small)
    assert line["seeds"] == {"ours": 2, "theirs": 3}
    (again,) = lines("dynamics", *options, "--ours", str(ours))
    assert again["best"] == line["best"]


def test_what_jobs_took_is_summed_up_by_rule_and_method(tmp_path: Path) -> None:
    jobs = {
        "train/tacos/sa_detr/full/seed1": (12.5, "400.25"),
        "train/tacos/sa_detr/qi/seed1": (10.5, "390.0"),
        "train/tacos/vslnet/full/seed1": (3.0, "NA"),
        "gather": (0.5, "80.0"),
    }
    for name, (seconds, resident) in jobs.items():
        path = tmp_path / "mini/benchmarks" / f"{name}.tsv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"s\tmax_rss\n{seconds}\t{resident}\n")
    gather, sa_detr, vslnet = lines("rule_resources", "--results", str(tmp_path))
    assert (gather["rule"], gather["jobs"], gather["max_resident_mb"]) == ("gather", 1, 80.0)
    assert (sa_detr["setting"], sa_detr["method"], sa_detr["jobs"]) == ("tacos", "sa_detr", 2)
    assert (sa_detr["median_s"], sa_detr["max_s"], sa_detr["max_resident_mb"]) == (11.5, 12.5, 400.2)
    assert (vslnet["method"], vslnet["max_resident_mb"]) == ("vslnet", 0.0)


def test_make_runs_what_needs_no_data() -> None:
    """Every script that needs nothing, with the options that it has; those that know a GPU are measured on one too."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    names = ("MEASURED", "ON_DEVICE", "BY_METHOD")
    scripts, *devices = (re.search(rf"^{name} := (.*)$", makefile, re.M)[1].split() for name in names)
    on_device = {script for each in devices for script in each}
    assert set(scripts) | on_device == set(SELF_CONTAINED)
    for script in SELF_CONTAINED:
        assert (script in on_device) == ('"--device"' in (FOLDER / f"{script}.py").read_text(encoding="utf-8"))
    shown = subprocess.run(["make", "--dry-run", "benchmark-gpu"], cwd=ROOT, capture_output=True, text=True, check=True)
    assert all(f"benchmarks/{script}.py --device cuda" in shown.stdout for script in ("batch", "evaluation", "memory"))
    for method in named_files("methods"):
        assert f"benchmarks/training_step.py --device cuda --method {method}" in shown.stdout
    assert '"--step captured" "--precision tf32" "--precision bf16"' in shown.stdout


def test_every_script_is_run_here_and_described() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")} - {"measuring"}
    others = {"simulated_curves", "dynamics", "precision", "rule_resources", "verdicts"}
    assert scripts == {*REAL_ANNOTATIONS, *SELF_CONTAINED, *others}
    for script in scripts:
        *_, last = (text := (FOLDER / f"{script}.py").read_text(encoding="utf-8")).splitlines()
        # What a test calls, the command calls, and hands on the exit code if there is one.
        assert text.endswith(f'\n\n\nif __name__ == "__main__":\n{last}\n')
        assert last.strip() == ("sys.exit(main())" if "\ndef main() -> int:" in text else "main()"), script
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [script for script in scripts if f"## {script}.py" not in page]
