"""Saliency losses that follow QD-DETR: margin, rank contrast and negative pairs (section 3.2, L_S); and MH-DETR's."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average

MASKED = -1e3
"""Score of padded clips inside the rank softmax."""
RANK_EPSILON = 1e-6
"""What QD-DETR adds to the rank softmax's denominator and to the number of clips at a level."""
PROBABILITIES = (1e-7, 1 - 2**-23)
"""Limits of scores that are taken for probabilities: 1e-7 inside, the upper one as single precision rounds it."""


def margin_loss(scores: Tensor, positive: Tensor, negative: Tensor, margin: float) -> Tensor:
    """Twice the mean hinge over (B, P) clip pairs of (B, L) scores: positives exceed negatives by ``margin``."""
    return 2 * (margin + scores.gather(1, negative) - scores.gather(1, positive)).clamp(min=0).mean()


def negative_pair_loss(scores: Tensor, mask: Tensor, real: Tensor) -> Tensor:
    """Scores of clips against another video's text go to zero probability.

    Sum over valid clips of softplus, mean over the samples whose negative is ``real`` (D22).
    (B, L) scores, (B, L) bool mask, (B,) bool.
    """
    per_sample = (functional.softplus(scores) * mask).sum(1)
    return (per_sample * real).sum() / real.sum().clamp(min=1)


def negative_score_loss(scores: Tensor, mask: Tensor, real: Tensor) -> Tensor:
    """The same as :func:`negative_pair_loss` of scores that are probabilities already (CG-DETR).

    They are clamped below 1: a score beyond has no gradient, and one of 1 no infinite loss.
    (B, L) scores in [0, 1], (B, L) bool mask, (B,) bool.
    """
    per_sample = -((1 - scores.clamp(*PROBABILITIES)).log() * mask).sum(1)
    return (per_sample * real).sum() / real.sum().clamp(min=1)


def rank_loss(
    scores: Tensor,
    labels: Tensor,
    mask: Tensor,
    negative: Tensor | None,
    real: Tensor | None,
    temperature: float,
    levels: int,
    counted: Tensor | None = None,
) -> Tensor:
    """Rank-aware contrast: at every label level the clips at or above it stand out from all others.

    Levels 1 to ``levels`` - 1 are summed and divided by ``levels``, as QD-DETR does. A labelled clip beyond the
    features has no probability and counts in the mean all the same.

    Args:
        scores: (B, L) clip scores.
        labels: (B, L) labels from 0 to ``levels``, also of clips outside ``mask``.
        mask: (B, L) bool.
        negative: (B, L) scores against another text, label 0, or None.
        real: (B,) bool, where ``negative`` belongs to another video; None without one.
        temperature: of the softmax over all clips of both passes.
        levels: highest label.
        counted: (B,) bool, samples that the mean is over, 0 without any; None for all.
    """
    logits = scores.masked_fill(~mask, MASKED) / temperature
    candidates = logits
    if negative is not None:
        candidates = torch.cat((logits, negative.masked_fill(~(mask & real[:, None]), MASKED) / temperature), dim=1)
    highest = candidates.amax(1, keepdim=True)
    log_sum = highest + ((candidates - highest).exp().sum(1, keepdim=True) + RANK_EPSILON).log()
    log_probability = (logits - log_sum) * mask
    level = torch.arange(1, levels, device=scores.device, dtype=labels.dtype).view(-1, 1, 1)
    above = (labels >= level).to(scores.dtype)
    per_sample = -torch.einsum("rbl,bl->rb", above, log_probability) / (above.sum(-1) + RANK_EPSILON)
    means = per_sample.mean(1) if counted is None else (per_sample * counted).sum(1) / counted.sum().clamp(min=1)
    return means.sum() / levels


def clamped_score_loss(scores: Tensor, targets: Tensor, mask: Tensor, positive_weight: float) -> Tensor:
    """Binary cross entropy of scores that are taken for probabilities as they are, relevance weighted.

    MH-DETR clamps the scores of a linear head and has no sigmoid: beyond (0, 1) there is no gradient.

    Args:
        scores: (B, L).
        targets: (B, L) in [0, 1].
        mask: (B, L) bool, clips that the mean is over.
        positive_weight: of ``targets``, against 1 of the rest.
    """
    p = scores.clamp(*PROBABILITIES)
    losses = positive_weight * targets * p.log() + (1 - targets) * (1 - p).log()
    return -masked_average(losses, mask)
