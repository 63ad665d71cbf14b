"""Settings that several methods share. Free of torch."""

from typing import Annotated

from pydantic import Field, model_validator

from sadetr.losses.settings import DetectionLoss, MatchingCosts
from sadetr.settings import Fraction, PositiveInt, Record


class AnchorSource(Record):
    """Where the anchors of the moment queries come from."""

    dynamic: bool
    """Whether they come from the encoded fusion or global token, instead of being learned."""
    init_loss: bool
    """Supervise them directly (L_init)."""

    @model_validator(mode="after")
    def _loss_needs_dynamic_anchors(self) -> "AnchorSource":
        if self.init_loss and not self.dynamic:
            raise ValueError("init_loss supervises dynamic anchors only: set dynamic to true or init_loss to false")
        return self


class DetectionTransformerSettings(Record):
    """What Moment-DETR and its descendants have in common, with the values that their authors share.

    Source: jayleicn/moment_detr and wjun0830/QD-DETR, whose values their descendants keep.
    """

    hidden_width: PositiveInt = 256
    num_heads: PositiveInt = 8
    feedforward_width: PositiveInt = 1024
    projection_blocks: PositiveInt = 2
    encoder_layers: PositiveInt = 2
    decoder_layers: PositiveInt = 2
    num_moment_queries: PositiveInt = 10
    dropout: Fraction = 0.1
    input_dropout: Fraction = 0.5
    text_positions: Annotated[int, Field(ge=0)] = 0
    """Size of the table of learned token positions, 0 for none; no published run has them (``use_txt_pos``)."""
    matching: MatchingCosts = MatchingCosts()
    loss: DetectionLoss = DetectionLoss()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "DetectionTransformerSettings":
        if self.hidden_width % self.num_heads or self.hidden_width % 4:
            raise ValueError(
                f"hidden_width {self.hidden_width} must be a multiple of num_heads {self.num_heads} and of 4"
            )
        return self
