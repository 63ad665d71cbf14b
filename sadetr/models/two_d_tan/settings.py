"""2D-TAN's settings: the authors' values for Charades-STA (microsoft/VideoX, 2D-TAN-16x16-K5L8-pool)."""

from typing import Literal

from pydantic import Field, model_validator

from sadetr.settings import Fraction, PositiveInt, Record


class MapLoss(Record):
    """What a candidate's score should be, by its IoU with the window."""

    lowest_iou: Fraction = 0.5
    """The IoU up to which the target is 0; linear above. 0.3 on TACoS."""
    highest_iou: Fraction = 1.0
    """The IoU from which on the target is 1. 0.7 on TACoS."""
    bias: Fraction = 0.0
    """Added to targets above 0, which are shrunk for it; no published run has one."""

    @model_validator(mode="after")
    def _ious_ascend(self) -> "MapLoss":
        if self.lowest_iou >= self.highest_iou:
            raise ValueError(f"lowest_iou {self.lowest_iou} must be below highest_iou {self.highest_iou}")
        return self


class TwoDTANSettings(Record):
    """Architecture and targets of 2D-TAN."""

    hidden_width: PositiveInt = 512
    sentence_width: PositiveInt = 512
    """Of the recurrent network over words, both directions together."""
    sampled_clips: PositiveInt = 256
    """Positions that a video's clips are averaged onto, before they are projected."""
    positions: PositiveInt = 16
    """Side N of the map, of which ``sampled_clips`` is a multiple; 128 on TACoS."""
    scales: list[PositiveInt] = Field(default=[16], min_length=1)
    """Lengths of candidates per scale: moments of scale s start and grow by 2^s positions. [16] is every moment of 16
    positions; [16, 8, 8, 8] on TACoS."""
    candidates: Literal["pooled", "convolved"] = "pooled"
    """How a moment is made from shorter ones: by their maximum, or by a convolution, the authors' alternative."""
    text_layers: PositiveInt = 3
    bidirectional: bool = False
    """Whether words are read backwards too, from the padding on, so that predictions depend on the batch; no published
    run does."""
    map_layers: PositiveInt = 8
    map_kernel: PositiveInt = 5
    """Side of a convolution over the map, odd."""
    loss: MapLoss = MapLoss()

    @model_validator(mode="after")
    def _sizes_fit(self) -> "TwoDTANSettings":
        if self.sampled_clips % self.positions:
            raise ValueError(f"sampled_clips {self.sampled_clips} must be a multiple of positions {self.positions}")
        if self.map_kernel % 2 == 0:
            raise ValueError(f"map_kernel {self.map_kernel} must be odd: a cell lies in the centre of its kernel")
        if self.bidirectional and self.sentence_width % 2:
            raise ValueError(f"sentence_width {self.sentence_width} must be even where bidirectional is true")
        return self
