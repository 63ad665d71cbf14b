"""BAM-DETR's settings: the authors' values for QVHighlights (Pilhyeon/BAM-DETR)."""

from typing import Literal

from sadetr.losses.settings import DetectionLoss, MatchingCosts, NonNegative, SaliencyLoss
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import PositiveInt


class BAMDETRMatching(MatchingCosts):
    """Costs of pairing a query with a window: the distance is that of starts and ends, and no class is asked."""

    label: NonNegative = 0.0


class BAMDETRLoss(DetectionLoss):
    """Weights of the losses; ``l1`` is that of starts and ends."""

    label: NonNegative = 0.0
    """Published as 0: the class heads learn nothing, and nothing reads them. Queries are ranked by their quality."""
    quality: NonNegative = 2.0
    """Weight of the quality loss of every supervised layer."""
    boundary: NonNegative = 1.0
    """Weight of the loss on the boundary features."""


class BAMDETRSettings(DetectionTransformerSettings):
    """Architecture, published faults and loss weights of BAM-DETR."""

    fusion_layers: PositiveInt = 2
    word_mask: Literal["tiled", "own"] = "tiled"
    """Words that a clip may attend to, as in QD-DETR: ``tiled`` is published, and makes predictions depend on the
    batch; ``own``: the sample's own words."""
    negatives: Literal["next", "next_video"] = "next"
    """Clips that the saliency loss pushes down, as in QD-DETR: those against the next sample's text, as published, even
    where that sample is of the same video; ``next_video`` leaves these samples out."""
    padding: Literal["counted", "masked"] = "counted"
    """What padded clips are where boundaries are looked for. ``counted`` is published: convolutions read them, sampled
    places are shares of the batch's longest video, windows are taken for shares of it too where boundaries are to be
    found, and padding lowers the weight of clips that are none. ``masked``: nothing; the video has its own length."""
    matching: BAMDETRMatching = BAMDETRMatching()
    loss: BAMDETRLoss = BAMDETRLoss()
    saliency: SaliencyLoss = SaliencyLoss()
