"""The three lists of dependencies agree, and the Pythons that are promised are those that are tested."""

import re
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# conda-forge names that differ from PyPI's
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}


def pyproject() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return {canonicalize_name(item.name): item for item in map(Requirement, listed)}


def lock() -> dict[str, str]:
    lines = (ROOT / "requirements.lock").read_text().splitlines()
    pins = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in pins}


def test_lock_pins_everything_inside_the_ranges():
    pins = lock()
    assert all(re.fullmatch(r"[\w.!]+", version) for version in pins.values())
    for name, requirement in pyproject().items():
        assert requirement.specifier.contains(pins[name]), f"{name}: lock has {pins[name]}, wanted {requirement}"


def test_lock_pins_torch():
    assert lock()["torch"] == "2.13.0"


def test_environment_yml_has_the_ranges_of_pyproject():
    content = yaml.safe_load((ROOT / "environment.yml").read_text())
    listed = [Requirement(item) for item in content["dependencies"] if isinstance(item, str)]
    conda = {CONDA_NAMES.get(item.name, canonicalize_name(item.name)): item.specifier for item in listed}
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert str(conda.pop("python")) == python
    conda.pop("pip")
    (by_pip,) = (item["pip"] for item in content["dependencies"] if isinstance(item, dict))
    others = [Requirement(item) for item in by_pip if not item.startswith("--")]
    conda |= {canonicalize_name(item.name): item.specifier for item in others}
    assert conda == {name: item.specifier for name, item in pyproject().items()}


@pytest.mark.parametrize("command", ["make reproduce", "make test"])
def test_readme_names_the_commands(command):
    assert command in (ROOT / "README.md").read_text()


def test_ci_runs_the_readme_test_command():
    assert "make test" in (ROOT / ".ci/run").read_text()


def test_every_promised_python_is_tested():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    prefix = "Programming Language :: Python :: "
    promised = [line.removeprefix(prefix) for line in project["classifiers"] if line.startswith(prefix)]
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    assert [job["strategy"]["matrix"]["python-version"] for job in jobs.values()] == [promised]
    assert project["requires-python"] == f">={min(promised, key=Version)}"
    assert f"Python {promised[0]} to {promised[-1]}" in (ROOT / "requirements.lock").read_text()
    assert f"Python {promised[0]} to {promised[-1]}" in (ROOT / "README.md").read_text()


def test_every_python_of_the_matrix_runs_the_one_script():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    (steps,) = [job["steps"] for job in jobs.values()]
    (command,) = [step for step in steps if "run" in step]
    # `make` takes its interpreter from the environment.
    assert command["run"] == "bash .ci/run"
    assert command["env"] == {"PYTHON": "python${{ matrix.python-version }}"}
    assert "PYTHON ?= " in (ROOT / "Makefile").read_text()
