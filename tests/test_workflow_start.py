"""What plain ``snakemake`` does: the profile it reads, GPUs it shares out, odd names, and being killed."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sadetr.configuration import resolve_dataset

from .test_workflow import Checkout

pytestmark = pytest.mark.workflow
RULES = Path(__file__).parents[1] / "workflow/rules"
RUNS = [f"runs/qvhighlights/sa_detr/{variant}/seed2018" for variant in ("full", "fa", "qi")]
# Every training says that it is under way, and whether another one was. What the rules hand over stays as it is.
STUB = """
set -eu
cd "$LOG_FOLDER"
run=$1; shift
case "$run" in */qi/*) exit 1 ;; esac
mkdir "busy" 2>/dev/null || touch together
touch "started.$$"
if [ -n "${WAIT_FOR:-}" ]; then
    for second in $(seq 600); do [ "$(ls started.* | wc -l)" -ge "$WAIT_FOR" ] && break; sleep 0.1; done
    [ "$(ls started.* | wc -l)" -ge "$WAIT_FOR" ]
fi
# Long enough to be met by whoever starts at the same time.
sleep "${LINGER:-0}"
rmdir busy 2>/dev/null || true
"""


def start(checkout: Checkout, *words: str, check: bool = True, **variables: str) -> subprocess.CompletedProcess:
    """``snakemake`` with these words alone."""
    if "-n" in words and not variables:
        done = checkout.planner.run(*words)
    else:
        environment = {**os.environ, "PYTHONPATH": str(checkout.folder), **variables}
        command = [sys.executable, "-m", "snakemake", *words]
        done = subprocess.run(
            command, cwd=checkout.folder, env=environment, capture_output=True, text=True, check=False, timeout=600
        )
    assert not check or done.returncode == 0, done.stdout + done.stderr
    return done


def planned(text: str) -> dict[str, list[dict[str, str]]]:
    """Rule -> the resources of its planned jobs, as a dry run prints them."""
    found = re.findall(r"^(?:local)?(?:rule|checkpoint) (\w+):\n(?:    .*\n)*?    resources: (.*)$", text, re.MULTILINE)
    jobs: dict[str, list[dict[str, str]]] = {}
    for name, resources in found:
        jobs.setdefault(name, []).append(dict(each.split("=") for each in resources.split(", ")))
    return jobs


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """A checkout and a data root that holds every file and folder of real QVHighlights data, empty."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    root = checkout.folder / "data"
    dataset = resolve_dataset("qvhighlights", "paper")
    for name in dataset.annotations.values():
        (root / "annotations/qvhighlights" / name).parent.mkdir(parents=True, exist_ok=True)
        (root / "annotations/qvhighlights" / name).touch()
    for source in [*(stream.directory for stream in dataset.video_streams), dataset.text_stream.source]:
        (root / "features/qvhighlights" / source).mkdir(parents=True)
    return checkout


def test_a_nonsense_key_in_the_default_profile_is_noticed(tmp_path):
    checkout = Checkout(tmp_path)
    assert "profiles/default" in start(checkout, "-n", "table4").stderr
    profile = checkout.folder / "profiles/default/profile.yaml"
    profile.write_text(profile.read_text() + "no-such-option: true\n")
    done = start(checkout, "-n", "table4", check=False)
    assert done.returncode != 0
    assert "no-such-option" in done.stdout + done.stderr


def test_at_the_paper_scale_only_trainings_ask_for_a_gpu(official):
    done = start(official, "-n", "--cores", "3", "table4", "--config", "scale=paper", "data_root=data")
    jobs = planned(done.stdout)
    trainings = jobs.pop("train")
    assert len(trainings) == 10
    assert all(job["gpu"] == "1" and "slurm_partition" not in job for job in trainings)
    assert {job["gpu"] for each in jobs.values() for job in each} == {"0"}


def test_the_slurm_profile_is_found_by_name_and_gives_only_trainings_a_gpu_partition(official):
    # The plug-in for Slurm need not be installed: the executor is replaced.
    words = (
        "-n",
        "--workflow-profile",
        "slurm",
        "--executor",
        "local",
        "table4",
        "--config",
        "scale=paper",
        "data_root=data",
    )
    done = start(official, *words)
    assert "workflow specific profile profiles/slurm" in done.stderr
    jobs = planned(done.stdout)
    assert {(job["gpu"], job["slurm_partition"]) for job in jobs.pop("train")} == {("1", "gpu")}
    assert {"prepare", "evaluate", "table"} <= set(jobs)
    others = [job for each in jobs.values() for job in each]
    assert all(job["gpu"] == "0" and "slurm_partition" not in job for job in others)
    measured = [job for name in ("prepare", "evaluate", "table") for job in jobs[name]]
    assert all(int(job["runtime"]) >= 10 and int(job["mem_mb"]) >= 1000 for job in measured)
    jobs = planned(start(official, *words, "gpu_partition=a100").stdout)
    assert {job["slurm_partition"] for job in jobs["train"]} == {"a100"}


def test_what_a_user_says_about_resources_wins(official):
    words = ["-n", "table4", "--default-resources", "mem_mb=5000", "--set-resources", "train:runtime=77"]
    done = start(official, *words, "evaluate:mem_mb=900", "--config", "scale=paper", "data_root=data")
    jobs = planned(done.stdout)
    assert {(job["mem_mb"], job["runtime"]) for job in jobs["train"]} == {("5000", "77")}
    assert {job["mem_mb"] for job in jobs["evaluate"]} == {"900"}
    assert {job["mem_mb"] for job in jobs["table"]} == {"5000"}
    assert all(int(job["runtime"]) >= 10 for job in jobs["table"])


@pytest.fixture(scope="module")
def stubbed(official):
    """The official checkout with a training that only reports, on one thread: only GPUs are scarce."""
    (official.folder / "mine.yaml").write_text('extends: paper\nlabel: ""\ndata: official\nexecution: {threads: 1}\n')
    (official.folder / "stub.sh").write_text(STUB)
    outputs = "mkdir -p {output.checkpoints:q} {output.predictions:q}; touch {output[0]:q} {output[1]:q} {output[2]:q}"
    official.edit("workflow/rules/train.smk", "{params.command} --run", "sh stub.sh")
    official.edit("workflow/rules/train.smk", "> {log:q} 2>&1", f"> {{log:q}} 2>&1 && {outputs}")
    rule = (official.folder / "workflow/rules/data.smk").read_text().partition("checkpoint prepare:")[2]
    command = re.search(r'shell:\n +("[^\n]+")', rule)
    prepared = rule.replace(command[1], '"mkdir -p {output.store:q}; touch {output.prepared:q}"', 1)
    official.edit("workflow/rules/data.smk", rule, prepared)
    return official


def train_all(
    checkout: Checkout, name: str, *words: str, config: tuple[str, ...] = (), **variables: str
) -> tuple[Path, subprocess.CompletedProcess]:
    """Three trainings, one of which fails; what they noted, and how it ended."""
    notes = checkout.folder / name
    notes.mkdir()
    targets = [f"{name}/results/mine/{run}/provenance.json" for run in RUNS]
    config = ("--config", "scale=mine.yaml", "data_root=data", f"results={name}/results", *config)
    done = start(checkout, *targets, "--cores", "3", *words, *config, check=False, LOG_FOLDER=str(notes), **variables)
    return notes, done


def test_by_default_one_training_at_a_time_and_a_failed_one_stops_no_other(stubbed):
    notes, done = train_all(stubbed, "one_gpu", LINGER="3")
    assert done.returncode == 1
    made = [run for run in RUNS if (notes / "results/mine" / run / "provenance.json").exists()]
    assert made == RUNS[:2], done.stderr
    assert len(list(notes.glob("started.*"))) == 2
    assert not (notes / "together").exists()


def test_two_gpus_train_two_runs_at_once(stubbed):
    notes, done = train_all(stubbed, "two_gpus", "--resources", "gpu=2", WAIT_FOR="2")
    made = [run for run in RUNS if (notes / "results/mine" / run / "provenance.json").exists()]
    assert made == RUNS[:2], done.stderr


def test_a_shared_gpu_trains_two_runs_at_once(stubbed):
    notes, done = train_all(stubbed, "slots", WAIT_FOR="2", config=("runs_per_gpu=2",))
    made = [run for run in RUNS if (notes / "results/mine" / run / "provenance.json").exists()]
    assert made == RUNS[:2], done.stderr


SCALE, RESULTS = "my ré'ading", "my r'ésults"
# Blocks in the middle of writing a run's files, once: until it is killed.
BLOCKING = """
import os, time
from pathlib import Path
from sadetr.cli import main
from sadetr.training import run

write_predictions, mark = run._write_predictions, Path("blocked")

def blocking(*arguments):
    if os.environ.get("BLOCK") and not mark.exists():
        mark.touch()
        time.sleep(600)
    write_predictions(*arguments)

run._write_predictions = blocking
main()
"""


@pytest.fixture(scope="module")
def odd(tmp_path_factory):
    """A repository, scale and results folder whose names need quotes; a run in it, scored, and a report."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout") / "a b'ü")
    (checkout.folder / "tiny.yaml").rename(checkout.folder / f"{SCALE}.yaml")
    (checkout.folder / "blocking.py").write_text(BLOCKING)
    options = '["scale", "results", "data"]'
    call = f'flow.command(PYTHON, "train", {options}).replace("-m sadetr", "blocking.py")'
    checkout.edit("workflow/rules/train.smk", 'command("train", "data", "gpu")', f"lambda wildcards, output: {call}")
    checkout.before = set(checkout.folder.iterdir())
    start(checkout, *words(RESULTS, f"{RUNS[0]}/metrics.parquet", "checks/qvhighlights.json"))
    return checkout


def words(results: str, *targets: str) -> list[str]:
    files = [f"{results}/{SCALE}/{target}" for target in targets]
    return [*files, "--cores", "1", "--config", f"scale={SCALE}.yaml", f"results={results}"]


def test_names_with_blanks_quotes_and_umlauts(odd):
    folder = odd.folder / RESULTS / SCALE
    assert (folder / RUNS[0] / "metrics.parquet").stat().st_size
    assert (folder / "checks/qvhighlights.html").stat().st_size
    assert (folder / "logs/train" / f"{RUNS[0].removeprefix('runs/')}.log").read_text()
    # Nothing else was written into the repository.
    new = {path.name for path in set(odd.folder.iterdir()) - odd.before} - {".snakemake", "__pycache__"}
    assert new == {RESULTS}


def test_killed_while_a_runs_files_are_written_the_same_command_goes_on(odd):
    command = words("killed", f"{RUNS[0]}/metrics.parquet")
    environment = {**os.environ, "PYTHONPATH": str(odd.folder), "BLOCK": "1"}
    first = subprocess.Popen(
        [sys.executable, "-m", "snakemake", *command],
        cwd=odd.folder,
        env=environment,
        start_new_session=True,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        for _ in range(6000):
            if (odd.folder / "blocked").exists() or first.poll() is not None:
                break
            time.sleep(0.05)
    finally:
        os.killpg(first.pid, signal.SIGKILL)
        first.wait()
    run, uninterrupted = (odd.folder / results / SCALE / RUNS[0] for results in ("killed", RESULTS))
    assert (run / "checkpoints").exists()
    assert not (run / "provenance.json").exists()
    assert list((odd.folder / ".snakemake/locks").iterdir())
    done = start(odd, *command)
    assert "removed the locks of a Snakemake that was killed" in done.stderr
    for path in [*uninterrupted.glob("checkpoints/*"), *uninterrupted.glob("predictions/*")]:
        assert path.read_bytes() == (run / path.relative_to(uninterrupted)).read_bytes()
    assert len(list(uninterrupted.glob("checkpoints/*.safetensors"))) == 2


def test_a_training_that_was_given_a_gpu_and_sees_none_fails(odd):
    odd.edit(f"{SCALE}.yaml", "data: generated\n", "data: generated\nexecution: {device: auto}\n")
    done = start(odd, *words(RESULTS, f"{RUNS[1]}/provenance.json"), check=False, CUDA_VISIBLE_DEVICES="")
    assert done.returncode == 1
    # Of the training alone; its log is shown.
    assert "error: execution.device is 'auto', and this job was given a GPU, but torch sees no GPU" in done.stderr
    assert "Error in rule train" in done.stderr


@pytest.mark.parametrize("path", sorted(RULES.glob("*.smk")), ids=lambda path: path.stem)
def test_every_shell_line_quotes_what_it_inserts(path):
    shells = re.findall(r'shell:\n((?:\s+(?:#|"|\').*\n)+)', path.read_text() + "\n")
    inserted = [name for text in shells for name in re.findall(r"\{([^{}]+)\}", text)]
    # Quoted where they are put together, or a number.
    safe = ("params.command", "resources.gpu", "threads")
    assert [name for name in inserted if not name.endswith(":q") and name not in safe] == []


def test_the_profiles_differ_in_what_a_cluster_needs_only():
    default, slurm = (
        yaml.safe_load((RULES.parents[1] / "profiles" / name / "profile.yaml").read_text())
        for name in ("default", "slurm")
    )
    shared = default.keys() & slurm.keys() - {"default-resources"}
    assert all(default[key] == slurm[key] for key in shared)
    assert {"keep-going", "rerun-incomplete", "show-failed-logs", "max-checksum-file-size"} <= shared
