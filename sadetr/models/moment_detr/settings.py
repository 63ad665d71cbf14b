"""Moment-DETR's settings: the authors' values for QVHighlights (jayleicn/moment_detr)."""

from sadetr.losses.settings import NonNegative
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import PositiveFloat, PositiveInt, Record


class ContrastiveAlignment(Record):
    """Contrast of matched queries with the text, which the authors wrote and no published run switches on."""

    enabled: bool = False
    width: PositiveInt = 64
    temperature: PositiveFloat = 0.07
    weight: NonNegative = 0.02


class MomentDETRSettings(DetectionTransformerSettings):
    """Architecture and loss weights of Moment-DETR."""

    saliency_margin: NonNegative = 0.2
    contrast: ContrastiveAlignment = ContrastiveAlignment()
