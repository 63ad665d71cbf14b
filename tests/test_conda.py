"""``--sdm conda``: jobs run with the Python of an environment made from ``workflow/environment.yaml``.

Conda itself is a stub that notes what it is asked for: what it would install comes from elsewhere.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
CONDA = """#!/bin/sh
case "$*" in
    "info --json") echo '{{"conda_prefix": "{prefix}", "platform": "linux-64"}}' ;;
    "--version") echo "conda 25.9.0" ;;
    "config --get channel_priority --json") echo '{{"get": {{"channel_priority": "strict"}}}}' ;;
    *create*)
        echo "$*" > "{prefix}/created"
        while [ "$#" -gt 0 ]; do
            case "$1" in
                --file) cp "$2" "{prefix}/environment.yaml"; shift ;;
                --prefix) mkdir -p "$2/bin"; ln -s "{prefix}/python" "$2/bin/python"; shift ;;
            esac
            shift
        done ;;
esac
"""
ACTIVATE = 'export PATH="$1/bin:$PATH"\n'
PYTHON = '#!/bin/sh\necho "$*" >> "{prefix}/called"\nexec "{python}" "$@"\n'
TARGET = "results/mini/data/charades_sta.json"


@pytest.fixture
def prefix(tmp_path):
    """Where the stub is installed."""
    prefix = tmp_path / "conda"
    (prefix / "bin").mkdir(parents=True)
    for name, text in {"bin/conda": CONDA, "bin/activate": ACTIVATE, "python": PYTHON}.items():
        content = text if name == "bin/activate" else text.format(prefix=prefix, python=sys.executable)
        (prefix / name).write_text(content)
        (prefix / name).chmod(0o755)
    return prefix


def make(prefix: Path, *words: str) -> subprocess.CompletedProcess:
    """``snakemake TARGET`` beside the stub, in a folder that is no checkout."""
    environment = os.environ | {"PATH": f"{prefix}/bin:{os.environ['PATH']}", "PYTHONPATH": str(ROOT)}
    command = [
        sys.executable,
        "-m",
        "snakemake",
        TARGET,
        "--snakefile",
        str(ROOT / "Snakefile"),
        "--cores",
        "1",
        *words,
    ]
    return subprocess.run(
        command, cwd=prefix.parent, env=environment, capture_output=True, text=True, check=False, timeout=300
    )


def test_jobs_run_in_the_environment(prefix):
    done = make(prefix, "--sdm", "conda")
    assert done.returncode == 0, done.stdout + done.stderr
    assert (prefix / "environment.yaml").read_text() == (ROOT / "workflow/environment.yaml").read_text()
    assert (prefix / "called").read_text().startswith("-m sadetr generate --scale mini")
    assert (prefix.parent / TARGET).exists()


def test_nobody_who_does_not_ask_for_it_needs_conda(prefix):
    done = make(prefix)
    assert done.returncode == 0, done.stdout + done.stderr
    assert not (prefix / "created").exists()
    assert not (prefix / "called").exists()
