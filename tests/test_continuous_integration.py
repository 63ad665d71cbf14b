"""The steps of ``.github/workflows/`` run in a copy of the checkout, with stubs for what takes long."""

import os
import re
import shutil
import subprocess
import sys
from importlib.metadata import packages_distributions
from pathlib import Path
from typing import Any

import pytest
import yaml
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[1]
WORKFLOWS = ROOT / ".github/workflows"
EXPRESSION = re.compile(r"\$\{\{ (.*?) \}\}")
REFERENCE = "results/reference/mini/metrics.parquet"
# Installing, testing and training are noted down; `make reproduce` leaves the reference results as results of its own.
STUBS = {
    "make": f"""
case "$*" in
    reproduce) mkdir -p results/mini && cp {REFERENCE} results/mini/ ;;&
    reproduce|.venv/.installed) mkdir -p .venv/bin && ln -sf "$STUBS/python" .venv/bin/python ;;
esac""",
    "python": f"""
case "$*" in
    "-m pip "*|"-m pytest "*) ;;
    *) exec "{sys.executable}" "$@" ;;
esac""",
    "sudo": 'exec "$@"',
    "apt-get": "",
}


def workflow(name: str) -> dict[str, Any]:
    return yaml.safe_load((WORKFLOWS / f"{name}.yml").read_text())


class Runner:
    """A machine on which the steps of a job run one after the other."""

    def __init__(self, folder: Path, expressions: dict[str, str]) -> None:
        """Copy the checkout.

        Args:
            folder: an empty one.
            expressions: GitHub expression -> its value.
        """
        self.checkout, self._stubs = folder / "checkout", folder / "stubs"
        ignored = shutil.ignore_patterns("__pycache__", ".git", ".venv", ".snakemake", "mini", "tests")
        shutil.copytree(ROOT, self.checkout, ignore=ignored)
        (self.checkout / REFERENCE).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / REFERENCE, self.checkout / REFERENCE)
        self._stubs.mkdir()
        for name, script in STUBS.items():
            (self._stubs / name).write_text(f'#!/bin/bash\necho "{name} $*" >> "$STUBS/called"\n{script}\n')
            (self._stubs / name).chmod(0o755)
        self.summary = folder / "summary.md"
        self._expressions = expressions

    @property
    def called(self) -> list[str]:
        """Stubs that were called, with their arguments."""
        return (self._stubs / "called").read_text().splitlines()

    def value(self, text: str) -> str:
        """A text of the workflow with its expressions evaluated; an unknown one is a KeyError."""
        return EXPRESSION.sub(lambda found: self._expressions[found[1]], text)

    def run(self, step: dict[str, Any]) -> subprocess.CompletedProcess:
        """One step, as GitHub's ``shell: bash`` runs it."""
        environment = {name: value for name, value in os.environ.items() if name != "PYTHON"}
        environment |= {name: self.value(value) for name, value in step.get("env", {}).items()}
        environment |= {"STUBS": str(self._stubs), "GITHUB_STEP_SUMMARY": str(self.summary), "COLUMNS": "120"}
        environment["PATH"] = f"{self._stubs}:{environment['PATH']}"
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        return subprocess.run(
            command, cwd=self.checkout, env=environment, capture_output=True, text=True, check=False, timeout=300
        )

    def succeed(self, job: dict[str, Any]) -> None:
        """All steps of a job that run something."""
        for step in job["steps"]:
            if "run" in step:
                done = self.run(step)
                assert done.returncode == 0, f"{step}\n{done.stdout}{done.stderr}"

    def published(self, job: dict[str, Any]) -> list[str]:
        """What the job's upload would find, by its patterns."""
        (upload,) = [step for step in job["steps"] if step.get("uses", "").startswith("actions/upload-artifact")]
        patterns = upload["with"]["path"].split()
        return [pattern for pattern in patterns if list(self.checkout.glob(pattern.rstrip("/")))]


@pytest.mark.parametrize("path", sorted(WORKFLOWS.glob("*.yml")), ids=lambda path: path.stem)
def test_scripts_hold_no_expressions_and_jobs_no_rights(path):
    content = workflow(path.stem)
    assert set(content["permissions"].values()) == {"read"}
    # Without pipefail a failing command in front of a `|` would pass.
    assert content["defaults"]["run"]["shell"] == "bash"
    for job in content["jobs"].values():
        assert job["timeout-minutes"]
        # What is put into a script by an expression is run as code.
        assert not any(EXPRESSION.search(step.get("run", "")) for step in job["steps"])


