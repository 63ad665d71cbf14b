"""MH-DETR's settings: the authors' values for QVHighlights (YoucanBaby/MH-DETR)."""

from typing import Literal

from sadetr.losses.settings import DetectionLoss, NonNegative
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import Fraction, PositiveFloat, PositiveInt, Record


class ClipScoreLoss(Record):
    """The two terms of the saliency loss; ``loss.saliency`` multiplies both."""

    hinge: NonNegative = 0.1
    """Weight of the margin between clip pairs."""
    bce: NonNegative = 1.0
    """Weight of the binary cross entropy against the labels."""
    margin: NonNegative = 0.2
    positive_weight: PositiveFloat = 5.0
    """Weight of a label's relevant share within the cross entropy."""
    levels: PositiveInt = 12
    """Highest clip label, which is the target 1."""


class LastLayerLoss(DetectionLoss):
    """DETR's set loss, of the last decoder layer alone."""

    aux: bool = False


class MHDETRSettings(DetectionTransformerSettings):
    """Architecture, switches and loss weights of MH-DETR."""

    encoder_layers: PositiveInt = 1
    text_encoder_layers: PositiveInt = 1
    fusion_layers: PositiveInt = 1
    clip_decoder_layers: PositiveInt = 1
    decoder_layers: PositiveInt = 4
    input_dropout: Fraction = 0.5
    """Of clips."""
    text_input_dropout: Fraction = 0.3
    path_dropout: Fraction = 0.1
    """Of whole residual branches of the encoders, while training."""
    clip_positions: PositiveInt = 75
    """Size of the tables of learned clip positions: no video may have more clips."""
    text_positions: PositiveInt = 32
    """Size of the table of learned word positions: no text may have more words."""
    padding: Literal["seen", "hidden"] = "seen"
    """What padding is, but in the two attentions that are masked in any case (to words, and of fused to encoded clips).
    ``seen`` is published: it is averaged with its neighbours, attended to and counted in the cross entropy, so that
    predictions depend on the batch. ``hidden``: only valid clips and words count."""
    loss: LastLayerLoss = LastLayerLoss()
    saliency: ClipScoreLoss = ClipScoreLoss()
