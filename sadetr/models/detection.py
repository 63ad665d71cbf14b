"""What DETR-style methods with a class head share: their output and the set loss on it."""

from dataclasses import dataclass

from torch import Tensor

from sadetr.losses.detection import detection_terms, match_detections
from sadetr.models.interface import Batch, Output
from sadetr.models.settings import DetectionTransformerSettings


@dataclass(frozen=True)
class DetectionOutput(Output):
    """Predictions of all R decoder layers beside those of the last."""

    layer_spans: Tensor
    """(R, B, N_q, 2) ``cw``."""
    layer_logits: Tensor
    """(R, B, N_q, 2), foreground first."""


@dataclass(frozen=True)
class Supervised:
    """The decoder layers that have a loss, S of them, with their assignment and weighted loss terms."""

    layers: slice
    """Of the R layers."""
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
