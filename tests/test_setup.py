"""The lists of dependencies agree, and the Pythons that are promised are those that are tested."""

import re
import tomllib
from importlib.metadata import requires
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[1]
# conda-forge names that differ from PyPI's
CONDA_NAMES = {"pytorch": "torch", "matplotlib-base": "matplotlib", "snakemake-minimal": "snakemake"}


def pyproject() -> dict[str, Requirement]:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    listed = [*project["dependencies"], *project["optional-dependencies"]["test"]]
    return {canonicalize_name(item.name): item for item in map(Requirement, listed)}


def lock(name: str = "requirements") -> dict[str, str]:
    lines = (ROOT / f"{name}.lock").read_text().splitlines()
    pins = (line.partition("==") for line in lines if line and not line.startswith("#"))
    return {canonicalize_name(name): version for name, _, version in pins}


def test_lock_pins_everything_inside_the_ranges():
    pins = lock()
    assert all(re.fullmatch(r"[\w.!]+", version) for version in pins.values())
    for name, requirement in pyproject().items():
        assert requirement.specifier.contains(pins[name]), f"{name}: lock has {pins[name]}, wanted {requirement}"


def test_lock_pins_torch():
    assert lock()["torch"] == "2.13.0"


def test_the_lock_for_judging_is_a_part_without_torch_that_lacks_nothing():
    pins = lock("requirements-compare")
    assert pins.items() <= lock().items()
    assert pins.keys().isdisjoint({"torch", "snakemake", "matplotlib", "sadetr"})
    needed = [Requirement(line) for name in pins for line in requires(name) or []]
    always = [item for item in needed if item.marker is None or item.marker.evaluate({"extra": ""})]
    assert {canonicalize_name(item.name) for item in always} <= pins.keys()


def test_the_lock_for_slurm_pins_the_plug_in_inside_its_range():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    (plugin,) = map(Requirement, project["optional-dependencies"]["slurm"])
    pins = lock("requirements-slurm")
    assert plugin.specifier.contains(pins[canonicalize_name(plugin.name)])
    assert pins.keys().isdisjoint(lock())


def conda(file: str) -> dict[str, SpecifierSet]:
    """Ranges of a conda environment by PyPI's names, without Python's, which is that of pyproject.toml."""
    content = yaml.safe_load((ROOT / file).read_text())
    by_pip = [item for entry in content["dependencies"] if isinstance(entry, dict) for item in entry["pip"]]
    names = [item for item in [*content["dependencies"], *by_pip] if isinstance(item, str) and item[:2] != "--"]
    listed = list(map(Requirement, names))
    ranges = {CONDA_NAMES.get(item.name, canonicalize_name(item.name)): item.specifier for item in listed}
    python = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["requires-python"]
    assert str(ranges.pop("python")) == python
    return ranges


def test_environment_yml_has_the_ranges_of_pyproject():
    ranges = conda("environment.yml")
    ranges.pop("pip")
    assert ranges == {name: item.specifier for name, item in pyproject().items()}


def test_jobs_in_a_conda_environment_have_the_same_ranges_without_the_tools_for_tests():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    needed = {canonicalize_name(item.name): item.specifier for item in map(Requirement, project["dependencies"])}
    assert conda("workflow/environment.yaml") == needed


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
    assert jobs["test"]["strategy"]["matrix"]["python-version"] == promised
    assert project["requires-python"] == f">={min(promised, key=Version)}"
    assert f"Python {promised[0]} to {promised[-1]}" in (ROOT / "requirements.lock").read_text()
    assert f"Python {promised[0]} to {promised[-1]}" in (ROOT / "README.md").read_text()


def test_every_python_of_the_matrix_runs_the_one_script():
    jobs = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())["jobs"]
    (command,) = [step for step in jobs["test"]["steps"] if "run" in step]
    # `make` takes its interpreter from the environment.
    assert command["run"] == "bash .ci/run"
    assert command["env"] == {"PYTHON": "python${{ matrix.python-version }}"}
    assert "PYTHON ?= " in (ROOT / "Makefile").read_text()
