"""EaTR's settings: the authors' values for QVHighlights (jinhyunj/EaTR)."""

from typing import Literal

from sadetr.losses.settings import NonNegative
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.nn.settings import SlotPadding
from sadetr.settings import PositiveInt

EventSource = Literal["batch", "own"]
"""How pseudo events are found. ``batch`` is published: boundaries are found and paired along the whole batch, so that
padding lowers the threshold that a boundary must reach, and in a batch of odd size one sample is given an event of
negative width that is none. ``own``: every sample's events are those that it has alone."""


class EaTRSettings(DetectionTransformerSettings):
    """Architecture, switches and loss weights of EaTR."""

    encoder_layers: PositiveInt = 3
    decoder_layers: PositiveInt = 3
    slot_iterations: PositiveInt = 3
    saliency_margin: NonNegative = 0.2
    event_weight: NonNegative = 3.0
    """Weight of the event losses, on top of the weights of the span losses."""
    slot_padding: SlotPadding = "shared"
    """What padded clips give to the slots; published is ``shared``."""
    sentence: Literal["padded", "own"] = "padded"
    """Words whose largest values are the sentence that the gate reads. ``padded`` is published: padded words count, so
    that predictions depend on the batch. ``own``: the sample's own words."""
    events: EventSource = "batch"
