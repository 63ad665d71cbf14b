"""UVCOM's settings: the authors' values for QVHighlights (EasonXiao-888/UVCOM)."""

from typing import Annotated, Literal

from pydantic import Field

from sadetr.losses.settings import DetectionLoss, NonNegative, SaliencyLoss
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import PositiveInt

Padding = Literal["counted", "masked"]
"""What padding is beyond the attention's masks. ``counted`` is published: padded words share in the sentence, padded
clips and words in the centres, padded clips in the random walk, the moment queries and the alignment of clips, and the
first convolution's bias leaks from them. ``masked``: nothing."""


class UVCOMLoss(DetectionLoss):
    """Weights of the set loss and the saliency loss, and of the alignment beside them."""

    alignment: NonNegative = 1.0
    """Weight of the contrast of videos and texts, and of the clips' one, half each."""


class UVCOMSettings(DetectionTransformerSettings):
    """Architecture, published faults and loss weights of UVCOM."""

    encoder_layers: PositiveInt = 3
    decoder_layers: PositiveInt = 3
    num_moment_queries: PositiveInt = 30
    fusion_layers: PositiveInt = 3
    """Layers in which clips read words."""
    text_fusion_layers: PositiveInt = 3
    """Layers in which words read clips."""
    text_centres: PositiveInt = 5
    video_centres: PositiveInt = 30
    centre_iterations: PositiveInt = 5
    slot_iterations: PositiveInt = 5
    slot_width: PositiveInt = 1024
    """Width inside the perceptron of the slot attention."""
    alignment_width: PositiveInt = 1024
    """Width inside the perceptrons in front of the alignment losses."""
    least_similar_from: Annotated[int, Field(ge=0)] = 80
    """Finished epochs after which clips are scored low against the least similar text of the batch, instead of the next
    sample's."""
    word_mask: Literal["tiled", "own"] = "tiled"
    """What clips and words may attend to in each other, as in QD-DETR: ``tiled`` is published, and makes predictions
    depend on the batch; ``own``: what the sample has itself."""
    padding: Padding = "counted"
    negatives: Literal["any", "other_video"] = "any"
    """Texts that clips are scored low against. ``any`` is published: the one that is chosen may be of the same video,
    and the least similar text even the sample's own; ``other_video``: of another video, or none."""
    aligned_clips: Literal["first_window", "relevant"] = "first_window"
    """Clips that the alignment draws to their text. ``first_window`` is published: those of other windows are drawn
    away; ``relevant``: all that belong to a window."""
    loss: UVCOMLoss = UVCOMLoss()
    saliency: SaliencyLoss = SaliencyLoss()
