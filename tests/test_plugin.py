"""The words that users type first, through Snakemake itself."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


@pytest.mark.parametrize(
    "typed",
    [
        ("--cores", "1", "--resources", "gpu=1", "table9"),
        ("--cores", "1", "--config", "scale=mini", "table9"),
        ("--cores", "1", "--configfile", "mini.yaml", "table9"),
    ],
    ids=lambda typed: typed[2],
)
def test_a_target_behind_a_greedy_option_is_a_target(tmp_path, typed):
    (tmp_path / "mini.yaml").write_text("scale: mini\n")
    # What `snakemake` does, without the working directory on the path that `python -m` adds.
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", "-q", *typed]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    text = done.stdout + done.stderr
    assert done.returncode == 0, text
    planned = [line.split()[0] for line in text.splitlines() if line.strip()]
    assert "table9" in planned
    assert "table1" not in planned


def test_a_program_that_imports_the_plug_in_keeps_its_words():
    code = "import sys; import snakemake_logger_plugin_sadetr; print(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--resources", "gpu=1", "all"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['--resources', 'gpu=1', 'all']"
