"""When a difference is more than chance: limits that hold the rate of false alarms of everything judged together.

A perfect reproduction differs from the paper by what two draws of seeds differ by. Two tests look at the differences,
in standard deviations:

* every **cell** against a limit of its own. The limits share one level by Bonferroni's inequality, which holds however
  the cells depend on each other; numbers that several tables show are counted once;
* every **table** as a whole, by the sum over its rows of each row's mean. It finds a small loss in many cells.

Both look downwards only. Everything about them is fixed by what was planned to be run, before there is a result.
"""

import math
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

NORMAL = NormalDist()
STEPS = 80
"""Halvings of an interval of limits: enough for every digit of a float."""
WIDEST_LIMIT = 12.0
"""Standard deviations beyond which no limit is looked for."""
CAPPED_SHARE = 0.5
"""Part of the level that cells with a bounded limit may take together; beyond it none is bounded."""


@dataclass(frozen=True)
class PlannedCell:
    """A required number: ``number`` is equal for what is one number in several tables.

    ``spread`` is the standard deviation of its difference to the paper's, in percentage points, and ``row`` the network
    in its table.
    """

    table: str
    row: str
    metric: str
    number: Hashable
    spread: float


@dataclass(frozen=True)
class Design:
    """Limits in standard deviations, below zero."""

    cells: Mapping[Hashable, float]
    """Number -> limit of its difference."""
    tables: Mapping[str, float]
    """Table -> limit of its statistic."""
    detectable: Mapping[str, float]
    """Table -> loss in every cell, in percentage points, that is found with probability ``power``."""


def design(
    cells: Sequence[PlannedCell],
    correlation: Callable[[str, str], float],
    *,
    cell_level: float,
    table_level: float,
    widest: float,
    power: float,
) -> Design:
    """The limits of everything that is judged together.

    Args:
        cells: the required cells of all tables.
        correlation: of the differences of two metrics of one run.
        cell_level, table_level: probabilities of a false alarm, of all cells and of all tables.
        widest: percentage points that no cell's limit shall exceed.
        power: with which each table's loss is found.
    """
    numbers = {cell.number: cell.spread for cell in cells}
    tables: dict[str, list[PlannedCell]] = {}
    for cell in cells:
        tables.setdefault(cell.table, []).append(cell)
    gains = {name: _gain(planned, correlation) for name, planned in tables.items()}
    limits = _table_limits(gains, table_level, power)
    needed = NORMAL.inv_cdf(power)
    return Design(
        cells=dict(zip(numbers, _cell_limits(list(numbers.values()), cell_level, widest), strict=True)),
        tables=limits,
        detectable={name: (limits[name] + needed) / gain for name, gain in gains.items()},
    )


def _cell_limits(spreads: Sequence[float], level: float, widest: float) -> list[float]:
    """One limit for all, except where it would lie further away than ``widest`` points."""
    bounds = [widest / spread for spread in spreads]
    common = NORMAL.inv_cdf(1 - level / max(len(spreads), 1))
    if sum(_tail(bound) for bound in bounds if bound < common) > CAPPED_SHARE * level:
        return [common] * len(spreads)
    limit = _solve(lambda common: sum(_tail(min(common, bound)) for bound in bounds), level)
    return [min(limit, bound) for bound in bounds]


def _table_limits(gains: Mapping[str, float], level: float, power: float) -> dict[str, float]:
    """Limits at which one loss, the same for all tables, is found with probability ``power`` in each."""
    needed = NORMAL.inv_cdf(power)

    def limit(loss: float, gain: float) -> float:
        return min(max(loss * gain - needed, 0.0), WIDEST_LIMIT)

    loss = _solve(lambda loss: sum(_tail(limit(loss, gain)) for gain in gains.values()), level)
    return {name: limit(loss, gain) for name, gain in gains.items()}


def _solve(false_alarms: Callable[[float], float], level: float) -> float:
    """The least limit, or loss, whose false alarms do not exceed ``level``; they fall as it grows."""
    low, high = 0.0, 100.0
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if false_alarms(middle) > level else (low, middle)
    return high


def _tail(limit: float) -> float:
    return NORMAL.cdf(-limit)


def _gain(cells: Sequence[PlannedCell], correlation: Callable[[str, str], float]) -> float:
    """Change of a table's statistic per percentage point that every cell lies lower."""
    return -table_statistic([(cell, -1.0) for cell in cells], correlation)


def table_statistic(
    differences: Sequence[tuple[PlannedCell, float]], correlation: Callable[[str, str], float]
) -> float:
    """Sum over the rows of the mean of a row's standardised differences; its standard deviation is one.

    Rows are networks trained on their own; the metrics of a row depend on each other.

    Args:
        differences: of one table's cells to the paper, in percentage points.
        correlation: of the differences of two metrics of one run.
    """
    rows: dict[str, list[tuple[PlannedCell, float]]] = {}
    for cell, difference in differences:
        rows.setdefault(cell.row, []).append((cell, difference / cell.spread))
    total = variance = 0.0
    for members in rows.values():
        total += sum(value for _, value in members) / len(members)
        pairs = sum(correlation(first.metric, second.metric) for first, _ in members for second, _ in members)
        variance += pairs / len(members) ** 2
    return total / math.sqrt(variance)
