"""UniVTG's settings: the authors' values for QVHighlights (showlab/UniVTG)."""

from typing import Annotated, Literal

from pydantic import Field, model_validator

from sadetr.losses.settings import NonNegative
from sadetr.settings import Fraction, PositiveFloat, PositiveInt, Record


class DenseLoss(Record):
    """Weights of the losses of single clips."""

    foreground: NonNegative = 10.0
    l1: NonNegative = 10.0
    """Weight of the smooth L1 distance."""
    giou: NonNegative = 1.0
    inter: NonNegative = 0.01
    intra: NonNegative = 0.05
    background: Fraction = 0.1
    """Weight of a clip outside the windows in the foreground loss; one inside has 1."""


class UniVTGSettings(Record):
    """Architecture, readings and loss weights of UniVTG."""

    hidden_width: PositiveInt = 1024
    num_heads: PositiveInt = 8
    feedforward_width: PositiveInt = 1024
    projection_blocks: PositiveInt = 2
    encoder_layers: PositiveInt = 4
    head_layers: PositiveInt = 3
    """Convolutions of each head."""
    input_dropout: Fraction = 0.5
    path_dropout: Annotated[float, Field(ge=0, lt=1)] = 0.1
    """Of whole residual branches, per sample; there is no other dropout in the encoder."""
    text_positions: Annotated[int, Field(ge=0)] = 0
    """Size of the table of learned token positions, 0 for none; no published run has them (``use_txt_pos``)."""
    timestamps: Literal["clip_length", "centre"] = "clip_length"
    """The point that clip i of L stands for. ``clip_length`` is published: (i + s / 2) / L for clips of s seconds, the
    clip's centre for s = 1 alone and its end for s = 2, so that the clip before a window counts as inside. ``centre``:
    (i + 1/2) / L."""
    padding: Literal["read", "masked"] = "read"
    """What the heads' convolutions read behind a video's last clip: what the encoder made of the padding, as published,
    so that predictions depend on the batch; or zeros."""
    contrast: Literal["saliency", "windows"] = "saliency"
    """Which clips the positive one is contrasted with inside a video: those with lower clip labels or, where nobody
    annotated saliency, those whose point lies in no window."""
    temperature: PositiveFloat = 0.07
    """Of both contrasts."""
    loss: DenseLoss = DenseLoss()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "UniVTGSettings":
        if self.hidden_width % self.num_heads or self.hidden_width % 2:
            raise ValueError(
                f"hidden_width {self.hidden_width} must be even and a multiple of num_heads {self.num_heads}"
            )
        return self
