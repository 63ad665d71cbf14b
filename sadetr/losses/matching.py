"""Hungarian matching of predicted spans to ground truth."""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.errors import SettingsError
from sadetr.losses.assignment import cheapest_columns
from sadetr.nn.spans import cw_to_se, generalised_iou


def pair_terms(spans: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    """L1 distance ``|dc| + |dw|`` and generalised IoU of all pairs, unclamped.

    (..., B, N, 2) and (B, G, 2) ``cw`` -> twice (..., B, N, G).
    """
    predicted, target = spans.unsqueeze(-2), truth.unsqueeze(-3)
    return (predicted - target).abs().sum(-1), generalised_iou(cw_to_se(predicted), cw_to_se(target))


@torch.no_grad()
def match(
    spans: Tensor,
    truth: Tensor,
    mask: Tensor,
    l1_weight: float,
    giou_weight: float,
    query_cost: Tensor | None = None,
) -> Tensor:
    """Assign a distinct query to every ground-truth span, at least total cost (D50).

    Cost of query j and span m: ``l1_weight * (|dc| + |dw|) - giou_weight * gIoU``, on unclamped spans. All stages and
    samples of a batch are matched together, where they are.

    Args:
        spans: (S, B, N, 2) ``cw`` predictions of S stages.
        truth: (B, G, 2) ``cw``, zero-padded, with G <= N.
        mask: (B, G) bool, valid spans first.
        l1_weight: of the L1 distance.
        giou_weight: of the generalised IoU.
        query_cost: (S, B, N) added for every span: the cost of a query's class, say.

    Returns:
        (S, B, G) int64 query of each span; 0 at invalid slots.

    Raises:
        SettingsError: a sample has more spans than there are queries.
    """
    cost = _pair_cost(spans, truth, l1_weight, giou_weight)
    return assign(cost if query_cost is None else cost + query_cost.unsqueeze(3), mask)


@torch.no_grad()
def assign(cost: Tensor, mask: Tensor) -> Tensor:
    """Assign a distinct query to every ground-truth span, at least total cost, whatever the costs are.

    Args:
        cost: (S, B, N, G) of every query for every span, in S stages.
        mask: (B, G) bool, valid spans first.

    Returns:
        (S, B, G) int64 query of each span; 0 at invalid slots.

    Raises:
        SettingsError: a sample has more spans than there are queries.
    """
    (queries, windows), slots = cost.shape[2:], mask
    if windows > queries:
        if mask[:, queries:].any():
            raise SettingsError(
                f"{int(mask.sum(1).max())} windows cannot have a moment query each of {queries}; raise "
                "num_moment_queries of the method or lower max_windows of the dataset"
            )
        cost, slots = cost[..., :queries], mask[:, :queries]
    with _unrecorded():
        assigned = _assigned(cost, slots)
    return assigned * mask if slots is mask else functional.pad(assigned * slots, (0, windows - queries))


def _unrecorded() -> AbstractContextManager[object]:
    """Where autograd keeps no account of views and versions: a fifth of the time of operations on so few values.

    What is computed outside from a tensor of inside is an ordinary one. A compiled step has neither the accounts nor
    this mode.
    """
    return nullcontext() if torch.compiler.is_compiling() else torch.inference_mode()


def _assigned(cost: Tensor, slots: Tensor) -> Tensor:
    """The same for as many slots as there are queries at most, with any query at invalid slots."""
    stages, samples = cost.shape[:2]
    # A diverged model must reach the check of the loss, not stop the solver.
    cost = cost.nan_to_num(nan=0.0)
    # Empty slots cost nothing with any query, and come last: those before them choose as if they were alone.
    rows = (cost * slots.unsqueeze(1)).permute(3, 2, 0, 1)
    rows = rows.to(torch.float64, memory_format=torch.contiguous_format).flatten(2)
    return cheapest_columns(rows).view(-1, stages, samples).permute(1, 2, 0)


@torch.no_grad()
def match_what_fits(
    spans: Tensor, truth: Tensor, mask: Tensor, l1_weight: float, giou_weight: float
) -> tuple[Tensor, Tensor]:
    """Pair queries and spans at least total cost, as many as there are of the fewer; costs as in :func:`match`.

    Args:
        spans: (B, N, 2) ``cw`` predictions.
        truth: (B, G, 2) ``cw``, zero-padded; G may exceed N, widths may be negative.
        mask: (B, G) bool, valid spans first.
        l1_weight: of the L1 distance.
        giou_weight: of the generalised IoU.

    Returns:
        (B, G) int64 query of each span, 0 where it has none, and (B, G) bool, whether it has one.
    """
    costs = _pair_cost(spans, truth, l1_weight, giou_weight).nan_to_num(nan=0.0).double()
    queries, slots = costs.shape[1:]
    # More than any exchange of others could save.
    dearest, cheapest = costs.amax((1, 2), keepdim=True), costs.amin((1, 2), keepdim=True)
    never = dearest + queries * (dearest - cheapest) + 1
    wide = torch.cat((costs, never.expand(-1, queries, max(0, queries - slots))), 2)
    valid = functional.pad(mask, (0, wide.shape[2] - slots))
    # The fewer choose among the others, as scipy has it: queries among many spans, or spans, empty slots for nothing
    # behind them, among the queries. Either way there are as many rows as queries.
    few = (valid.sum(1) < queries).unsqueeze(1)
    by_query = torch.where(valid.unsqueeze(1), wide, never)
    by_span = torch.where(valid[:, :queries].unsqueeze(2), wide[..., :queries].transpose(1, 2), 0.0)
    by_span = torch.cat((by_span, never.expand(-1, queries, wide.shape[2] - queries)), 2)
    with _unrecorded():
        found = cheapest_columns(torch.where(few.unsqueeze(2), by_span, by_query).permute(1, 2, 0).contiguous()).T
    query = torch.arange(queries, device=found.device).expand_as(found)
    # 0 stands for no query.
    chosen = torch.zeros_like(valid, dtype=torch.int64).scatter(1, torch.where(few, 0, found), query + 1)
    chosen = torch.where(few, functional.pad(found + 1, (0, wide.shape[2] - queries)), chosen)[:, :slots] * mask
    return (chosen - 1).clamp(min=0), chosen > 0


def _pair_cost(spans: Tensor, truth: Tensor, l1_weight: float, giou_weight: float) -> Tensor:
    distance, overlap = pair_terms(spans, truth)
    cost = l1_weight * distance
    return cost - giou_weight * overlap


def matched_queries(assigned: Tensor, mask: Tensor, count: int) -> Tensor:
    """Which of ``count`` queries have a span: (S, B, G) assignment and (B, G) mask -> (S, B, N) bool."""
    query = torch.arange(count, device=assigned.device)
    return ((assigned.unsqueeze(2) == query[:, None]) & mask[None, :, None]).any(-1)


def take(values: Tensor, assigned: Tensor) -> Tensor:
    """Pick the matched queries: (S, B, N, *rest) and (S, B, G) -> (S, B, G, *rest)."""
    index = assigned.reshape(*assigned.shape, *[1] * (values.dim() - 3)).expand(*assigned.shape, *values.shape[3:])
    return values.gather(2, index)
