"""The output of CG-DETR and what it is trained by."""

from dataclasses import dataclass

from torch import Tensor

from sadetr.losses.saliency import (
    clamped_score_loss,
    margin_loss,
    negative_pair_loss,
    negative_score_loss,
    rank_loss,
)
from sadetr.models.cg_detr.correlation import Correlation, alignment_loss, distillation_loss, orthogonality_loss
from sadetr.models.cg_detr.settings import CGDETRSettings
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.parts import counted_rows
from sadetr.models.detr.texts import next_source_texts
from sadetr.models.interface import Batch


@dataclass(frozen=True)
class CGDETROutput(DetectionOutput):
    """Predictions, and what the losses need beside them."""

    attention: Tensor
    """(B, L, K+T) of clips to dummies and words, mean of heads and layers."""
    text_attention: Tensor
    """(B, L) share of it that words have, in [0, 1]."""
    negative_saliency: Tensor | None
    """(B, L) clip scores against the next sample's text, the first one's for the last; training only."""
    negative_text_attention: Tensor | None
    """(B, L) of the same pass."""
    dummies: Tensor
    """(B, K, d) that have read the words."""
    prompts: Tensor
    """(P, d)."""
    correlation: Correlation | None
    """Training only."""


def terms(output: CGDETROutput, batch: Batch, settings: CGDETRSettings) -> dict[str, Tensor]:
    """Weighted loss terms."""
    weights, found = settings.loss, output.correlation
    attention = {name: weights.attention * term for name, term in attention_terms(output, batch, settings).items()}
    saliency = saliency_terms(output, batch, settings) | attention
    orthogonality = orthogonality_loss(output.dummies) + orthogonality_loss(output.prompts)
    return {
        **supervise(output, batch, settings).terms,
        **{name: weights.saliency * term for name, term in saliency.items()},
        "alignment": weights.alignment * alignment_loss(found, batch, settings),
        "distillation": weights.distillation * distillation_loss(found, output.attention, batch, settings),
        "orthogonality": weights.distillation * orthogonality,
    }


def saliency_terms(output: CGDETROutput, batch: Batch, settings: CGDETRSettings) -> dict[str, Tensor]:
    """Margin, rank contrast and negative pairs of the clip scores, unweighted."""
    scores, negative, real = output.saliency, output.negative_saliency, next_source_texts(batch).real
    return {
        "saliency_margin": margin_loss(scores, batch.positive_clips, batch.negative_clips, settings.saliency.margin),
        "saliency_rank": rank_contrast(scores, negative, real, batch, settings, others=True),
        "saliency_negative": negative_pair_loss(negative, batch.video_mask, real),
    }


def attention_terms(output: CGDETROutput, batch: Batch, settings: CGDETRSettings) -> dict[str, Tensor]:
    """The same of the clips' attention to words, and a cross entropy against relevance; unweighted."""
    scores, negative = output.text_attention, output.negative_text_attention
    mask, real = batch.video_mask, next_source_texts(batch).real
    relevant = (batch.saliency > 0).to(scores.dtype)
    counted = counted_rows(mask, settings.padding)
    return {
        "attention_margin": margin_loss(scores, batch.positive_clips, batch.negative_clips, settings.saliency.margin),
        "attention_rank": rank_contrast(scores, negative, real, batch, settings, others=False),
        "attention_negative": negative_score_loss(negative, mask, real),
        "attention_relevance": clamped_score_loss(scores, relevant, counted, positive_weight=1.0),
    }


def rank_contrast(
    scores: Tensor, negative: Tensor, real: Tensor, batch: Batch, settings: CGDETRSettings, others: bool
) -> Tensor:
    """Rank contrast of all samples together, or of those with a real negative apart from the others.

    Args:
        scores: (B, L) clip scores.
        negative: (B, L) against another text.
        real: (B,) bool, where that is a negative.
        batch: labels and masks.
        settings: temperature and levels, and how samples without a negative are taken.
        others: whether those have a mean of their own, where they are apart. As published, a single one is contrasted
            with itself alone, which is nothing.
    """
    labels, mask, numbers = batch.saliency, batch.video_mask, (settings.saliency.temperature, settings.saliency.levels)
    if settings.false_negatives == "together":
        return rank_loss(scores, labels, mask, negative, real, *numbers)
    contrast = rank_loss(scores, labels, mask, negative, real, *numbers, counted=real)
    if not others:
        return contrast
    apart = rank_loss(scores, labels, mask, None, None, *numbers, counted=~real)
    return contrast + apart * ((~real).sum() > 1)
