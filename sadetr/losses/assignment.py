"""The linear assignment problem for many small matrices of costs at once, without a look at their values.

Rows are assigned one after the other. The best assignment of one row more differs from the last one by a chain: the new
row takes the column of another row, that one the column of a third, and so on to one that takes a free column. While
there are few chains the cheapest is found among all of them, and by the Bellman-Ford recursion from then on. What is
computed so depends on shapes alone, and a GPU is never waited for. Matrices of many rows are left to scipy.
"""

from itertools import pairwise, permutations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

ENUMERATED = 5
"""Rows up to which all chains are compared: there are 65 for the fifth row, and 326 for a sixth."""
BATCHED = 16
"""Rows up to which no value is read back; the number of operations grows with their square."""
PRECISION = 42
"""Bits to which the recursion rounds costs, so that their sums and differences are exact in double precision."""


def cheapest_columns(cost: Tensor) -> Tensor:
    """Assign a column of its own to every row, at least total cost.

    Of equally cheap assignments one is taken by a rule that is the same on all devices: rows are assigned from the
    first to the last, by the chain that moves fewest other rows, to the first of equally cheap columns. (More than
    ``BATCHED`` rows: scipy's rule.)

    Args:
        cost: (n, m, K) of K problems, finite, with n <= m. Side by side they suit vector instructions.

    Returns:
        (n, K) int64.
    """
    rows, cost = len(cost), cost.double()
    if rows > BATCHED:
        return _by_scipy(cost)
    cost = _rounded(cost) if rows > ENUMERATED else cost
    columns = cost[:1].min(1).indices
    if rows < 2:
        return columns
    # At the size of the paper's batches, time goes by the number of operations rather than by what each computes.
    taken, chains = torch.zeros_like(cost[0]), _chains(cost.device)
    for row in range(1, rows):
        so_far = cost[: row + 1]
        free = (so_far + taken.scatter_(0, columns, torch.inf)).min(1, keepdim=True)
        # What each row would pay for the column of each assigned row and, behind them, for the best of the free ones.
        moves = torch.cat((so_far.gather(1, columns.expand(row + 1, -1, -1)), free.values), 1)
        sources = _cheapest_chain(moves, *chains[row + 1]) if row < ENUMERATED else _shortest_chain(moves)
        columns = torch.cat((columns, free.indices.squeeze(1))).gather(0, sources)
    return columns


def _cheapest_chain(moves: Tensor, members: Tensor, sources: Tensor) -> Tensor:
    """Where every row gets its column from: the cheapest of all chains.

    Args:
        moves: (n, n, K) cost of row i for the column of row j < n - 1 and, last, for the best free one.
        members: of :func:`_all_chains`.
        sources: of the same.

    Returns:
        (n, K) int64, j for the column of row j, n - 1 + i for the free one of row i.
    """
    # As a product of matrices: up to five costs of single precision, whose sum double precision holds.
    cheapest = members.mm(moves.flatten(0, 1)).min(0).indices
    return sources.index_select(1, cheapest)


_CHAINS: dict[str, dict[int, tuple[Tensor, Tensor]]] = {}
"""By device. Made in the first step; from then on also a compiled step finds them where they are."""


def _chains(device: torch.device) -> dict[int, tuple[Tensor, Tensor]]:
    """:func:`_all_chains` by the number of rows, of two and more as far as all are compared."""
    name = str(device)
    if name not in _CHAINS:
        tables = {rows: _all_chains(rows) for rows in range(2, ENUMERATED + 1)}
        _CHAINS[name] = {rows: (members.to(device), sources.to(device)) for rows, (members, sources) in tables.items()}
    return _CHAINS[name]


def _all_chains(rows: int) -> tuple[Tensor, Tensor]:
    """All P chains that begin with the last of n rows, those that move fewer rows first.

    Returns:
        (P, n n) float64, which of the moves, row by row, are those of a chain: 1 or 0; and (n, P) int64, where every
        row gets its column from, as :func:`_cheapest_chain` says.
    """
    last, chains = rows - 1, []
    for others in range(rows):
        for moved in permutations(range(last), others):
            # Whose column each row takes: its own where it stays, and that of the last, which has none, if a free one.
            takes = list(range(rows))
            for row, following in pairwise((last, *moved, last)):
                takes[row] = following
            chains.append(takes)
    takes = torch.tensor(chains)
    moves = functional.one_hot(takes, rows).flatten(1)
    sources = torch.where(takes == last, last + torch.arange(rows), takes)
    return moves.double(), sources.T.contiguous()


def _shortest_chain(moves: Tensor) -> Tensor:
    """The same by the Bellman-Ford recursion: what leaving its column costs a row at least, whatever follows."""
    last, count = len(moves) - 1, moves.shape[2]
    row = torch.arange(last + 2, device=moves.device).unsqueeze(1)
    own = moves[:last, :last].diagonal().T
    losses, least = moves[:, :last] - own, moves[:, last]
    # Who moves on; row n stands for a free column, behind which nobody does.
    nobody = torch.full_like(row, last + 1).expand(-1, count)
    following = nobody[:-1]
    for _ in range(last):
        through = (losses + least[:last]).min(1)
        # Only what is cheaper: chains that come back to a row of theirs are not.
        following = torch.where(through.values < least, through.indices, following)
        least = torch.minimum(through.values, least)
    following = torch.cat((following, nobody[-1:]))
    sources, current = row.expand(-1, count), row[last:-1].expand(-1, count)
    for _ in range(last + 1):
        after = following.gather(0, current)
        sources, current = sources.scatter(0, current, after), after
    row, sources = row[:-1], sources[:-1]
    return torch.where(sources > last, last + row, sources)


def _rounded(cost: Tensor) -> Tensor:
    """(n, m, K) costs as integers of at most ``PRECISION`` bits, each problem by a scale of its own.

    Costs that are no sums of few bits could make a chain that comes back to a row look cheaper than it is.
    """
    largest = cost.abs().amax((0, 1)).clamp(min=torch.finfo(cost.dtype).tiny * 2**PRECISION)
    return (cost * (2**PRECISION / largest)).round()


def _by_scipy(cost: Tensor) -> Tensor:
    """Solve one problem after the other on the host, which a GPU is waited for once."""
    # Not at the top: it takes half a second to import, and no method of the paper has as many windows.
    from scipy.optimize import linear_sum_assignment

    columns = np.empty(cost.shape[::2], np.int64)
    for number, problem in enumerate(cost.permute(2, 0, 1).cpu().numpy()):
        _, columns[:, number] = linear_sum_assignment(problem)
    return torch.from_numpy(columns).to(cost.device)
