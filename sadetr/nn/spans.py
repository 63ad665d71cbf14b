"""Spans: conversions, IoU and generalised IoU.

``cw`` is (centre, width), ``se`` is (start, end); both are normalised by the video's length unless stated otherwise.
"""

import torch
from torch import Tensor


def cw_to_se(spans: Tensor) -> Tensor:
    """(..., 2) centre and width -> (..., 2) start and end; not clamped."""
    centre, width = spans.unbind(-1)
    return torch.stack((centre - width / 2, centre + width / 2), dim=-1)


def se_to_cw(spans: Tensor) -> Tensor:
    """(..., 2) start and end -> (..., 2) centre and width."""
    start, end = spans.unbind(-1)
    return torch.stack(((start + end) / 2, end - start), dim=-1)


def iou(first: Tensor, second: Tensor) -> Tensor:
    """IoU of ``se`` spans of broadcastable shapes (..., 2) -> (...); 0 where the union is empty."""
    intersection, union, _ = _overlap(first, second)
    return intersection / union.clamp(min=torch.finfo(union.dtype).tiny)


def generalised_iou(first: Tensor, second: Tensor) -> Tensor:
    """Generalised IoU of ``se`` spans of broadcastable shapes (..., 2) -> (...), in [-1, 1].

    Equal to the IoU where the spans overlap; minus the share of the hull that is covered by neither elsewhere.
    """
    intersection, union, hull = _overlap(first, second)
    tiny = torch.finfo(union.dtype).tiny
    return intersection / union.clamp(min=tiny) - (hull - union) / hull.clamp(min=tiny)


def _overlap(first: Tensor, second: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    (start1, end1), (start2, end2) = first.unbind(-1), second.unbind(-1)
    intersection = (torch.minimum(end1, end2) - torch.maximum(start1, start2)).clamp(min=0)
    union = (end1 - start1) + (end2 - start2) - intersection
    hull = torch.maximum(end1, end2) - torch.minimum(start1, start2)
    return intersection, union, hull


def moved(spans: Tensor, offset: Tensor) -> Tensor:
    """Normalised spans of any parametrisation, (...), with ``offset`` added to their logits: (...) in (0, 1)."""
    return (offset + inverse_sigmoid(spans)).sigmoid()


def inverse_sigmoid(x: Tensor, eps: float = 1e-3) -> Tensor:
    """Logit of ``x`` clamped to [0, 1], with each of x and 1 - x kept above ``eps`` (DAB-DETR's form)."""
    x = x.clamp(0, 1)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))
