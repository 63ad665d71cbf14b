"""Moment loss: L1 and generalised IoU of paired spans (eq 7)."""

from torch import Tensor

from sadetr.nn.spans import cw_to_se, generalised_iou


def masked_average(values: Tensor, mask: Tensor) -> Tensor:
    """Mean over the True entries of ``mask``, which broadcasts to ``values``; 0 where there is none."""
    weights = mask.expand_as(values).to(values.dtype)
    return (values * weights).sum() / weights.sum().clamp(min=1)


def span_losses(predicted: Tensor, truth: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """L1 and generalised-IoU loss of S stages, averaged over valid pairs and summed over stages (D51).

    Args:
        predicted: (S, ..., 2) ``cw``.
        truth: (..., 2) ``cw``, broadcastable.
        mask: (...) bool.

    Returns:
        Two scalars, unweighted: mean over the two coordinates of the absolute difference, and 1 - gIoU.
    """
    stages = len(predicted)
    l1 = (predicted - truth).abs().mean(-1)
    giou = 1 - generalised_iou(cw_to_se(predicted), cw_to_se(truth))
    return stages * masked_average(l1, mask), stages * masked_average(giou, mask)
