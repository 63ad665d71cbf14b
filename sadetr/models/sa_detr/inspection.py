"""What SA-DETR's refiner computes for a batch: anchors, quality scores, Gaussian masks and attention per layer."""

from typing import TYPE_CHECKING

import torch

from sadetr.models.interface import Batch, Inspection
from sadetr.nn.gaussian import log_gaussian_mask
from sadetr.nn.recording import recorded_calls

if TYPE_CHECKING:
    from sadetr.models.sa_detr.model import SADETR


def inspect(model: "SADETR", batch: Batch) -> Inspection:
    """Predict ``batch`` and keep what the refiner's cross attentions are given.

    The masks are eq 5 at the anchors that each layer received (None where the variant does not modulate); the
    attention is what multiplies the values, after the modulation (eq 6).
    """
    layers = [f"refiner.layers.{index}.cross_attention" for index in range(len(model.refiner.layers))]
    weights = [f"{layer}.attention_dropout" for layer in layers]
    with recorded_calls(model, [*layers, *weights]) as calls:
        output = model(batch)
    masks = []
    for layer in layers:
        gauss = model.get_submodule(layer).gauss
        ((_, _, anchors, context),) = calls[layer]
        masks += [] if gauss is None else [log_gaussian_mask(anchors, context.mask, gauss).exp()]
    return Inspection(
        output,
        anchors=torch.cat((output.anchors[None], output.layer_spans)),
        qualities=output.layer_qualities,
        masks=torch.stack(masks) if masks else None,
        attention=torch.stack([calls[name][0][0] for name in weights]),
    )
