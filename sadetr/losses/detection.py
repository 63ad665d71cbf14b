"""DETR's set loss on moments: matching with a class cost, span losses, label loss (jayleicn/moment_detr)."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.matching import match, matched_queries, take
from sadetr.losses.moment import span_losses
from sadetr.losses.settings import DetectionLoss, MatchingCosts

FOREGROUND = 0
"""Class index of a query that holds a moment; the other index is background."""


def foreground_probability(logits: Tensor) -> Tensor:
    """(..., 2) class logits -> (...), in [0, 1]."""
    return logits.softmax(-1)[..., FOREGROUND]


def match_detections(spans: Tensor, logits: Tensor, truth: Tensor, mask: Tensor, costs: MatchingCosts) -> Tensor:
    """Queries of S stages assigned to windows, each stage on its own.

    Args:
        spans: (S, B, N, 2) ``cw``.
        logits: (S, B, N, 2).
        truth: (B, G, 2) ``cw``.
        mask: (B, G) bool.
        costs: weights of distance, overlap and foreground probability.

    Returns:
        (S, B, G) int64, as :func:`sadetr.losses.matching.match`.
    """
    label_cost = -costs.label * foreground_probability(logits.float())
    return match(spans.float(), truth, mask, costs.l1, costs.giou, label_cost)


def label_loss(logits: Tensor, assigned: Tensor, mask: Tensor, background: float) -> Tensor:
    """Cross entropy of (S, B, N, 2) logits, unmatched queries weighted by ``background``, summed over stages.

    The mean is over all queries, not over their weights, as published.
    """
    matched = matched_queries(assigned, mask, logits.shape[2])
    log_probability = functional.log_softmax(logits, -1)
    losses = torch.where(matched, -log_probability[..., FOREGROUND], -background * log_probability[..., 1 - FOREGROUND])
    return len(logits) * losses.mean()


FOCAL_FOREGROUND, FOCAL_EXPONENT = 0.25, 2
"""Share of the positive entries in the focal loss, and the power of what is left to learn (Lin et al. 2017)."""


def focal_label_loss(logits: Tensor, assigned: Tensor, mask: Tensor) -> Tensor:
    """Sigmoid focal loss of both (S, B, N, 2) logits, each a binary decision, summed over stages (TR-DETR).

    The mean is over all queries and both classes, as published.
    """
    matched = matched_queries(assigned, mask, logits.shape[2])
    # Foreground first.
    positive = torch.stack((matched, ~matched), -1)
    # The logit of the right decision, entry by entry.
    right = torch.where(positive, logits, -logits)
    share = torch.where(positive, FOCAL_FOREGROUND, 1 - FOCAL_FOREGROUND).to(logits.dtype)
    losses = -share * (-right).sigmoid() ** FOCAL_EXPONENT * functional.logsigmoid(right)
    return len(logits) * losses.mean()


def detection_terms(
    spans: Tensor, logits: Tensor, truth: Tensor, mask: Tensor, assigned: Tensor, weights: DetectionLoss
) -> dict[str, Tensor]:
    """Weighted terms of the stages given; shapes as in :func:`match_detections`, ``assigned`` (S, B, G)."""
    l1, giou = span_losses(take(spans, assigned), truth, mask)
    if weights.label_loss == "focal":
        label = focal_label_loss(logits, assigned, mask)
    else:
        label = label_loss(logits, assigned, mask, weights.background)
    return {"l1": weights.l1 * l1, "giou": weights.giou * giou, "label": weights.label * label}
