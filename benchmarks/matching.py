"""Time the matching of a batch beside a loop of scipy's on the same costs. Prints one line of JSON per method.

    python benchmarks/matching.py [--device cuda] [--threads 1] [--repeats 200] [--problems 1000000]

Batches are of the paper's size, with as many windows as QVHighlights' training queries have; the costs are random.
``--problems`` adds a line: how many random problems of one to five windows are solved, and how many of them otherwise
than by scipy. Both solvers take turns, timed in microseconds (of the process on a CPU, of the clock on a GPU):
medians, and the quartiles around them.
"""

import argparse
import time
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import SEED, report
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from training_step import WINDOW_COUNTS

from sadetr.losses.assignment import cheapest_columns
from sadetr.losses.matching import assign

BATCH, MOST_WINDOWS, CLIPS = 32, 5, 75
STAGES = {"sa_detr": (4, 10), "qd_detr": (2, 10), "uvcom": (3, 30)}
"""Method -> stages that are matched, and moment queries."""
TURN = 20
"""Batches that a solver matches before it is the other's turn."""
PORTION = 20_000
"""Random problems that are solved at once."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads")
    parser.add_argument("--repeats", type=int, default=200, help="batches per timing")
    parser.add_argument("--problems", type=int, default=0, help="random problems to be compared")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    device = torch.device(options.device)
    for line in (*timings(options.repeats, device), *comparisons(options.problems, device)):
        report(line, device)


def timings(repeats: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Both solvers on the costs of a batch, per method; a GPU is waited for before and after each."""
    for method, (stages, queries) in STAGES.items():
        cost, mask = batch_costs(stages, queries, device)
        solvers = {"batched": partial(assign, cost, mask), "scipy_loop": partial(scipy_loop, cost, mask)}
        yield {"measured": "time_us", "method": method, "cost": list(cost.shape), **in_turns(solvers, repeats, device)}
    # EaTR's pseudo events: every query has one of up to as many as there are clips.
    rows = torch.randn(10, CLIPS, BATCH, generator=torch.Generator().manual_seed(SEED)).to(device)
    batched = torch.inference_mode()(partial(cheapest_columns, rows))
    solvers = {"batched": batched, "scipy_loop": partial(scipy_loop_of_rows, rows)}
    yield {"measured": "time_us", "method": "eatr", "cost": list(rows.shape), **in_turns(solvers, repeats, device)}


def in_turns(
    solvers: Mapping[str, Callable[[], Tensor]], repeats: int, device: torch.device
) -> dict[str, dict[str, float]]:
    """Time of each solver, which must agree."""
    if not torch.equal(*(solve() for solve in solvers.values())):
        raise AssertionError("both solvers disagree")
    times: dict[str, list[float]] = {name: [] for name in solvers}
    for _ in range(0, repeats, TURN):
        for name, solve in solvers.items():
            times[name] += [microseconds(solve, device) for _ in range(TURN)]
    return {name: spread(values) for name, values in times.items()}


def comparisons(problems: int, device: torch.device) -> Iterator[dict[str, Any]]:
    """Random problems of the paper's number of queries that both solve, and how many they solve differently."""
    if not problems:
        return
    generator, differing, queries = torch.Generator().manual_seed(SEED), 0, 10
    for portion, start in enumerate(range(0, problems, PORTION)):
        size, windows = min(PORTION, problems - start), 1 + portion % MOST_WINDOWS
        cost = torch.randn(1, size, queries, windows, generator=generator).to(device)
        mask = torch.ones(size, windows, dtype=torch.bool, device=device)
        found = assign(cost, mask).cpu()
        differing += int((found != scipy_loop(cost.cpu(), mask.cpu())).any(-1).sum())
    yield {"measured": "agreement", "queries": queries, "problems": problems, "solved_otherwise": differing}


def batch_costs(stages: int, queries: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """Random costs (S, B, N, G) of a batch with real numbers of windows, one of them the most, and their mask."""
    rng = np.random.default_rng(SEED)
    weights = np.array(list(WINDOW_COUNTS.values())) / sum(WINDOW_COUNTS.values())
    counts = torch.from_numpy(rng.choice(list(WINDOW_COUNTS), BATCH, p=weights))
    counts[0] = MOST_WINDOWS
    cost = torch.from_numpy(rng.standard_normal((stages, BATCH, queries, MOST_WINDOWS), np.float32))
    return cost.to(device), (torch.arange(MOST_WINDOWS) < counts.unsqueeze(1)).to(device)


def scipy_loop(cost: Tensor, mask: Tensor) -> Tensor:
    """The same assignment sample by sample and stage by stage on the host; one window takes its cheapest query."""
    cost = cost.nan_to_num(nan=0.0)
    counts = mask.sum(1).tolist()
    assigned = cost.argmin(2).cpu()
    costs = cost.cpu().numpy()
    for sample, count in enumerate(counts):
        if count > 1:
            for stage in range(len(costs)):
                query, span = linear_sum_assignment(costs[stage, sample, :, :count])
                assigned[stage, sample, torch.from_numpy(span)] = torch.from_numpy(query)
    return assigned.to(cost.device) * mask


def scipy_loop_of_rows(rows: Tensor) -> Tensor:
    """The columns (n, K) of costs (n, m, K), problem by problem on the host."""
    columns = [linear_sum_assignment(problem)[1] for problem in rows.permute(2, 0, 1).cpu().numpy()]
    return torch.from_numpy(np.stack(columns, 1)).to(rows.device)


def microseconds(function: Callable[[], object], device: torch.device) -> float:
    on_gpu = device.type == "cuda"
    wait, clock = (torch.cuda.synchronize, time.perf_counter) if on_gpu else (lambda: None, time.process_time)
    wait()
    start = clock()
    function()
    wait()
    return 1e6 * (clock() - start)


def spread(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    lower, median, upper = np.percentile(values, (25, 50, 75)).round(1)
    return {"median": float(median), "lower_quartile": float(lower), "upper_quartile": float(upper)}


if __name__ == "__main__":
    main()
