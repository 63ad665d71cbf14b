"""Trainings on a cluster of one machine: what they ask it for, and that a cancelled one goes on bit for bit."""

import importlib.util
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.slurm import node
from tests.test_workflow import SCALE, Checkout

RUNS = [f"runs/qvhighlights/sa_detr/{variant}/seed2018" for variant in ("full", "qi")]
PLUGIN = "snakemake_executor_plugin_slurm"
# This cluster keeps no accounts, and jobs of seconds should not be waited for in steps of 40.
OPTIONS = ("--slurm-status-command", "squeue", "--slurm-init-seconds-before-status-checks", "8", "--latency-wait", "5")
SECONDS = 600
"""After which something hangs."""

pytestmark = [
    pytest.mark.workflow,
    pytest.mark.skipif(node.missing() is not None, reason=str(node.missing())),
    pytest.mark.skipif(importlib.util.find_spec(PLUGIN) is None, reason=f"{PLUGIN} is not installed"),
]


@pytest.fixture(scope="module")
def cluster() -> Iterator[dict[str, str]]:
    """The environment of Slurm's commands."""
    with node.running() as environment:
        yield environment


@pytest.fixture(scope="module")
def checkout(tmp_path_factory) -> Checkout:
    """A repository with prepared data, and with two runs in ``undisturbed/`` that were trained without a cluster."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    # Long enough to be cancelled in the midst.
    (checkout.folder / "tiny.yaml").write_text(SCALE.replace("epochs: 2", "epochs: 30"))
    done = checkout.snakemake(*(f"results/tiny/{run}/provenance.json" for run in RUNS))
    assert done.returncode == 0, done.stdout + done.stderr
    shutil.move(checkout.results / "runs", checkout.folder / "undisturbed")
    return checkout


@pytest.fixture
def submit(checkout, cluster) -> Callable[..., subprocess.Popen]:
    """``snakemake`` with the profile for Slurm, started for some runs and not waited for."""

    def start(*runs: str, options: tuple[str, ...] = ()) -> subprocess.Popen:
        targets = [f"results/tiny/{run}/provenance.json" for run in runs]
        command = [sys.executable, "-m", "snakemake", *targets, "--workflow-profile", "slurm", *OPTIONS, *options]
        return subprocess.Popen(
            [*command, "--config", "scale=tiny.yaml"],
            cwd=checkout.folder,
            env=cluster | {"PYTHONPATH": str(checkout.folder)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start


def finished(process: subprocess.Popen) -> str:
    """What it wrote."""
    return process.communicate(timeout=SECONDS)[0]


def training(run: str, cluster: dict[str, str], process: subprocess.Popen) -> dict[str, str]:
    """What Slurm says about the job of a training, as soon as it runs."""
    comment = f"rule_train_wildcards_{run.removeprefix('runs/').replace('/', '_')}"
    listing = ("squeue", "--noheader", "--states=RUNNING", "--format=%k %A")

    def find() -> list[str]:
        jobs = dict(line.split() for line in output(cluster, *listing).splitlines())
        return [jobs[comment]] if comment in jobs else []

    (job,) = wait_for(find, process)
    return dict(pair.split("=", 1) for pair in output(cluster, "scontrol", "show", "job", job).split() if "=" in pair)


def output(cluster: dict[str, str], *command: str) -> str:
    return subprocess.run(command, env=cluster, capture_output=True, text=True, check=True).stdout


def wait_for(find: Callable[[], object], process: subprocess.Popen) -> object:
    """What ``find`` finds, as soon as that is something."""
    end = time.monotonic() + SECONDS
    while not (found := find()):
        assert process.poll() is None, finished(process)
        assert time.monotonic() < end
        time.sleep(0.05)
    return found


def files(folder: Path) -> dict[str, bytes]:
    """Content of all checkpoints and predictions of a run."""
    paths = [path for part in ("checkpoints", "predictions") for path in (folder / part).iterdir()]
    return {path.name: path.read_bytes() for path in paths}


def test_a_cancelled_training_goes_on_bit_for_bit_when_the_same_command_is_given_again(checkout, cluster, submit):
    cancelled, other = RUNS
    first = submit(*RUNS, options=("--retries", "0"))
    job = training(cancelled, cluster, first)
    assert job["Partition"] == "main"
    assert "gpu" not in job["TRES"]
    assert "TresPerJob" not in job
    assert (job["TimeLimit"], job["MinMemoryNode"], job["NumCPUs"]) == ("00:10:00", "1000M", "1")
    state = checkout.results / cancelled / "state.safetensors"
    wait_for(state.exists, first)
    output(cluster, "scancel", job["JobId"])
    text = finished(first)
    assert first.returncode == 1, text
    assert "CANCELLED" in text
    assert state.exists()
    assert not (checkout.results / cancelled / "provenance.json").exists()
    # Nobody else's matter.
    assert (checkout.results / other / "provenance.json").exists()

    second = submit(*RUNS)
    text = finished(second)
    assert second.returncode == 0, text
    log = checkout.results / "logs/train" / f"{cancelled.removeprefix('runs/')}.log"
    assert "continuing after epoch" in log.read_text()
    for run in RUNS:
        assert files(checkout.results / run) == files(checkout.folder / "undisturbed" / run.removeprefix("runs/"))


def test_a_training_that_wants_a_gpu_asks_for_one_in_its_partition(checkout, cluster, submit):
    shutil.rmtree(checkout.results / RUNS[1], ignore_errors=True)
    checkout.edit("tiny.yaml", "data: generated\n", "data: generated\nexecution: {device: auto}\n")
    process = submit(RUNS[1], options=("--retries", "0"))
    job = training(RUNS[1], cluster, process)
    assert job["Partition"] == "gpu"
    assert job["TresPerJob"] in ("gres:gpu:1", "gres/gpu:1")
    # That GPU is none, and training goes nowhere else instead.
    assert "this job was given a GPU, but torch sees no GPU" in finished(process)
    assert process.returncode == 1
