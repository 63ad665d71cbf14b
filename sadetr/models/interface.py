"""What the training loop knows of a method: this file and nothing else.

A method is a subclass of :class:`Method`. It sees tensors, never datasets.
"""

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field, fields, replace
from typing import ClassVar, Literal

import torch
from torch import Tensor, nn

Length = Literal["clips", "tokens", "windows"]


@dataclass(frozen=True)
class Batch:
    """A padded mini-batch of B queries; L clips, T tokens, G windows, P saliency pairs at most.

    ``spans`` are ``cw`` in [0, 1]; masks are bool and True at valid entries. Features are of the store's type until
    :meth:`to`, and float32 from there on.
    """

    video: Tensor
    """(B, L, d_v) float32, normalised clip features with the two temporal endpoint features appended."""
    video_mask: Tensor
    """(B, L)."""
    text: Tensor
    """(B, T, d_t) float32."""
    text_mask: Tensor
    """(B, T)."""
    spans: Tensor
    """(B, G, 2) ground-truth windows, zero-padded."""
    spans_mask: Tensor
    """(B, G)."""
    saliency: Tensor
    """(B, L) float32 label per clip: sum of the annotators (0..12), 0 outside the relevant clips."""
    relevant: Tensor
    """(B, L) bool, clips that belong to a window."""
    positive_clips: Tensor
    """(B, P) int64 clip of each saliency pair that must score higher."""
    negative_clips: Tensor
    """(B, P) int64."""
    aligned_clip: Tensor
    """(B,) int64, one relevant clip, the positive of the contrastive alignment losses."""
    video_id: Tensor
    """(B,) int64, equal where two queries share a video."""
    source_id: Tensor = None
    """(B,) int64, equal where the videos of two queries were cut from one original (``dataset.source_video``), which
    shows the same people and places in both. Left out, it is ``video_id``: every video is its own original."""
    characters: Tensor = None
    """(B, T, C) int64, the number of every character of every word, 0 behind a word's last one, 1 for an unknown one.
    Left out, C is 0: only text streams of the kind ``vocabulary`` have characters."""

    def __post_init__(self) -> None:
        if self.source_id is None:
            object.__setattr__(self, "source_id", self.video_id)
        if self.characters is None:
            none = self.text_mask.new_zeros(*self.text_mask.shape, 0, dtype=torch.int64)
            object.__setattr__(self, "characters", none)

    def __len__(self) -> int:
        return self.video.shape[0]

    def to(self, device: torch.device) -> "Batch":
        """The same batch on ``device``, features in single precision."""
        moved = {part.name: getattr(self, part.name).to(device, non_blocking=True) for part in fields(self)}
        # Halves of a store are converted there: half the bytes cross over.
        return replace(self, **moved | {name: moved[name].float() for name in ("video", "text")})


@dataclass(frozen=True)
class Step:
    """What a method may know of the training step: how far training is, and its private source of randomness."""

    epoch: int
    """Finished epochs: 0 in the first one."""
    epochs: int
    """Epochs of the whole training."""
    generator: torch.Generator
    """On the CPU, so that draws are the same whatever the device."""
    drawn: Tensor | None = None
    """What the method drew from it for this step, on the batch's device; see :meth:`Method.prepared`."""

    @property
    def progress(self) -> float:
        """Finished share of the epochs, in [0, 1)."""
        return self.epoch / self.epochs


@dataclass(frozen=True)
class Output:
    """Predictions that every method makes."""

    spans: Tensor
    """(B, N_q, 2) ``cw``, normalised."""
    scores: Tensor
    """(B, N_q), the higher the better; -inf where a sample has no candidate, as at the padded clips of a method that
    predicts a window from every clip. N_q may then differ between batches."""
    saliency: Tensor
    """(B, L) clip scores; padded clips hold anything finite."""
    step: Step | None = field(default=None, kw_only=True)
    """What ``forward`` was given. A method whose objective changes while it trains hands it on here; others leave it
    out."""

    @property
    def layer_scores(self) -> Tensor | None:
        """(R, B, N_q) score after each of R decoder layers, in [0, 1]; None where there is but one."""
        return None


class LossTerms(dict[str, Tensor]):
    """Weighted loss terms by name, and ``monitors`` beside them: scalars that are watched and train nothing.

    The history holds the mean of every monitor over an epoch's batches, in a column ``monitor/<name>``.
    """

    def __init__(self, terms: Mapping[str, Tensor], monitors: Mapping[str, Tensor]) -> None:
        super().__init__(terms)
        self.monitors = dict(monitors)


@dataclass(frozen=True)
class Shown:
    """Where ``python -m sadetr explain --qid`` finds what a decoder computes between its layers."""

    cross_attentions: str
    """Names of the cross attentions, ``*`` in the place of a layer's index: ``decoder.layers.*.cross_attention``."""
    weights: str = "dropout"
    """Submodule of each that is called with the attention's weights, (B, h, N_q, L + anything)."""
    anchors: int | None = None
    """Which positional argument of theirs are the anchors, (B, N_q, 2) ``cw``; None where there are none."""


class Method(nn.Module, ABC):
    """A trainable method; constructed as ``Method(settings, shape)``.

    ``settings`` is of the type that its file names, ``shape`` a :class:`sadetr.shapes.FeatureShape`.
    """

    shown: ClassVar[Shown | None] = None
    """What may be looked at beside predictions."""

    @abstractmethod
    def forward(self, batch: Batch, step: Step | None = None) -> Output:
        """Predict; ``step`` is given in training only and switches on what exists only there (noise groups, say)."""

    def prepared(self, batch: Batch, step: Step) -> Step:
        """The step with what ``forward`` takes from its private generator, which depends on the batch's shapes alone.

        Training calls it in front of ``forward``, which so computes with tensors and nothing else, and can be compiled
        or captured as a graph; dropout draws from torch's own generators. Methods that draw nothing have nothing to do.
        """
        return step

    def phase(self, step: Step) -> Hashable:
        """What of the epoch ``forward`` and ``objective`` depend on, beside ``step.drawn``, if they read it at all.

        A recorded step is repeated while this is the same, and made anew where it changes. Methods
        that never read the epoch, or ask no more of it than its number, have nothing to do.
        """
        return step.epoch

    @property
    def extendable(self) -> frozenset[Length]:
        """Lengths of a batch that may be padded further without a change to loss or gradients beyond rounding.

        Dropout's draws apart. By default none: ``training.padding`` then leaves this method's batches as they are.
        """
        return frozenset()

    @abstractmethod
    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        """Weighted loss terms by name; training minimises their sum. :class:`LossTerms` adds what is to be watched.

        All that it depends on is in its arguments, so that whoever has an output (a parity check, a benchmark) has its
        losses. What depends on the epoch reads ``output.step``, which ``forward`` put there.
        """