def test_the_tests_run_as_locally(tmp_path):
    runner = Runner(tmp_path, {"matrix.python-version": "3.12"})
    runner.succeed(workflow("ci")["jobs"]["test"])
    assert runner.called == ["make lint", "make test"]


def test_slurm_is_installed_before_it_is_tried(tmp_path):
    runner = Runner(tmp_path, {})
    runner.succeed(workflow("ci")["jobs"]["slurm"])
    tried = runner.called[-1]
    assert tried == "python -m pytest tests/slurm"
    assert (ROOT / "tests/slurm").is_dir()
    (installed,) = [words for words in runner.called if words.startswith("apt-get install")]
    assert {"munge", "slurm-client", "slurmctld", "slurmd"} <= set(installed.split())


def test_the_default_scale_is_made_judged_and_published(tmp_path):
    runner, job = Runner(tmp_path, {}), workflow("ci")["jobs"]["reproduce"]
    runner.succeed(job)
    assert runner.called[0] == "make reproduce"
    assert {"report/", "results/mini/metrics.parquet"} <= set(runner.published(job))
    assert {path.suffix for path in (runner.checkout / "report").iterdir()} >= {".md", ".json", ".xml", ".html", ".csv"}
    assert (runner.checkout / "report/comparison.md").read_text() in runner.summary.read_text()


@pytest.mark.parametrize("seeds", ["", "2018"])
def test_a_delivered_file_is_judged_with_nothing_else(tmp_path, seeds):
    inputs = {"inputs.scale": "mini", "inputs.seeds": seeds}
    (metrics,) = expressions_of("judge", "METRICS")
    runner = Runner(tmp_path, {**inputs, metrics: "delivered/ours.parquet"})
    (runner.checkout / "delivered").mkdir()
    shutil.move(runner.checkout / REFERENCE, runner.checkout / "delivered/ours.parquet")
    job = workflow("judge")["jobs"]["judge"]
    runner.succeed(job)
    assert runner.called[0] == "python -m pip install --requirement requirements-compare.lock"
    assert runner.published(job) == ["report/"]
    assert runner.summary.read_text()


def test_judging_works_with_what_is_installed_for_it_alone():
    """Everything else that is installed here cannot be imported: what is optional to a library may be tried for."""
    lines = (ROOT / "requirements-compare.lock").read_text().splitlines()
    pinned = {canonicalize_name(line.partition("==")[0]) for line in lines if not line.startswith("#")}
    others = [
        module
        for module, names in packages_distributions().items()
        if not {canonicalize_name(name) for name in names} & (pinned | {"sadetr", "setuptools"})
    ]
    code = f"""
import sys
sys.modules.update(dict.fromkeys({others!r}))
from sadetr.cli import main
main()
"""
    command = [sys.executable, "-c", code, "compare", REFERENCE, "--scale", "mini", "--html", os.devnull]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "torch" in others


def test_a_file_that_cannot_be_used_fails_the_job(tmp_path):
    (metrics,) = expressions_of("judge", "METRICS")
    runner = Runner(tmp_path, {"inputs.scale": "mini", "inputs.seeds": "", metrics: "README.md"})
    steps = {step.get("name"): step for step in workflow("judge")["jobs"]["judge"]["steps"]}
    assert runner.run(steps["Judge"]).returncode == 3
    assert runner.run(steps["Summary"]).returncode == 0


def expressions_of(name: str, variable: str) -> list[str]:
    """Expressions behind an environment variable."""
    steps = [step for job in workflow(name)["jobs"].values() for step in job["steps"]]
    return [found for step in steps for found in EXPRESSION.findall(step.get("env", {}).get(variable, ""))]


def test_judging_takes_the_same_inputs_however_it_is_started():
    content = workflow("judge")
    called, by_hand = content["on"]["workflow_call"]["inputs"], content["on"]["workflow_dispatch"]["inputs"]
    assert called == by_hand
    text = (WORKFLOWS / "judge.yml").read_text()
    assert set(re.findall(r"inputs\.([\w-]+)", text)) == set(called)
    # A file in the repository has its own path; one of an artifact lies where that is unpacked.
    (metrics,) = expressions_of("judge", "METRICS")
    assert metrics == "inputs.artifact != '' && format('delivered/{0}', inputs.metrics) || inputs.metrics"
    downloads = [step for step in content["jobs"]["judge"]["steps"] if "download" in step.get("uses", "")]
    assert [step["with"]["path"] for step in downloads] == ["delivered"]
