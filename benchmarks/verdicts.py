"""How often the comparison with the paper is wrong: simulated reproductions, as lines of JSON.

    python benchmarks/verdicts.py [--reproductions 2000] [--losses 500] [--processes 2]

A perfect reproduction draws the paper's numbers and ours from one distribution: the spread of one training that
``config/paper/tolerances.yaml`` gives, on both sides, over as many seeds as each side has. The metrics of one run are
independent, correlated as that file says, or rise and fall together. Two more kinds of truth try the assumptions:
"printed" takes the paper's numbers for exact, so that only ours vary, around the numbers as printed, favourable seeds
included; "wide" lets every training vary 1.25 times as much as is assumed.

Each line says which share of the reproductions each table and the whole fail in. With a loss, the cells of one table
(all runs of its rows, wherever else they count) lie that many points lower: the share in which the table fails is the
power.
"""

import argparse
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from statistics import NormalDist, median

import numpy as np
from numpy.typing import NDArray

from sadetr.configuration import choose_seeds, load_scale
from sadetr.experiments import RunId, target_experiments
from sadetr.reporting.chance import load_chance
from sadetr.reporting.claims import load_claims
from sadetr.reporting.comparison import FAILED, Plan, exit_code, judge, plan
from sadetr.reporting.requirements import compared_table
from sadetr.reporting.scores import Key, Scores

SEEDS = ("paper", "0,1,2,3,2018")
TRUTHS = ("independent", "correlated", "together", "printed", "wide")
LOSS = 2.0
WIDE = 1.25


class DrawnScores(Scores):
    """Numbers of runs that were drawn."""

    def __init__(self) -> None:
        self.runs: dict[RunId, dict[Key, float]] = {}

    def values(self, run: RunId) -> Mapping[Key, float] | None:
        return self.runs.get(run)

    def released(self, setting: str) -> Mapping[Key, float]:
        return {}


@dataclass
class Network:
    """What is scored of one network on one split: its runs, and per metric the reference and the spread."""

    runs: tuple[RunId, ...]
    split: str
    checkpoint: str
    metrics: tuple[str, ...]
    references: NDArray[np.float64]
    spreads: NDArray[np.float64]
    seeds: NDArray[np.int64]
    """Behind each reference."""
    tables: frozenset[str]


def networks_of(planned: Plan, printed: bool) -> list[Network]:
    """Every network whose numbers are compared; with ``printed``, its row's own numbers are the references."""
    runs: dict[tuple, dict[RunId, None]] = {}
    cells: dict[tuple, dict[str, tuple]] = {}
    tables: dict[tuple, set[str]] = {}
    for cell in planned.cells.values():
        first = cell.row.runs[0]
        key = (first.setting, first.method, first.variant, cell.experiment.split, cell.row.checkpoint)
        runs.setdefault(key, {}).update(dict.fromkeys(cell.row.runs))
        single = cell.paper.seeds in (1, None)
        value = cell.paper.value if printed and single else cell.reference.value
        known = cells.setdefault(key, {})
        # A mean over seeds does not replace the number that a row of one seed prints.
        if cell.metric not in known or (printed and single):
            known[cell.metric] = (value, cell.spread, cell.reference.seeds)
        tables.setdefault(key, set()).add(cell.experiment.name)
    return [
        Network(
            tuple(runs[key]),
            key[3],
            key[4],
            tuple(found),
            *(np.array(column) for column in zip(*found.values(), strict=True)),
            tables=frozenset(tables[key]),
        )
        for key, found in cells.items()
    ]


def root_of_correlation(planned: Plan, metrics: Sequence[str], truth: str) -> NDArray[np.float64]:
    """(M, M): what turns independent deviations of M metrics into those of one run."""
    if truth == "together":
        return np.eye(len(metrics), 1).T.repeat(len(metrics), axis=0)
    if truth == "independent":
        return np.eye(len(metrics))
    return np.linalg.cholesky([[planned.chance.correlation(a, b) for a in metrics] for b in metrics])


