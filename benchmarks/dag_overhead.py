"""What the workflow costs beside its jobs' own work. Prints one line of JSON, wall time.

    python benchmarks/dag_overhead.py [--repeats 5]

``interpreter`` is an empty Python, ``command`` a subcommand without torch, ``training`` all that a training imports:
every job pays one of the last two. ``plan`` is a dry run of everything at the scale ``mini``: Snakemake's own start,
the DAG, and the look at every file.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

import torch
from training_step import environment, milliseconds, spread

ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="dag_overhead_") as folder:
        plan = [
            "-m",
            "snakemake",
            "--snakefile",
            str(ROOT / "Snakefile"),
            "--directory",
            folder,
            "--dry-run",
            "--quiet",
        ]
        commands = {
            "interpreter": ["-c", "pass"],
            "command": ["-m", "sadetr", "snakefile"],
            "training": ["-c", "import sadetr.training.run"],
            "plan": [*plan, "--cores", "1", "all"],
        }
        times = {name: [wall(words) for _ in range(arguments.repeats)] for name, words in commands.items()}
    line = {
        "benchmark": "dag_overhead",
        **{name: spread(values) for name, values in times.items()},
        "repeats": arguments.repeats,
        "load_average": round(os.getloadavg()[0], 2),
        "command_line": " ".join(["python benchmarks/dag_overhead.py", *sys.argv[1:]]),
        **environment(torch.device("cpu")),
    }
    print(json.dumps(line))


def wall(words: Sequence[str]) -> float:
    """Milliseconds that Python takes with these words."""
    paths = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    variables = os.environ | {"PYTHONPATH": paths}
    command = [sys.executable, *words]
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return milliseconds(lambda: subprocess.run(command, check=True, env=variables, **quiet), torch.device("cpu"))


if __name__ == "__main__":
    main()
