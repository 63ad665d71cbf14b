"""What the jobs of a finished workflow took, from the files of its `benchmark:` lines.

    snakemake --cores 1 table5 --config preload=false
    python benchmarks/rule_resources.py --scale mini > benchmarks/results/rule_resources.mini.cpu.jsonl

Prints a line of JSON per rule, for trainings one per benchmark setting and method: jobs, median and most seconds, most
memory that a job and all it started had resident (MB). Files below `preloaded/` are left out: Snakemake measures what
it started itself, and those jobs were started by another process. `config/resources.yaml` is made from these lines.
"""

import argparse
import csv
import statistics
import sys
from collections import defaultdict
from pathlib import Path

from measuring import report

from sadetr.configuration import load_scale
from sadetr.errors import SadetrError
from sadetr.layout import Layout


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--results", type=Path, default=Path("results"))
    arguments = parser.parse_args()
    try:
        folder = Layout(load_scale(arguments.scale), arguments.results).folder / "benchmarks"
        if not grouped(folder):
            raise SadetrError(f"{folder}: no jobs; run the workflow at this scale first, with --config preload=false")
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    command = f"python benchmarks/rule_resources.py --scale {arguments.scale}"
    for group, jobs in sorted(grouped(folder).items()):
        report({"scale": arguments.scale, **dict(group), **summary(jobs)}, command=command)
    return 0


def grouped(folder: Path) -> dict[tuple[tuple[str, str], ...], list[dict[str, str]]]:
    """What identifies a line of output -> rows of the files behind it."""
    found = defaultdict(list)
    for path in folder.rglob("*.tsv"):
        rule, *names = path.relative_to(folder).with_suffix("").parts
        if rule == "preloaded":
            continue
        group = {"rule": rule}
        if rule == "train":
            group |= {"setting": names[0], "method": names[1]}
        with open(path, newline="") as file:
            found[tuple(group.items())] += csv.DictReader(file, delimiter="\t")
    return found


def summary(jobs: list[dict[str, str]]) -> dict[str, float]:
    seconds = [float(job["s"]) for job in jobs]
    # Jobs of less than a few hundredths of a second are over before they are looked at.
    resident = [float(job["max_rss"]) for job in jobs if job["max_rss"] != "NA"]
    return {
        "jobs": len(jobs),
        "median_s": round(statistics.median(seconds), 2),
        "max_s": round(max(seconds), 2),
        "max_resident_mb": round(max(resident, default=0.0), 1),
    }


if __name__ == "__main__":
    sys.exit(main())
