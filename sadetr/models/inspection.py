"""What DETR-style decoders compute between their layers, for ``explain --qid``."""

from typing import TYPE_CHECKING

import torch

from sadetr.losses.detection import foreground_probability
from sadetr.models.interface import Batch, Inspection
from sadetr.nn.recording import recorded_calls

if TYPE_CHECKING:
    from sadetr.models.interface import Method


def inspect_decoder(model: "Method", batch: Batch) -> Inspection:
    """Predict ``batch`` and keep the scores and the cross attention of every layer of ``model.decoder``.

    The attention is that to the clips; what a decoder that reads words too gives to them is left out.
    """
    weights = [f"decoder.layers.{index}.cross_attention.dropout" for index in range(len(model.decoder.layers))]
    with recorded_calls(model, weights) as calls:
        output = model(batch)
    attention = torch.stack([calls[name][0][0] for name in weights])
    return Inspection(
        output,
        qualities=foreground_probability(output.layer_logits),
        attention=attention[..., : batch.video.shape[1]],
    )
