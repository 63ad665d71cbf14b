"""Moment loss: L1 and generalised IoU of paired spans (eq 7)."""

from collections.abc import Sequence

import torch
from torch import Tensor

from sadetr.losses.settings import MomentReduction
from sadetr.nn.spans import cw_to_se, generalised_iou


def masked_average(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the True entries of ``mask``, which broadcasts to ``values``; 0 where there is none."""
    weights = mask.expand_as(values).to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def span_losses(
    predicted: Tensor, truth: Tensor, mask: Tensor, reduction: MomentReduction = "mean"
) -> tuple[Tensor, Tensor]:
    """Both losses of one group of pairs; see :func:`grouped_span_losses`."""
    return grouped_span_losses([(predicted, truth, mask)], reduction)[0]


def grouped_span_losses(
    groups: Sequence[tuple[Tensor, Tensor, Tensor]], reduction: MomentReduction = "mean"
) -> list[tuple[Tensor, Tensor]]:
    """L1 and generalised-IoU loss of groups of S stages, reduced over valid pairs (D51) and summed over stages.

    The groups' pairs are compared together, as there are few of them.

    Args:
        groups: per group the spans that are predicted, (S, ..., G, 2) ``cw``, the truth, (..., G, 2) ``cw``, and which
            pairs are valid, (..., G) bool; the latter two broadcast.
        reduction: ``mean`` over pairs and over the two coordinates, QD-DETR's; ``sum`` over the G windows of a sample
            (eq 7 as printed), mean over samples, noise groups and coordinates; ``detr``, the mean over pairs of the
            coordinates' sum.

    Returns:
        Two scalars per group, unweighted: of the absolute difference, and of 1 - gIoU.
    """
    predicted = torch.cat([spans.flatten(0, -2) for spans, _, _ in groups])
    truth = torch.cat([windows.expand_as(spans).flatten(0, -2) for spans, windows, _ in groups])
    difference = (predicted - truth).abs()
    l1 = difference.sum(-1) if reduction == "detr" else difference.mean(-1)
    giou = 1 - generalised_iou(cw_to_se(predicted), cw_to_se(truth))
    counts = [spans.shape[:-1].numel() for spans, _, _ in groups]
    reduce = _sum_over_windows if reduction == "sum" else masked_average
    losses = []
    for (spans, _, mask), *values in zip(groups, l1.split(counts), giou.split(counts), strict=True):
        first, second = (len(spans) * reduce(each.view(spans.shape[:-1]), mask) for each in values)
        losses.append((first, second))
    return losses


def _sum_over_windows(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the True entries of the last dimension, mean over the others."""
    return (values * mask).sum(-1).mean()
