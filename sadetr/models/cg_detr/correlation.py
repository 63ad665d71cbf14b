"""What CG-DETR learns the attention of clips to words from: moments and sentences of a batch, in training alone."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average
from sadetr.models.cg_detr.settings import CGDETRSettings
from sadetr.models.interface import Batch

ATTENTION_FLOOR = 1e-6
"""Added to the attention in front of its logarithm."""


@dataclass(frozen=True)
class Correlation:
    """Tokens of moments and sentences, and the sequences that they were encoded with."""

    moment: Tensor
    """(B, d) token of the relevant clips."""
    others: Tensor
    """(B, d) token of the clips that are not."""
    moment_clips: Tensor
    """(B, L, d) as encoded where the relevant clips alone are seen."""
    other_clips: Tensor
    """(B, L, d) as encoded where the others are."""
    sentence: Tensor
    """(B, d) token of the words."""
    dummy_sentence: Tensor
    """(B, d) token of the dummies."""
    text: Tensor
    """(B, K+T, d) dummies and words, as encoded with these tokens."""
    text_mask: Tensor
    """(B, K+T) bool."""


def relevant_clips(batch: Batch) -> Tensor:
    """Clips with a label, (B, L) bool: as in the authors' code, one that every annotator gave 0 is not relevant."""
    return batch.saliency > 0


def own_clips(found: Correlation, batch: Batch) -> Tensor:
    """Every clip as encoded with those of its kind, (B, L, d)."""
    return torch.where(relevant_clips(batch).unsqueeze(-1), found.moment_clips, found.other_clips)


def alignment_loss(found: Correlation, batch: Batch, settings: CGDETRSettings) -> Tensor:
    """A moment is close to its own sentence and far from its dummies', and tells its clips from the others."""
    moment, others = (functional.normalize(token, dim=-1) for token in (found.moment, found.others))
    sentence, dummies = (functional.normalize(token, dim=-1) for token in (found.sentence, found.dummy_sentence))
    own = torch.arange(len(moment), device=moment.device)
    to_sentences = torch.cat((moment @ sentence.T, others @ sentence.T), 1)
    to_dummies = torch.cat((moment @ dummies.T, others @ dummies.T), 1)
    return (
        functional.cross_entropy(to_sentences, own)
        + dummy_loss(to_dummies, settings)
        + membership_loss(found, batch, settings)
    )


def dummy_loss(similarities: Tensor, settings: CGDETRSettings) -> Tensor:
    """Cross entropy of (B, 2B) similarities to the sentences of dummies; column i is that of sample i itself."""
    size = len(similarities)
    wanted = torch.ones_like(similarities)
    wanted.diagonal().zero_()
    if settings.dummy_labels == "first":
        return functional.cross_entropy(similarities, wanted.argmax(1))
    return functional.cross_entropy(similarities, wanted / (2 * size - 1))


def membership_loss(found: Correlation, batch: Batch, settings: CGDETRSettings) -> Tensor:
    """Binary cross entropy of whether a clip is of the moment, by the product of its token and the clip.

    Of probabilities, as published: a product beyond what a sigmoid resolves costs 100 if it is wrong, and has no
    gradient.
    """
    products = torch.einsum("bd,bld->bl", found.moment, own_clips(found, batch))
    labels = relevant_clips(batch).to(products.dtype)
    losses = functional.binary_cross_entropy(products.sigmoid(), labels, reduction="none")
    if settings.padding == "masked":
        return masked_average(losses, batch.video_mask)
    return (losses * batch.video_mask).mean()


def distillation_loss(found: Correlation, attention: Tensor, batch: Batch, settings: CGDETRSettings) -> Tensor:
    """Divergence of the attention from what encoded moments and words have in common, over the relevant clips.

    The mean over dummies and words, not their sum, as published; (B, L, K+T) attention.
    """
    products = found.moment_clips @ found.text.transpose(1, 2)
    relevant, counted = relevant_clips(batch), torch.ones_like(found.text_mask)
    if settings.padding == "masked":
        relevant, counted = relevant & batch.video_mask, found.text_mask
    target = products.masked_fill(~counted.unsqueeze(1), -torch.inf).softmax(-1).detach()
    divergence = functional.kl_div((attention + ATTENTION_FLOOR).log(), target, reduction="none").sum(-1)
    return masked_average(divergence / counted.sum(1, keepdim=True), relevant)


def orthogonality_loss(tokens: Tensor) -> Tensor:
    """Mean absolute cosine of different tokens, (..., n, d); every token moves away from the others as they are.

    Those of a token with itself count as zeros.
    """
    unit = functional.normalize(tokens, dim=-1)
    cosines = unit @ unit.detach().transpose(-2, -1)
    different = 1 - torch.eye(tokens.shape[-2], dtype=cosines.dtype, device=cosines.device)
    return (cosines * different).abs().mean()
