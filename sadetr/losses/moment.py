"""Moment loss: L1 and generalised IoU of paired spans (eq 7)."""

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
    """L1 and generalised-IoU loss of S stages, reduced over valid pairs (D51) and summed over stages.

    Args:
        predicted: (S, ..., G, 2) ``cw``.
        truth: (..., G, 2) ``cw``, broadcastable.
        mask: (..., G) bool.
        reduction: ``mean`` over pairs and over the two coordinates, QD-DETR's; ``sum`` over the G windows of a sample
            (eq 7 as printed), mean over samples, noise groups and coordinates; ``detr``, the mean over pairs of the
            coordinates' sum.

    Returns:
        Two scalars, unweighted: of the absolute difference, and of 1 - gIoU.
    """
    stages = len(predicted)
    difference = (predicted - truth).abs()
    l1 = difference.sum(-1) if reduction == "detr" else difference.mean(-1)
    giou = 1 - generalised_iou(cw_to_se(predicted), cw_to_se(truth))
    reduce = _sum_over_windows if reduction == "sum" else masked_average
    return stages * reduce(l1, mask), stages * reduce(giou, mask)


def _sum_over_windows(values: Tensor, mask: Tensor) -> Tensor:
    """Sum over the True entries of the last dimension, mean over the others."""
    return (values * mask).sum(-1).mean()
