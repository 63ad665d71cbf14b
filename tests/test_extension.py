"""A method from outside the package runs through the whole DAG, and is as reproducible as any."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from sadetr.layering import named_files

ROOT = Path(__file__).parents[1]
RUN = "runs/qvhighlights/toy/full/seed1"
SCALE = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 24, val_queries: 8, test_queries: 8}
settings:
  qvhighlights:
    training: {epochs: 2, batch_size: 8}
    methods: {toy: {hidden_width: 8}}
"""
pytestmark = pytest.mark.workflow


class Installation:
    """A copy of the extension, installed beside the repository's own sadetr."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        # Laid out as pip leaves a package: its files and its metadata in one folder on the path.
        shutil.copytree(ROOT / "tests/extension", folder, dirs_exist_ok=True)
        (folder / "tiny.yaml").write_text(SCALE)
        self.environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(folder), str(ROOT)))}
        self.results = folder / "results/tiny"

    def call(self, *command: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=600,
        )

    def fingerprint(self) -> str:
        script = "from sadetr.provenance import code_fingerprint; print(code_fingerprint('toy.model'))"
        return self.call("-c", script).stdout


@pytest.fixture(scope="module")
def installed(tmp_path_factory):
    """The extension, with its table made by the workflow."""
    installation = Installation(tmp_path_factory.mktemp("extension"))
    options = ("--snakefile", str(ROOT / "Snakefile"), "--cores", "1", "--nocolor", "--config", "scale=tiny.yaml")
    done = installation.call("-m", "snakemake", "table13", *options)
    assert done.returncode == 0, done.stdout + done.stderr
    return installation


def test_its_table_is_made_by_the_workflow(installed):
    assert "Toy" in (installed.results / "tables/table13.md").read_text()
    run = installed.results / RUN
    assert {"best", "last"} <= set(pq.read_table(run / "metrics.parquet").to_pandas()["checkpoint"])
    config = json.loads((run / "config.json").read_text())
    assert (config["training"]["learning_rate"], config["model"]["hidden_width"]) == (0.01, 8)


def test_the_same_seed_gives_the_same_bits_again(installed):
    run = installed.results / RUN
    before = (run / "checkpoints/last.safetensors").read_bytes()
    shutil.rmtree(run)
    done = installed.call("-m", "sadetr", "train", "--run", RUN.removeprefix("runs/"), "--scale", "tiny.yaml")
    assert done.returncode == 0, done.stderr
    assert (run / "checkpoints/last.safetensors").read_bytes() == before


def test_its_code_is_part_of_the_fingerprint(installed):
    path = installed.folder / "toy/parts.py"
    text, before = path.read_text(), installed.fingerprint()
    assert before
    path.write_text(text.replace("SHARPNESS = 1.0", "SHARPNESS = 1.0  # a comment"))
    assert installed.fingerprint() == before
    path.write_text(text.replace("SHARPNESS = 1.0", "SHARPNESS = 2.0"))
    assert installed.fingerprint() != before


def test_an_unknown_method_lists_the_extensions_too(installed):
    done = installed.call("-m", "sadetr", "train", "--run", "qvhighlights/toi/full/seed1")
    assert done.returncode == 1
    assert f"Known names: {', '.join(sorted([*named_files('methods'), 'toy']))}" in done.stderr


def test_it_needs_no_scale_file(installed):
    script = f"""
from sadetr.configuration import resolve
for scale in {named_files("scales")}:
    settings = [resolve(setting, "toy", "full", 1, scale) for setting in {named_files("settings")}]
    print(scale, *{{each.training.learning_rate for each in settings}})
"""
    done = installed.call("-c", script)
    assert done.returncode == 0, done.stderr
    # What its own file says of mini, and the default.
    rates = {name: "0.01" if name == "mini" else "0.0001" for name in named_files("scales")}
    assert done.stdout.splitlines() == [f"{scale} {rate}" for scale, rate in rates.items()]
