"""VSLNet's settings: the values of its authors' PyTorch code (26hzhang/VSLNet)."""

from typing import Literal

from pydantic import model_validator

from sadetr.losses.settings import NonNegative
from sadetr.settings import Fraction, PositiveFloat, PositiveInt, Record


class BoundaryLoss(Record):
    """Weights of the two losses, and what the highlight is."""

    location: NonNegative = 1.0
    """Of the cross entropies of start and end."""
    highlight: NonNegative = 5.0
    highlight_weight: PositiveFloat = 2.0
    """Weight of a clip inside the highlight in its cross entropy; one outside has 1."""
    extension: NonNegative = 0.1
    """Share of its own length by which the moment is extended on both sides to be the highlight."""


class VSLNetSettings(Record):
    """Architecture, readings and loss weights of VSLNet."""

    hidden_width: PositiveInt = 128
    num_heads: PositiveInt = 8
    convolutions: PositiveInt = 4
    """Depthwise separable convolutions of the encoder that clips and words share."""
    kernel: PositiveInt = 7
    """Rows that each of them reads, an odd number."""
    positions: PositiveInt = 128
    """Size of the table of learned positions: no video may have more clips, no text more words."""
    character_width: PositiveInt = 50
    """Of the embedded characters, where the text stream has any (kind ``vocabulary``)."""
    predictor: Literal["rnn", "transformer"] = "rnn"
    """What reads the fused clips for the start and then for the end: two LSTMs, or one encoder, twice. Published runs
    have the LSTMs."""
    dropout: Fraction = 0.2
    """The only rate: of features, of words and characters, in the encoder and in the fusion's scores."""
    padding: Literal["read", "masked"] = "read"
    """What convolutions read behind a video's last clip, a text's last word and a word's last character: what the
    padding became on its way there, as published, so that predictions depend on the batch; or zeros."""
    loss: BoundaryLoss = BoundaryLoss()

    @model_validator(mode="after")
    def _sizes_fit(self) -> "VSLNetSettings":
        if self.hidden_width % self.num_heads:
            raise ValueError(f"hidden_width {self.hidden_width} must be a multiple of num_heads {self.num_heads}")
        if self.kernel % 2 == 0:
            raise ValueError(f"kernel {self.kernel} must be odd, so that a convolution keeps the number of rows")
        return self