def draw(planned: Plan, networks: Sequence[Network], truth: str, table: str | None, rng) -> DrawnScores:
    """One reproduction; the networks of ``table`` lie :data:`LOSS` points lower."""
    drawn = DrawnScores()
    factor = WIDE if truth == "wide" else 1.0
    for network in networks:
        count = len(network.metrics)
        root = root_of_correlation(planned, network.metrics, truth)[:, :count]
        spreads = factor * network.spreads
        theirs = 0.0 if truth == "printed" else root @ rng.standard_normal(count) * spreads / np.sqrt(network.seeds)
        expected = network.references - theirs - (LOSS if table in network.tables else 0.0)
        for run in network.runs:
            values = np.clip(expected + root @ rng.standard_normal(count) * spreads, 0.0, 100.0)
            keys = ((network.split, network.checkpoint, metric) for metric in network.metrics)
            drawn.runs.setdefault(run, {}).update(zip(keys, values.tolist(), strict=True))
    return drawn


def planned_of(seeds: str, claims: bool = False) -> Plan:
    """What ``snakemake all`` compares at the scale ``paper``, with the paper's claims or without."""
    scale = choose_seeds(load_scale("paper"), seeds)
    experiments = [experiment for experiment in target_experiments((), scale) if experiment.has_paper_numbers]
    compared = [(experiment, compared_table(experiment)) for experiment in experiments]
    return plan(compared, scale, load_chance(scale), load_claims(compared) if claims else ())


def simulate(job: tuple[str, str, str | None, int]) -> dict:
    """Failures of many reproductions: of cells, of tables, and of the whole."""
    seeds, truth, lowered, reproductions = job
    # The power is that of cells and tables.
    planned = planned_of(seeds, claims=lowered is None)
    networks = networks_of(planned, truth == "printed")
    rng = np.random.default_rng(abs(hash_of(job)))
    tables = dict.fromkeys(planned.limits.tables, 0)
    whole = cells = claims = 0
    for _ in range(reproductions):
        comparison = judge(planned, draw(planned, networks, truth, lowered, rng))
        failing = {cell.experiment for cell in comparison.cells if cell.fails}
        cells += bool(failing)
        claims += any(claim.fails for claim in comparison.claims)
        failing |= {table.experiment for table in comparison.tables if table.fails}
        whole += exit_code(comparison) == FAILED
        for name in failing:
            tables[name] += 1
    share = {name: round(count / reproductions, 4) for name, count in tables.items()}
    line = {"seeds": seeds, "truth": truth, "reproductions": reproductions, "whole": whole / reproductions}
    if lowered is None:
        return {
            "kind": "false alarms",
            **line,
            "cells": cells / reproductions,
            "claims": claims / reproductions,
            "tables": share,
        }
    return {"kind": "power", **line, "table": lowered, "loss": LOSS, "found": share[lowered]}


def hash_of(job: tuple) -> int:
    """A seed that depends on the job alone."""
    return int.from_bytes(json.dumps(job).encode()) % (1 << 63)


def detectable(seeds: str) -> dict:
    """Points below its reference at which a cell, and below its numbers at which a table, is found with the power."""
    planned = planned_of(seeds)
    needed = NormalDist().inv_cdf(planned.chance.settings.power)
    per_metric: dict[str, list[float]] = {}
    for cell in planned.cells.values():
        limit = planned.limits.cells.get(cell.number)
        if limit is not None and not cell.paper.doubtful:
            points = (limit + needed) * cell.planned().spread
            per_metric.setdefault(f"{cell.row.runs[0].setting} {cell.metric}", []).append(points)
    cells = {
        name: {"least": round(min(found), 2), "median": round(median(found), 2), "most": round(max(found), 2)}
        for name, found in per_metric.items()
    }
    tables = {name: round(points, 2) for name, points in planned.limits.detectable.items()}
    return {"kind": "detectable", "seeds": seeds, "tables": tables, "cells": cells}


def jobs(reproductions: int, losses: int) -> Iterator[tuple[str, str, str | None, int]]:
    """False alarms under every truth, then the power for every table."""
    for seeds in SEEDS:
        for truth in TRUTHS:
            yield seeds, truth, None, reproductions
    for seeds in SEEDS:
        for table in planned_of(seeds).limits.tables if losses else ():
            for truth in ("correlated", "printed"):
                yield seeds, truth, table, losses


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reproductions", type=int, default=2000)
    parser.add_argument("--losses", type=int, default=500, help="reproductions per table that lies lower")
    parser.add_argument("--processes", type=int, default=1)
    options = parser.parse_args()
    for seeds in SEEDS:
        print(json.dumps(detectable(seeds)), flush=True)
    with get_context("spawn").Pool(options.processes) as pool:
        for line in pool.imap(simulate, list(jobs(options.reproductions, options.losses))):
            print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
