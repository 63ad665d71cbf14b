"""What SA-DETR's refiner computes for a batch: anchors, quality scores, Gaussian masks and attention per layer."""

from typing import TYPE_CHECKING

import torch

from sadetr.models.inspection import gaussian_masks, recorded_attention
from sadetr.models.interface import Batch, Inspection

if TYPE_CHECKING:
    from sadetr.models.sa_detr.model import SADETR


def inspect(model: "SADETR", batch: Batch) -> Inspection:
    """Predict ``batch`` and keep what the refiner's cross attentions are given.

    The attention is what multiplies the values, after the modulation (eq 6).
    """
    layers = [f"refiner.layers.{index}.cross_attention" for index in range(len(model.refiner.layers))]
    output, given, attention = recorded_attention(model, batch, layers, "attention_dropout")
    return Inspection(
        output,
        anchors=torch.cat((output.anchors[None], output.layer_spans)),
        qualities=output.layer_qualities,
        masks=gaussian_masks(model, batch, layers, [anchors for _, _, anchors, _ in given]),
        attention=attention,
    )
