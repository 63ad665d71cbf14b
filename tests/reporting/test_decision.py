"""Limits hold the rates of false alarms that they are made for."""

import math
from statistics import NormalDist

import numpy as np
import pytest

from sadetr.reporting.decision import PlannedCell, design, table_statistic

LEVELS = {"cell_level": 0.025, "table_level": 0.015, "widest": 4.9, "power": 0.8}


def cells_of(tables: dict[str, int], spread: float = 1.0) -> list[PlannedCell]:
    """Per table so many rows of two metrics."""
    return [
        PlannedCell(table, f"{table}{row}", metric, (table, row, metric), spread)
        for table, rows in tables.items()
        for row in range(rows)
        for metric in ("R1@0.5", "mAP")
    ]


def correlation(first: str, second: str) -> float:
    return 1.0 if first == second else 0.6


def test_cell_limits_share_the_level():
    cells = cells_of({"t1": 20, "t2": 3})
    limits = design(cells, correlation, **LEVELS).cells
    assert len(limits) == 46
    assert sum(NormalDist().cdf(-limit) for limit in limits.values()) == pytest.approx(0.025, rel=1e-6)
    assert len(set(limits.values())) == 1


def test_a_number_that_two_tables_show_is_counted_once():
    cells = cells_of({"t1": 4})
    again = [PlannedCell("t2", cell.row, cell.metric, cell.number, cell.spread) for cell in cells]
    assert design(cells + again, correlation, **LEVELS).cells == design(cells, correlation, **LEVELS).cells


def test_no_limit_is_wider_than_asked_for_and_the_level_still_holds():
    cells = [*cells_of({"t1": 60}), PlannedCell("t1", "erratic", "mAP", "erratic", 1.6)]
    limits = design(cells, correlation, **LEVELS).cells
    assert limits["erratic"] * 1.6 == pytest.approx(4.9)
    assert sum(NormalDist().cdf(-limit) for limit in limits.values()) == pytest.approx(0.025, rel=1e-6)


def test_what_cannot_be_bounded_is_not():
    cells = cells_of({"t1": 10}, spread=4.0)
    limits = design(cells, correlation, **LEVELS).cells
    (limit,) = set(limits.values())
    assert limit == pytest.approx(NormalDist().inv_cdf(1 - 0.025 / 20))


def test_tables_find_one_loss_with_one_power():
    cells = cells_of({"small": 3, "large": 12}, spread=1.2)
    found = design(cells, correlation, **LEVELS)
    assert sum(NormalDist().cdf(-limit) for limit in found.tables.values()) == pytest.approx(0.015, rel=1e-6)
    assert found.detectable["small"] == pytest.approx(found.detectable["large"])
    rng = np.random.default_rng(0)
    root = np.linalg.cholesky([[1.0, 0.6], [0.6, 1.0]])
    for name in ("small", "large"):
        mine = [cell for cell in cells if cell.table == name]
        noise = 1.2 * (rng.standard_normal((4000, len(mine) // 2, 2)) @ root.T).reshape(4000, -1)
        for loss, expected in ((0.0, NormalDist().cdf(-found.tables[name])), (found.detectable[name], 0.8)):
            failing = sum(
                table_statistic(list(zip(mine, row - loss, strict=True)), correlation) < -found.tables[name]
                for row in noise
            )
            assert failing / 4000 == pytest.approx(expected, abs=3 * math.sqrt(expected / 4000) + 1e-3)


def test_nothing_planned_nothing_decided():
    found = design([], correlation, **LEVELS)
    assert not found.cells
    assert not found.tables
