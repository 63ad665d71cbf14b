"""The batched assignment: scipy's where one solution is best, as cheap where several are, the same in every batch."""

from itertools import pairwise, permutations

import numpy as np
import pytest
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from sadetr.losses.assignment import BATCHED, ENUMERATED, cheapest_columns

SHAPES = [
    (1, 4),
    (2, 2),
    (3, 10),
    (ENUMERATED, ENUMERATED),
    (ENUMERATED, 30),
    (ENUMERATED + 1, ENUMERATED + 1),
    (10, 40),
    (BATCHED, BATCHED),
    (BATCHED + 1, BATCHED + 3),
]
each_shape = pytest.mark.parametrize(("rows", "columns"), SHAPES)
PROBLEMS = 200


def solved(cost: Tensor) -> Tensor:
    """(K, n, m) -> (K, n)."""
    return cheapest_columns(cost.permute(1, 2, 0)).T


def scipys(cost: Tensor) -> Tensor:
    return torch.from_numpy(np.stack([linear_sum_assignment(problem)[1] for problem in cost.numpy()]))


def totals(cost: Tensor, columns: Tensor) -> Tensor:
    return cost.double().gather(2, columns.unsqueeze(2)).sum((1, 2))


def random_costs(rows: int, columns: int, seed: int = 0) -> Tensor:
    return torch.randn(PROBLEMS, rows, columns, generator=torch.Generator().manual_seed(seed))


def is_one_to_one(columns: Tensor) -> bool:
    return all(len(set(row)) == len(row) for row in columns.tolist())


@each_shape
@pytest.mark.parametrize("seed", range(3))
def test_random_costs_are_assigned_as_by_scipy(rows, columns, seed):
    cost = random_costs(rows, columns, seed)
    assert torch.equal(solved(cost), scipys(cost))


@each_shape
@pytest.mark.parametrize("values", [1, 2, 4])
def test_of_equally_cheap_assignments_one_is_found(rows, columns, values):
    cost = torch.randint(0, values, (PROBLEMS, rows, columns), generator=torch.Generator().manual_seed(values)).float()
    found = solved(cost)
    assert is_one_to_one(found)
    assert torch.equal(totals(cost, found), totals(cost, scipys(cost)))


@each_shape
def test_costs_of_any_size_are_told_apart(rows, columns):
    """Small differences beside large costs, which single precision would lose in a sum."""
    cost = random_costs(rows, columns) * 1e-3
    cost[:, 0] += 1000
    found = solved(cost)
    assert is_one_to_one(found)
    torch.testing.assert_close(totals(cost, found), totals(cost, scipys(cost)), rtol=0, atol=1e-8)
    for scale in (1e-30, 1e30):
        assert torch.equal(solved(random_costs(rows, columns) * scale), scipys(random_costs(rows, columns)))


@pytest.mark.parametrize(("rows", "columns"), SHAPES[:-1])
def test_ties_go_to_the_first_column_and_to_whoever_has_it(rows, columns):
    assert torch.equal(solved(torch.zeros(1, rows, columns))[0], torch.arange(rows))
    # The second row wants the first one's column as much as the first, which stays.
    cost = torch.ones(1, rows, columns)
    cost[:, :2, 0] = 0
    assert torch.equal(solved(cost)[0], torch.arange(rows))


def by_the_rule(cost: list[list[int]]) -> list[int]:
    """The columns of one problem, chain by chain as the rule for equal costs is written down."""
    columns = []
    for newcomer in range(len(cost)):
        free = [column for column in range(len(cost[0])) if column not in columns]
        chains = []
        for moved in (order for others in range(newcomer + 1) for order in permutations(range(newcomer), others)):
            after = dict(enumerate(columns))
            after |= {row: columns[following] for row, following in pairwise((newcomer, *moved))}
            end = (newcomer, *moved)[-1]
            after[end] = min(free, key=cost[end].__getitem__)
            chains.append([after[row] for row in range(newcomer + 1)])
        columns = min(chains, key=lambda chain: sum(cost[row][column] for row, column in enumerate(chain)))
    return columns


@pytest.mark.parametrize(("rows", "columns"), [(1, 4), (2, 2), (3, 10), (4, 6), (ENUMERATED, ENUMERATED), (5, 12)])
@pytest.mark.parametrize("values", [2, 4])
def test_of_equally_cheap_assignments_the_one_of_the_rule_is_taken(rows, columns, values):
    """So that a change of how it is computed changes no training."""
    cost = torch.randint(0, values, (PROBLEMS, rows, columns), generator=torch.Generator().manual_seed(rows))
    assert solved(cost.float()).tolist() == [by_the_rule(problem) for problem in cost.tolist()]


@each_shape
def test_a_problem_is_solved_as_in_any_other_batch(rows, columns):
    cost = random_costs(rows, columns)[:7]
    together = solved(cost)
    assert all(torch.equal(solved(cost[index : index + 1])[0], together[index]) for index in range(7))
    assert solved(cost[:0]).shape == (0, rows)


def test_no_rows_have_no_columns():
    assert solved(torch.zeros(3, 0, 4)).shape == (3, 0)
