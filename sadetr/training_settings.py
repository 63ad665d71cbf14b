"""How a network is trained and its predictions are ranked: the section ``training`` of a run's settings.

Defaults are the paper's (Table 9 and ``docs/interpretation.md``); :mod:`sadetr.settings` puts the sections together.
This module stays free of torch.
"""

from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sadetr.records import Fraction, NonNegativeInt, PositiveFloat, PositiveInt, Record


class ScheduleSettings(Record):
    """Learning rate over the epochs (D59): constant for ``hold_epochs``, then as ``shape`` says.

    ``linear`` and ``cosine`` fall to 0 at the end, ``step`` multiplies once, ``milestones`` as often as there are some,
    ``constant`` never, and ``plateau`` whenever a validation loss has not become better for long. A key that the shape
    does not read has no effect: layers below may have set it for another one.
    """

    shape: Literal["linear", "cosine", "step", "milestones", "constant", "plateau"] = "linear"
    hold_epochs: NonNegativeInt = 40
    """Epochs at the full rate, where the shape is ``linear``, ``cosine`` or ``step``."""
    step_factor: Fraction = 0.1
    """What the rate is multiplied by: after ``hold_epochs`` (``step``), at each of ``milestones``, on a ``plateau``."""
    milestones: list[PositiveInt] = Field(default_factory=list)
    """Finished epochs after which the rate is multiplied: [80, 160] in BAM-DETR and UniVTG."""
    warmup_epochs: NonNegativeInt = 0
    """Epochs W in which the rate rises: to (e + 1) / W of what ``shape`` says in epoch e from 0, as in UniVTG."""
    patience: NonNegativeInt = 20
    """Epochs in a row whose loss is not better that a ``plateau`` bears; behind one more the rate is multiplied."""
    better: Literal["lower", "higher"] = "lower"
    """Which loss is the better one of a ``plateau``: the higher for 2D-TAN's authors, who hand over its negative."""
    watched_split: str = "val"
    """Split whose loss a ``plateau`` watches: the objective's mean over batches, behind every epoch."""
    unit: Literal["epoch", "step"] = "epoch"
    """Whether the rate changes from epoch to epoch, or from step to step, as in VSLNet."""

    @model_validator(mode="after")
    def _milestones_ascend(self) -> "ScheduleSettings":
        if self.shape == "milestones" and not self.milestones:
            raise ValueError("shape 'milestones' needs milestones, for example [80, 160]; without any it is 'constant'")
        if any(later <= earlier for earlier, later in pairwise(self.milestones)):
            raise ValueError(f"milestones {self.milestones} must ascend: give each epoch once, the first one first")
        return self


class WindowRanking(Record):
    """What all ways from a network's windows to ranked ones share."""

    kept: PositiveInt | None = None
    """Windows per query that are kept, the best ones; None: all."""
    clamp_to_duration: bool = True
    """Whether windows end with their video, before they are fitted to the benchmark's grid and anything is suppressed
    (BAM-DETR, CG-DETR, UniVTG). Moment-DETR and QD-DETR know the setting's ``postprocess.clamp`` alone, which is
    QVHighlights' longest video: windows of shorter ones may end after them."""


class ScoreRanking(WindowRanking):
    """Windows by descending score, all of them overlapping as they may: matching makes suppression needless (D57)."""

    kind: Literal["score"] = "score"


class HardSuppression(WindowRanking):
    """Non-maximum suppression: a window that overlaps a better one by an IoU above ``threshold`` goes.

    UniVTG: threshold 0.7, 10 kept. 2D-TAN: 0.45 on Charades-STA, 0.4 on TACoS.
    """

    kind: Literal["nms"] = "nms"
    threshold: Fraction


class GaussianSuppression(WindowRanking):
    """Soft-NMS (Bodla et al. 2017): the score of such a window is multiplied by exp(-IoU² / sigma).

    BAM-DETR: threshold 0.3, sigma 0.5, 10 kept. The paper has no threshold in this form, which is 0.
    """

    kind: Literal["gaussian_soft_nms"] = "gaussian_soft_nms"
    threshold: Fraction
    sigma: PositiveFloat


class LinearSuppression(WindowRanking):
    """Soft-NMS (Bodla et al. 2017): the score of such a window is multiplied by 1 - IoU."""

    kind: Literal["linear_soft_nms"] = "linear_soft_nms"
    threshold: Fraction


Ranking = ScoreRanking | HardSuppression | GaussianSuppression | LinearSuppression


class PaddingSettings(Record):
    """Multiples to which the lengths of a batch are rounded up, against many shapes; 1 leaves a length as it is.

    A graph is captured for every shape. Only lengths are rounded that change nothing but rounding, with dropout off,
    in the method at hand (``Method.extendable``), and none beyond the longest that the benchmark setting allows.
    Dropout draws differ with the shape, so this is part of what a run is.
    """

    clips: PositiveInt = 1
    tokens: PositiveInt = 1
    windows: PositiveInt = 1


Precision = Literal["float32", "tf32", "bf16"]


class TrainingSettings(Record):
    """Optimisation; paper Table 9 and docs/interpretation.md (D59, D71)."""

    batch_size: PositiveInt = 32
    epochs: PositiveInt = 200
    learning_rate: PositiveFloat = 1e-4
    optimiser: Literal["adamw", "adam"] = "adamw"
    """2D-TAN has Adam, without weight decay; everyone else AdamW."""
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    decayed: Literal["all", "matrices"] = "all"
    """Parameters that decay: all, or those of two or more dimensions, which leaves out norms and biases (MH-DETR,
    VSLNet)."""
    max_grad_norm: PositiveFloat = 0.1
    schedule: ScheduleSettings = ScheduleSettings()
    ranking: Annotated[Ranking, Field(discriminator="kind")] = ScoreRanking()
    """From a network's windows to those that are scored and written: before checkpoints are selected, and in every
    prediction file."""
    bucket_batches: PositiveInt = 1
    """D76: shuffled batches whose samples are sorted by video length among themselves, against padding. 1 is plain
    shuffling, as in the field."""
    padding: PaddingSettings = PaddingSettings()
    precision: Precision = "float32"
    """What training steps compute in; weights, moments, losses, matching and predictions are float32 in every case.
    ``tf32``: a GPU rounds the factors of matrix products and convolutions to 10 bits; nothing on a CPU. ``bf16``:
    torch's automatic mixed precision in the network's forward pass and so its backward pass."""
    validate_every: PositiveInt = 1
    """Epochs between validations; the last epoch is always validated."""
    diagnostics: NonNegativeInt = 0
    """Epochs between those whose first batch has its gradient norms, per loss term and part of the network, and the
    spread of its predicted spans written to the history; 0: none. No effect on the trained bits, unless steps are
    compiled: a diagnosed one is plain, and equal to rounding."""

    @model_validator(mode="after")
    def _decay_is_decoupled(self) -> "TrainingSettings":
        if self.optimiser == "adam" and self.weight_decay:
            raise ValueError(
                f"optimiser 'adam' has no weight decay of its own: set weight_decay to 0, found {self.weight_decay}, "
                "or optimiser to 'adamw'"
            )
        return self
