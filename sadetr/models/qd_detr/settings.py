"""QD-DETR's settings: the authors' values for QVHighlights, and the switches of Table 11 (wjun0830/QD-DETR)."""

from typing import Literal

from sadetr.losses.settings import SaliencyLoss
from sadetr.models.detr.settings import AnchorSource, DetectionTransformerSettings
from sadetr.nn.settings import GaussianMask
from sadetr.settings import PositiveInt


class Anchors(AnchorSource):
    """SA-DETR's query initializer on top of QD-DETR (Table 11)."""

    dynamic: bool = False
    """Anchors come from the encoded global token instead of an embedding."""
    init_loss: bool = False
    """D65: supervise them directly (L_init). Off, as the row of Table 5 with this name has no such loss."""


class QDDETRSettings(DetectionTransformerSettings):
    """Architecture, switches and loss weights of QD-DETR."""

    fusion_layers: PositiveInt = 2
    word_mask: Literal["tiled", "own"] = "tiled"
    """Words that a clip may attend to. ``tiled`` is published: the mask of padded clips and words is tiled over heads
    in one order and read in another, so that some heads of a sample lose the words that another sample has not;
    predictions depend on the batch. ``own``: the sample's own words."""
    negatives: Literal["next", "next_video"] = "next"
    """Clips that the saliency loss pushes down: those against the next sample's text, as published, even where that
    sample is of the same video; ``next_video`` leaves these samples out."""
    anchors: Anchors = Anchors()
    modulate: bool = False
    """SA-DETR's Gaussian mask in the cross attention of every decoder layer (Table 11)."""
    gauss: GaussianMask = GaussianMask()
    saliency: SaliencyLoss = SaliencyLoss()
