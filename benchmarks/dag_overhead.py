"""What the workflow costs beside its jobs' own work. Prints one line of JSON, wall and processor time.

    python benchmarks/dag_overhead.py [--repeats 5] [--targets table5]

``interpreter`` is an empty Python, ``subcommand`` a subcommand without torch, ``training`` all that a training imports:
a job pays one of the last two, or ``preloaded``, the same subcommand run by the preloaded process. ``first_plan`` is a
dry run of everything at the scale ``mini`` in a new folder: Snakemake's own start, the DAG, and the look at every file.
``plan`` is one where others were before, and left what they found of the sources. Times of the clock;
``cpu_ms`` has what processors worked, and ``preload``, the preloaded process itself, which a run of the workflow starts
once. ``workflow`` has the seconds that targets take from nothing on two cores, with a preloaded process and without.
"""

import argparse
import contextlib
import ctypes
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path

from measuring import milliseconds, report, spread

from sadetr.preloading import launch

PR_SET_CHILD_SUBREAPER = 36
PLANNED = "all"
ROOT = Path(__file__).parents[1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--targets", nargs="+", default=[], help="Tables, figures or files of the scale mini.")
    arguments = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH")]))
    with tempfile.TemporaryDirectory(prefix="dag_overhead_") as folder:
        snakemake = ["-m", "snakemake", "--snakefile", str(ROOT / "Snakefile"), "--quiet", "all", "--directory"]
        commands = {
            "interpreter": ["-c", "pass"],
            "subcommand": ["-m", "sadetr", "snakefile"],
            # The modules of a method and of deterministic kernels are imported when they are used.
            "training": ["-c", "import sadetr.training.run, sadetr.models.sa_detr.model, torch._dynamo"],
        }
        times = {
            name: [cost([sys.executable, *words]) for _ in range(arguments.repeats)] for name, words in commands.items()
        }
        planning = [*snakemake, folder, "--dry-run", "--cores", "1", PLANNED]
        times |= plans(planning, Path(folder), arguments.repeats)
        times["preloaded"], preload = preloaded(Path(folder), commands["subcommand"], arguments.repeats)
        whole = {
            f"preload={value}": workflow([*snakemake, f"{folder}/{value}", "--cores", "2", *arguments.targets], value)
            for value in (["true", "false"] if arguments.targets else [])
        }
    line = {
        **{name: spread([wall for wall, _ in values]) for name, values in times.items()},
        "cpu_ms": {
            **{name: round(statistics.median(cpu for _, cpu in values), 1) for name, values in times.items()},
            "preload": round(preload, 1),
        },
        **({"workflow": whole} if whole else {}),
        "repeats": arguments.repeats,
    }
    report(line)


def cost(command: Sequence[str]) -> tuple[float, float]:
    """Milliseconds of the clock and of processors that a command takes, with the variables of a job."""
    variables = os.environ | launch.SETTLED
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    before = children()
    wall = milliseconds(lambda: subprocess.run(command, check=True, env=variables, **quiet))
    return wall, children() - before


def plans(words: Sequence[str], folder: Path, repeats: int) -> dict[str, list[tuple[float, float]]]:
    """The costs of a dry run in a folder that is new, and of one where two others were, in turns.

    The very first one has no folder of Snakemake's to keep anything in until it has read all rules.
    """
    times: dict[str, list[tuple[float, float]]] = {"first_plan": [], "plan": []}
    for _ in range(repeats):
        shutil.rmtree(folder / ".snakemake", ignore_errors=True)
        first, _, last = [cost([sys.executable, *words]) for _ in range(3)]
        times["first_plan"].append(first)
        times["plan"].append(last)
    return times


def children() -> float:
    """Milliseconds that processors have worked for processes that were started here and have ended."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return 1000 * (used.ru_utime + used.ru_stime)


def workflow(words: Sequence[str], preload: str) -> dict[str, float]:
    """Seconds of the clock and of processors that a Snakemake takes, with all that it leaves behind."""
    # Orphans become children of this process, so that their time is counted.
    ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1)
    before = children()
    wall, _ = cost([sys.executable, *words, "--config", f"preload={preload}"])
    with contextlib.suppress(ChildProcessError):
        while True:
            os.wait()
    return {"s": round(wall / 1000, 1), "cpu_s": round((children() - before) / 1000, 1)}


def preloaded(folder: Path, words: Sequence[str], repeats: int) -> tuple[list[tuple[float, float]], float]:
    """The cost of a job in a preloaded process, and the processor time that this one takes for itself."""
    served = {}
    for jobs in (1, 1 + repeats):
        before = children()
        process = launch.launch(folder)
        if process is None:
            raise SystemExit((folder / launch.LOG).read_text())
        # The first one waits for the imports.
        costs = [cost([*launch.PYTHON, *words]) for _ in range(jobs)][1:]
        process.stdin.close()
        process.wait()
        served[jobs] = children() - before
    if "refused" in (log := (folder / launch.LOG).read_text()):
        raise SystemExit(log)
    job = (served[1 + repeats] - served[1]) / repeats
    return [(wall, job) for wall, _ in costs], served[1] - job


if __name__ == "__main__":
    main()
