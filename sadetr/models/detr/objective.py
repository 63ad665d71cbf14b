"""Outputs with a class head, and the losses on a batch that DETR's descendants share."""

from dataclasses import dataclass
from typing import Any, Self

from torch import Tensor

from sadetr.losses.detection import detection_terms, foreground_probability, match_detections
from sadetr.losses.matching import match, take
from sadetr.losses.moment import span_losses
from sadetr.losses.saliency import margin_loss, negative_pair_loss, rank_loss
from sadetr.losses.settings import SaliencyLoss
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.models.interface import Batch, Output


@dataclass(frozen=True)
class DetectionOutput(Output):
    """Predictions of all R decoder layers beside those of the last."""

    layer_spans: Tensor
    """(R, B, N_q, 2) ``cw``."""
    layer_logits: Tensor
    """(R, B, N_q, 2), foreground first."""

    @classmethod
    def of_layers(cls, spans: Tensor, logits: Tensor, saliency: Tensor, **more: Any) -> Self:
        """Take over what the heads make of all layers; ``more`` are the fields of a method's own output."""
        scores = foreground_probability(logits[-1])
        return cls(spans[-1], scores, saliency, layer_spans=spans, layer_logits=logits, **more)

    @property
    def layer_scores(self) -> Tensor:
        """Probability of the foreground after each layer, (R, B, N_q)."""
        return foreground_probability(self.layer_logits)


@dataclass(frozen=True)
class Supervised:
    """The decoder layers that have a loss, S of them, with their assignment and weighted loss terms."""

    layers: slice
    """The layers that are supervised, of the R there are."""
    assigned: Tensor
    """(S, B, G) query of each window."""
    terms: dict[str, Tensor]


def supervise(output: DetectionOutput, batch: Batch, settings: DetectionTransformerSettings) -> Supervised:
    """Match every supervised layer on its own and take DETR's set loss."""
    layers = slice(None) if settings.loss.aux else slice(-1, None)
    spans, logits = output.layer_spans[layers], output.layer_logits[layers]
    assigned = match_detections(spans, logits, batch.spans, batch.spans_mask, settings.matching)
    terms = detection_terms(spans, logits, batch.spans, batch.spans_mask, assigned, settings.loss)
    return Supervised(layers, assigned, terms)


def initial_terms(anchors: Tensor, batch: Batch, settings: DetectionTransformerSettings) -> dict[str, Tensor]:
    """Weighted L_init: the span losses of the (B, N_q, 2) anchors that a decoder starts from, matched on their own."""
    costs, weights, stage = settings.matching, settings.loss, anchors[None]
    assigned = match(stage.float(), batch.spans, batch.spans_mask, costs.l1, costs.giou)
    l1, giou = span_losses(take(stage, assigned), batch.spans, batch.spans_mask)
    return {"init_l1": weights.l1 * l1, "init_giou": weights.giou * giou}


def saliency_terms(
    scores: Tensor, negative: Tensor | None, batch: Batch, real: Tensor, options: SaliencyLoss
) -> dict[str, Tensor]:
    """QD-DETR's L_S: margin, rank contrast and, where there is a ``negative`` pass, negative pairs; unweighted.

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
