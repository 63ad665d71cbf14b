"""The scripts in ``benchmarks/`` run, each on the least that it takes; what they measure is no test's business."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "benchmarks"
REAL_ANNOTATIONS = {
    "batch_composition": [],
    "full_size_training": ["--steps", "1", "--queries", "32"],
    "simulated_difficulty": ["--fit", "60", "--judge", "20"],
}
"""Script -> options, of those that read official annotations."""
SELF_CONTAINED = {
    "feature_store": ["--queries", "6", "--batch", "2", "--batches", "1", "--clips", "10"],
    "scorer": ["--largest", "2000"],
    "training_step": ["--method", "moment_detr", "--steps", "1"],
}


def lines(script: str, *options: str) -> list[dict]:
    """What ``script`` prints; every line is JSON."""
    command = [sys.executable, str(FOLDER / f"{script}.py"), *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.mark.parametrize("script", SELF_CONTAINED)
def test_a_script_without_data(script: str, tmp_path: Path) -> None:
    folder = ["--folder", str(tmp_path)] if script == "feature_store" else []
    assert lines(script, *SELF_CONTAINED[script], *folder)


@pytest.mark.parametrize("script", REAL_ANNOTATIONS)
def test_a_script_on_official_annotations(script: str, tmp_path: Path, shared: Callable[..., Path]) -> None:
    folder = ["--folder", str(tmp_path)] if script == "full_size_training" else []
    assert lines(script, "--data-root", str(shared("annotations").parent), *REAL_ANNOTATIONS[script], *folder)


def test_a_curve_goes_on_where_it_stopped(tmp_path: Path) -> None:
    for step in ("generate", "prepare"):
        command = [sys.executable, "-m", "sadetr", step, "--setting", "charades_sta", "--results", str(tmp_path)]
        subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    state = str(tmp_path / "curve.state")
    options = ["--scale", "mini", "--setting", "charades_sta", "--results", str(tmp_path), "--data-root", str(tmp_path)]
    first = lines("simulated_curves", *options, "--epochs", "1", "--state", state)
    second = lines("simulated_curves", *options, "--epochs", "2", "--state", state)
    assert [row["epoch"] for row in first + second] == [1, 2]


def test_every_script_is_run_here_and_described() -> None:
    scripts = {path.stem for path in FOLDER.glob("*.py")}
    assert scripts == {*REAL_ANNOTATIONS, *SELF_CONTAINED, "simulated_curves"}
    page = (FOLDER / "README.md").read_text(encoding="utf-8")
    assert not [script for script in scripts if f"## {script}.py" not in page]
