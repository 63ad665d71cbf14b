"""The saliency loss L_S of QD-DETR and its descendants on a batch."""

from torch import Tensor

from sadetr.losses.saliency import margin_loss, negative_pair_loss, rank_loss
from sadetr.losses.settings import SaliencyLoss
from sadetr.models.interface import Batch


def saliency_terms(
    scores: Tensor, negative: Tensor | None, batch: Batch, real: Tensor, options: SaliencyLoss
) -> dict[str, Tensor]:
    """Margin, rank contrast and, where there is a ``negative`` pass, negative pairs; unweighted.

    (B, L) scores against the own and another sample's text, (B,) bool whose negative is real (D22).
    """
    mask = batch.video_mask
    terms = {
        "saliency_margin": margin_loss(scores, batch.positive_clips, batch.negative_clips, options.margin),
        "saliency_rank": rank_loss(scores, batch.saliency, mask, negative, real, options.temperature, options.levels),
    }
    if negative is not None:
        terms["saliency_negative"] = negative_pair_loss(negative, mask, real)
    return terms
