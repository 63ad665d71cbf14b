"""What QD-DETR's decoder computes for a batch: anchors, scores, attention and Table 11's masks per layer."""

from typing import TYPE_CHECKING

import torch

from sadetr.losses.detection import foreground_probability
from sadetr.models.inspection import gaussian_masks, recorded_attention
from sadetr.models.interface import Batch, Inspection

if TYPE_CHECKING:
    from sadetr.models.qd_detr.model import QDDETR


def inspect(model: "QDDETR", batch: Batch) -> Inspection:
    """Predict ``batch``; the anchors are those that each layer starts from, then the predicted spans."""
    layers = [f"decoder.layers.{index}.cross_attention" for index in range(len(model.decoder.layers))]
    output, given, attention = recorded_attention(model, batch, layers, "dropout")
    anchors = [anchors for _, _, _, anchors, _ in given]
    return Inspection(
        output,
        anchors=torch.stack((*anchors, output.spans)),
        qualities=foreground_probability(output.layer_logits),
        masks=gaussian_masks(model, batch, layers, anchors),
        attention=attention,
    )
