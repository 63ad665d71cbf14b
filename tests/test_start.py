"""What a subcommand does not need it does not import: every job of the workflow pays for its imports."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
SCALE = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 8, val_queries: 4, test_queries: 4}
settings:
  qvhighlights:
    training: {epochs: 1, schedule: {hold_epochs: 1}, batch_size: 8}
    families:
      detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16}
"""
RUN = ("--run", "qvhighlights/moment_detr/full/seed2018")
SETTING = ("--setting", "qvhighlights")
PICTURES, WORKFLOW = ("matplotlib", "seaborn"), ("snakemake",)
COMMANDS = (
    (("generate", *SETTING), ("torch", "pandas", "pyarrow", "scipy", *PICTURES, *WORKFLOW)),
    (("prepare", *SETTING), ("torch", "pandas", "pyarrow", "scipy", *PICTURES, *WORKFLOW)),
    (("train", *RUN), ("pandas", "scipy", "jinja2", *PICTURES, *WORKFLOW)),
    (("predict", *RUN, "--split", "val"), ("torch._dynamo", "pandas", "scipy", "jinja2", *PICTURES, *WORKFLOW)),
    (("evaluate", *RUN), ("torch", "scipy", "jinja2", *PICTURES, *WORKFLOW)),
    (("runs", "--table", "4"), ("torch", "pandas", "pyarrow", "scipy", *PICTURES, *WORKFLOW)),
)
PROGRAM = """
import atexit, sys
atexit.register(lambda: print("modules:", *sys.modules))
from sadetr.cli import main
main()
"""


@pytest.fixture(scope="module")
def imported(tmp_path_factory):
    """Subcommand -> names of the modules that it has imported when it ends; each works with what those before made."""
    folder = tmp_path_factory.mktemp("start")
    (folder / "tiny.yaml").write_text(SCALE)
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    found = {}
    for (name, *words), _ in COMMANDS:
        command = [sys.executable, "-c", PROGRAM, name, *words, "--scale", "tiny.yaml"]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        found[name] = set(done.stdout.rpartition("modules:")[2].split())
    return found


@pytest.mark.parametrize(("words", "forbidden"), COMMANDS, ids=[words[0] for words, _ in COMMANDS])
def test_a_subcommand_imports_what_it_needs(imported, words, forbidden):
    assert not imported[words[0]] & set(forbidden)


def test_the_list_is_of_modules_that_imports_would_show(imported):
    assert {"torch", "pyarrow"} <= imported["train"]
