"""The words that users type first, through Snakemake itself."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def test_targets_behind_greedy_options_are_targets(tmp_path):
    (tmp_path / "mini.yaml").write_text("scale: mini\n")
    typed = "--cores 1 --resources gpu=1 table9 --configfile mini.yaml table10 --config results=mine table11"
    # What `snakemake` does, without the working directory on the path that `python -m` adds.
    command = [sys.executable, "-P", "-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "-n", *typed.split()]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = {line.split()[0] for line in done.stdout.splitlines() if line.strip()}
    assert {"table9", "table10", "table11"} <= planned
    assert "output: mine/mini/" in done.stdout
    assert {"all", "table4"}.isdisjoint(planned)


def test_a_program_that_imports_the_plug_in_keeps_its_words():
    code = "import sys; import snakemake_logger_plugin_sadetr; print(sys.argv[1:])"
    command = [sys.executable, "-c", code, "--resources", "gpu=1", "all"]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "['--resources', 'gpu=1', 'all']"
