"""What Moment-DETR's decoder computes for a batch: scores and attention to the clips per layer. It has no anchors."""

from typing import TYPE_CHECKING

from sadetr.losses.detection import foreground_probability
from sadetr.models.inspection import recorded_attention
from sadetr.models.interface import Batch, Inspection

if TYPE_CHECKING:
    from sadetr.models.moment_detr.model import MomentDETR


def inspect(model: "MomentDETR", batch: Batch) -> Inspection:
    """Predict ``batch``; the rest of a query's attention goes to the words."""
    layers = [f"decoder.layers.{index}.cross_attention" for index in range(len(model.decoder.layers))]
    output, _, attention = recorded_attention(model, batch, layers, "dropout")
    return Inspection(output, qualities=foreground_probability(output.layer_logits), attention=attention)
