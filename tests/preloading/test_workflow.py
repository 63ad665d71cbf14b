"""A workflow whose jobs are preloaded makes the same bits as any other, and may be killed as any other."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from tests.test_workflow import Checkout

pytestmark = pytest.mark.workflow
RUNS = [f"runs/qvhighlights/sa_detr/{variant}/seed2018" for variant in ("full", "fa")]


@pytest.fixture(scope="module")
def checkout(tmp_path_factory):
    """A checkout whose two runs were trained by a Python each, below `results/usual`."""
    created = Checkout(tmp_path_factory.mktemp("with blanks"))
    created.edit("tiny.yaml", "epochs: 2", "epochs: 12")
    assert snakemake(created, "usual", "preload=false").wait() == 0
    assert not (created.folder / ".snakemake/preloaded.log").exists()
    return created


def snakemake(checkout: Checkout, results: str, *config: str, dry: bool = False) -> subprocess.Popen:
    """Start the workflow, in a group of processes of its own, for the two runs below `results/<results>`."""
    targets = [f"results/{results}/tiny/{run}/metrics.parquet" for run in RUNS]
    command = [sys.executable, "-m", "snakemake", *targets, "--cores", "2", *(["--dry-run", "--quiet"] if dry else [])]
    command += ["--config", "scale=tiny.yaml", f"results=results/{results}", *config]
    environment = {**os.environ, "PYTHONPATH": str(checkout.folder)}
    return subprocess.Popen(command, cwd=checkout.folder, env=environment, start_new_session=True)


def bits(checkout: Checkout, results: str) -> dict[Path, bytes]:
    """Checkpoints and predictions."""
    folder = checkout.folder / "results" / results / "tiny/runs"
    return {
        path.relative_to(folder): path.read_bytes()
        for kind in ("checkpoints", "predictions")
        for path in sorted(folder.glob(f"**/{kind}/[!.]*"))
    }


def served(checkout: Checkout) -> list[str]:
    """Jobs that the last workflow's preloaded process ran, by their subcommand."""
    lines = (checkout.folder / ".snakemake/preloaded.log").read_text().splitlines()
    assert not any(line.startswith("refused") for line in lines), lines
    return [line.split()[3] for line in lines if " -m sadetr " in line]


def test_preloaded_jobs_make_the_same_bits_and_nothing_is_made_again(checkout):
    assert snakemake(checkout, "preloaded").wait() == 0
    assert sorted(served(checkout)) == ["evaluate", "evaluate", "generate", "prepare", "train", "train"]
    assert len(bits(checkout, "usual")) == 12
    assert bits(checkout, "preloaded") == bits(checkout, "usual")
    assert (checkout.folder / "results/usual/tiny/benchmarks/train").is_dir()
    for results, config in (("preloaded", "preload=false"), ("usual", "preload=true")):
        targets = [f"results/{results}/tiny/{run}/metrics.parquet" for run in RUNS]
        done = checkout.snakemake(*targets, dry=True, config=(f"results=results/{results}", config))
        assert "Nothing to be done" in done.stdout + done.stderr


def test_a_killed_workflow_goes_on_where_it_was(checkout):
    first = snakemake(checkout, "killed")
    folder = checkout.folder / "results/killed/tiny"
    try:
        limit = time.monotonic() + 300
        while not all((folder / run / "state.safetensors").exists() for run in RUNS):
            assert first.poll() is None
            assert time.monotonic() < limit
            time.sleep(0.02)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    assert not any((folder / run / "provenance.json").exists() for run in RUNS)
    assert snakemake(checkout, "killed").wait() == 0
    logs = [(folder / f"logs/train/{run.removeprefix('runs/')}.log").read_text() for run in RUNS]
    assert all("continuing after epoch" in log for log in logs)
    assert bits(checkout, "killed") == bits(checkout, "usual")


@pytest.mark.parametrize("value", ["maybe", "3"])
def test_what_is_no_switch_is_refused(checkout, value):
    assert f"preload={value}: expected true or false" in checkout.refusal("table4", config=(f"preload={value}",))
