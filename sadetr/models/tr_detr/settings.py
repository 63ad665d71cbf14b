"""TR-DETR's settings: the authors' values for QVHighlights (mingyao1120/TR-DETR)."""

from typing import ClassVar, Literal

from sadetr.losses.settings import DetectionLoss, LabelLoss, NonNegative, SaliencyLoss
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import Fraction, PositiveFloat, PositiveInt


class TRDETRLoss(DetectionLoss):
    """Weights of the set loss, whose class is learned by a focal loss, and of the losses beside it.

    ``background`` has no effect: the focal loss weighs by its own constants.
    """

    label_loss: ClassVar[LabelLoss] = "focal"
    vtc: NonNegative = 0.3
    """Weight of the video-text contrast."""
    ctc: NonNegative = 0.5
    """Weight of the clip-text loss."""


class TRDETRSettings(DetectionTransformerSettings):
    """Architecture, published faults and loss weights of TR-DETR."""

    fusion_layers: PositiveInt = 2
    fuser_dropout: Fraction = 0.1
    """Dropout of clips and words where the context-query attention scores them; the authors' code has 0.1 whatever
    ``dropout`` is."""
    word_mask: Literal["tiled", "own"] = "tiled"
    """Words that a clip may attend to, as in QD-DETR: ``tiled`` is published, and makes predictions depend on the
    batch; ``own``: the sample's own words."""
    padding: Literal["counted", "masked"] = "counted"
    """What padding is beyond the attention's masks. ``counted`` is published: padded clips share in the softmax of clip
    scores, padded clips and words in the means of the video-text contrast, padded clips in the mean of the clip-text
    loss, and the best moment is cut and read as if the video were as long as the batch's longest. ``masked``: nothing;
    the video has its own length."""
    outside: Literal["wrapped", "clamped"] = "wrapped"
    """Ends of the best moment before the video's start. ``wrapped`` is published: they count from the end, as an index
    in Python does, and mostly leave no clip; ``clamped``: to the video, and to one clip at least."""
    temperature: PositiveFloat = 0.07
    """Temperature of both alignment losses."""
    loss: TRDETRLoss = TRDETRLoss()
    saliency: SaliencyLoss = SaliencyLoss()
