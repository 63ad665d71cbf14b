"""CG-DETR's settings: the authors' values for QVHighlights (wjun0830/CGDETR)."""

from typing import Literal

from pydantic import model_validator

from sadetr.losses.settings import DetectionLoss, NonNegative, SaliencyLoss
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.settings import Fraction, PositiveInt


class CGDETRLoss(DetectionLoss):
    """Weights of the set loss and of the losses beside it."""

    attention: NonNegative = 1.0
    """Weight of the saliency loss on the clips' attention to words, on top of ``saliency``."""
    alignment: NonNegative = 1.0
    """Weight of the alignment of moments and sentences."""
    distillation: NonNegative = 1.0
    """Weight of the distillation of the attention to words, and of the orthogonality of dummies and of prompts."""


class CGDETRSettings(DetectionTransformerSettings):
    """Architecture, published faults and loss weights of CG-DETR."""

    encoder_layers: PositiveInt = 3
    decoder_layers: PositiveInt = 3
    fusion_layers: PositiveInt = 2
    dummy_layers: PositiveInt = 2
    """Layers of the encoder in which dummies read the words."""
    sentence_layers: PositiveInt = 1
    moment_layers: PositiveInt = 1
    num_dummies: PositiveInt = 45
    """Tokens beside the words that take the attention of clips to which the words do not apply."""
    num_prompts: PositiveInt = 10
    """Learned tokens that the saliency token is mixed from."""
    chosen_prompts: PositiveInt = 1
    """Prompts that a saliency token is mixed from: the most similar ones."""
    text_heads: PositiveInt = 8
    """Heads of the encoders of dummies and of sentences; the authors' code has 8 whatever ``num_heads`` is."""
    text_dropout: Fraction = 0.1
    """Dropout of these encoders; the authors' code has 0.1 whatever ``dropout`` is."""
    word_mask: Literal["tiled", "own"] = "tiled"
    """Words that a clip may attend to, as in QD-DETR: ``tiled`` is published, and makes predictions depend on the
    batch; ``own``: the sample's own words."""
    padding: Literal["counted", "masked"] = "counted"
    """What padding is in the losses. ``counted`` is published: padded clips count in the cross entropies of clips, and
    padded words take part in the distribution that is distilled. ``masked``: nothing."""
    false_negatives: Literal["apart", "together"] = "apart"
    """How the rank contrasts take the samples whose next sample is of the same original video, and which have no
    negative. ``apart`` is published: they have a mean of their own beside that of the others, and none where there is
    one such sample, nor in the contrast of the attention. ``together``: one mean over all samples."""
    dummy_labels: Literal["first", "all"] = "first"
    """The classes that a moment should have among the sentences of dummies. ``first`` is published: the first one that
    is not its own, as the others are lost in an argmax. ``all`` that are not its own, equally."""
    loss: CGDETRLoss = CGDETRLoss()
    saliency: SaliencyLoss = SaliencyLoss()

    @model_validator(mode="after")
    def _parts_fit(self) -> "CGDETRSettings":
        if self.hidden_width % self.text_heads:
            raise ValueError(f"hidden_width {self.hidden_width} must be a multiple of text_heads {self.text_heads}")
        if self.chosen_prompts > self.num_prompts:
            raise ValueError(f"chosen_prompts {self.chosen_prompts} must be at most num_prompts {self.num_prompts}")
        return self
