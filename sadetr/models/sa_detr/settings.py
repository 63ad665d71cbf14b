"""SA-DETR's settings: the paper's values (Table 9, QVHighlights) and one switch per ablation or reading.

``D43`` and the like are rows of ``docs/interpretation.md``.
"""

from typing import Literal

from pydantic import Field, model_validator

from sadetr.losses.settings import MomentReduction, NonNegative, SaliencyLoss
from sadetr.models.detr.settings import AnchorSource
from sadetr.nn.settings import GaussianMask
from sadetr.settings import Fraction, PositiveFloat, PositiveInt, Record

Stage = Literal["before", "after"]


class FeatureAlignment(Record):
    """FA: the two alignment losses of section 3.2 and the stage at which each is applied (Tables 4, 7, 10)."""

    vtc: bool = True
    ctm: bool = True
    vtc_stage: Stage = "before"
    ctm_stage: Stage = "after"
    temperature: PositiveFloat = 0.07


class Fusion(Record):
    """Readings of the shared cross attention (section 3.2)."""

    mode: Literal["independent", "interleaved"] = "independent"
    """D6: every layer reads the other modality unfused, or as the layer before left it."""


class LocalEnhancement(Record):
    """Readings of the local enhance block (section 3.2)."""

    input: Literal["global", "fusion"] = "global"
    """D19: it follows the global block, or stands beside it and reads the fused features."""


class Refinement(Record):
    """Readings of the refiner's cross attention and anchor update (section 3.4)."""

    positions: Literal["projected", "raw"] = "projected"
    """D41: eq 4's positions of queries and clips each pass a linear layer before the split into heads, or not."""
    residual: Literal["content", "query"] = "content"
    """D44: eq 6 adds the content, or the projected query."""
    update: Literal["logit", "linear"] = "logit"
    """D46: offsets are added to the anchors' logits, or to the anchors, which are then clamped to [0, 1]."""
    gradient: Literal["detached", "update", "full"] = "detached"
    """D47: what a layer's losses may change of the layer before through the anchors: nothing; its spans, as the summand
    that the offset is added to (DINO's "look forward twice"); its spans by every way."""


class QueryInitializer(AnchorSource):
    """QI: anchors from the fusion token instead of learned ones, and their own loss (Tables 4, 5)."""

    dynamic: bool = True
    init_loss: bool = True
    detach: bool = False
    """D25: keep the refiner's gradient from anchors that L_init supervises. Without L_init it is all they learn from,
    so there it always flows."""
    init_bias: Literal["none", "grid"] = "none"
    """D24: the last layer of the anchors' MLP starts with PyTorch's biases, or with those that spread the centres of
    the queries evenly over the video."""


class SpanGuidance(Record):
    """AD: the span based enhance block (eqs 2-3) and the Gaussian modulation (eqs 5-6) (Tables 4, 6)."""

    enhance: bool = True
    modulate: bool = True


class Denoising(Record):
    """DN: the noise query groups (section 3.3; Tables 4, 8, Figure 6)."""

    enabled: bool = True
    negatives: bool = True
    groups: PositiveInt = 5
    sigma_p: PositiveFloat = 0.2
    margin_schedule: Literal["fixed", "linear"] = "fixed"
    """``linear`` is Table 8's "course learning": the scale margin falls from ``margin_start`` to ``margin_end``."""
    margin_start: NonNegative = 0.4
    margin_end: NonNegative = 0.0
    neg_range: Literal["ring", "full", "shift"] = "ring"
    """D29: uniform in [sigma_p, sigma_n], [0, sigma_n] or [margin, sigma_p + margin], sigma_n = sigma_p + margin."""
    centre_scale: Literal["width", "centre"] = "width"
    """D27: the centre moves by half the noise times the width, or times the centre."""
    min_width: PositiveFloat = 1e-3


class EnhanceBlock(Record):
    """Readings of eqs 2-3."""

    samples: PositiveInt = 10
    """N_s, positions sampled in an anchor's span by Temporal Align."""
    attn: Literal["raw", "softmax", "sigmoid"] = "raw"
    """D38."""
    gate: Literal["scalar", "elementwise"] = "scalar"
    """D39."""
    gate_scale: bool = False
    """D39: divide the scalar gate's dot product by sqrt(d)."""


class LossWeights(Record):
    """Eq 10 and Table 9."""

    align: NonNegative = 1.0
    align_weights: list[NonNegative] = Field(default=[1.0, 1.0, 1.0, 1.0], min_length=4, max_length=4)
    """D15: of L_vtc, L_local, L_intra and L_inter within L_A; a term of weight 0 is not computed."""
    saliency: NonNegative = 1.0
    moment: NonNegative = 1.0
    quality: NonNegative = 1.0
    l1: NonNegative = 10.0
    giou: NonNegative = 1.0
    moment_reduction: MomentReduction = "mean"
    """D51: eq 7 over windows and the two coordinates; see :func:`sadetr.losses.moment.span_losses`."""
    matched_quality: NonNegative = 1.0
    """w_q: weight of matched queries in the quality loss (eq 8)."""
    quality_margin: NonNegative = 0.4
    """delta_q of eq 9."""
    quality_reduction: Literal["mean", "sum", "weighted_mean", "binned"] = "mean"
    """D52: eq 8 over samples and queries: mean; sum over queries, mean over samples; divided by the weights' sum;
    BAM-DETR's mean over three bins of the IoU, times 2, which knows no ``matched_quality``."""
    aux: bool = True
    """D49: supervise every refiner layer, not only the last."""


class SADETRSettings(Record):
    """Architecture, switches and loss weights of SA-DETR."""

    hidden_width: PositiveInt = 256
    num_heads: PositiveInt = 8
    feedforward_width: PositiveInt = 1024
    fusion_layers: PositiveInt = 2
    global_layers: PositiveInt = 2
    refiner_layers: PositiveInt = 2
    num_moment_queries: PositiveInt = 10
    dropout: Fraction = 0.1
    input_dropout: Fraction = 0.5
    fusion: Fusion = Fusion()
    local: LocalEnhancement = LocalEnhancement()
    fa: FeatureAlignment = FeatureAlignment()
    qi: QueryInitializer = QueryInitializer()
    ad: SpanGuidance = SpanGuidance()
    dn: Denoising = Denoising()
    enhance: EnhanceBlock = EnhanceBlock()
    gauss: GaussianMask = GaussianMask()
    refiner: Refinement = Refinement()
    saliency: SaliencyLoss = SaliencyLoss()
    loss: LossWeights = LossWeights()

    @model_validator(mode="after")
    def _heads_divide_width(self) -> "SADETRSettings":
        if self.hidden_width % (4 * self.num_heads):
            raise ValueError(
                f"hidden_width {self.hidden_width} must be a multiple of 4 x num_heads = {4 * self.num_heads}"
            )
        return self
