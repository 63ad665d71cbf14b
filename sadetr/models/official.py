"""What the authors of a method call everything. Only ``import-weights`` and ``parity`` read it; no network needs it.

A method whose authors published code has a module ``official`` beside its network, with one :class:`Official` named
``OFFICIAL``: the names of their tensors, options, inputs, outputs and losses, as data as far as possible.
"""

import fnmatch
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.errors import ResultsError
from sadetr.models.interface import Batch
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape

Tensors = Mapping[str, Tensor]
"""Their tensors by their names."""
Values = dict[str, Tensor]
"""Ours, by official name."""
Rules = Mapping[str, str]
"""Official name -> our name; ``*`` stands for one part of the name, the same on both sides."""


class Given(Protocol):
    """What a fixture of the authors' numbers gives (:class:`sadetr.parity.fixture.Fixture`)."""

    meta: dict[str, Any]

    def __getitem__(self, name: str) -> Tensor:
        """A tensor: ``input.x``, ``target.x`` or ``weight.x``."""

    def option(self, name: str) -> Any:
        """An option of the authors' code."""


@dataclass(frozen=True)
class Official:
    """The authors' names of one method."""

    rules: Rules
    """Their tensors; the first rule that fits counts. Several tensors may be one of ours, if they are equal."""
    unused: Mapping[str, str]
    """Pattern of official names that ours has no use for -> why. A rule whose target our network has goes first."""
    sizes: Mapping[str, Callable[[Tensors], Any]]
    """Our setting (dotted) -> how their tensors show it; None leaves the default."""
    shape: Callable[[Tensors, Given | None], FeatureShape]
    """Reads the features' shape from the tensors and, where there is one, from a fixture."""
    options: Mapping[str, str | Callable[[Given], Any]]
    """Our setting (dotted) -> the option that says it, where no tensor does."""
    fixed: Mapping[str, Any]
    """Option that no published run changes -> the only value that ours has."""
    batch: Callable[[Given], Batch]
    """Their inputs and targets as ours."""
    outputs: Callable[[Any, Batch, Any], Values]
    """Output, batch and settings -> the values that their network returns, without a prefix."""
    losses: Callable[[Any, Batch, Any], Values]
    """The same -> ``loss.x`` (unweighted), ``part.x`` and ``match.x``, the total left out."""
    uncompared: Mapping[str, str]
    """Pattern of results that are not ours to reproduce -> why."""
    losses_at: Callable[[Any, Given], Any] = lambda output, _: output
    """Output and fixture -> the output whose losses and gradients are compared. Where the rounding of an output, which
    is compared before, is magnified by a loss: the authors' numbers, with our gradient (:func:`at`)."""


@dataclass(frozen=True)
class Imported:
    """An imported checkpoint."""

    weights: dict[str, Tensor]
    """Tensors by our names."""
    targets: dict[str, str]
    """Official name -> our name."""
    unused: dict[str, str]
    """Official name -> why it is unused."""


def import_weights(tensors: Tensors, official: Official, expected: Mapping[str, Tensor]) -> Imported:
    """Rename every tensor, or say why it is unused.

    Args:
        tensors: a state of the authors' network.
        official: the authors' names.
        expected: our network's state, of which only names and shapes are read.

    Raises:
        ResultsError: a tensor is unknown, missing, of another shape than ours, or not equal to another of its meaning.
    """
    weights: dict[str, Tensor] = {}
    targets: dict[str, str] = {}
    unused: dict[str, str] = {}
    for name, tensor in tensors.items():
        target = renamed(name, official.rules)
        reason = next((why for pattern, why in official.unused.items() if fnmatch.fnmatchcase(name, pattern)), None)
        if target in expected:
            if tensor.shape != expected[target].shape:
                raise ResultsError(
                    f"tensor {name!r} has shape {list(tensor.shape)}, ours ({target!r}) has "
                    f"{list(expected[target].shape)}: the checkpoint is of another architecture"
                )
            if not torch.equal(weights.setdefault(target, tensor), tensor):
                raise ResultsError(f"tensor {name!r} differs from another one that is {target!r} too in ours")
            targets[name] = target
        elif reason is not None:
            unused[name] = reason
        else:
            raise ResultsError(f"tensor {name!r} is unknown: the checkpoint is not one of this method")
    missing = [name for name in expected if name not in weights]
    if missing:
        raise ResultsError(f"the checkpoint has no tensor for {', '.join(map(repr, missing))}: it is incomplete")
    return Imported(weights, targets, unused)


def below(official: str, ours: str, rules: Rules) -> dict[str, str]:
    """``rules`` with both sides prefixed."""
    return {f"{official}.{name}": f"{ours}.{target}" for name, target in rules.items()}


def perceptron(official: str, ours: str, layers: int) -> dict[str, str]:
    """An official MLP, whose list has no activations, as ours, whose sequence has."""
    return {f"{official}.layers.{index}.*": f"{ours}.{2 * index}.*" for index in range(layers)}


def renamed(name: str, rules: Rules) -> str | None:
    """Our name of an official one by the first rule that fits; None where none does."""
    for pattern, target in rules.items():
        found = re.fullmatch(re.escape(pattern).replace(r"\*", r"([^.]+)"), name)
        if found:
            parts = iter(found.groups())
            return re.sub(r"\*", lambda _: next(parts), target)  # noqa: B023
    return None


def depth(pattern: str) -> Callable[[Tensors], int]:
    """A reader: how many parts stand for the first ``*`` of ``pattern`` among the official names."""
    expression = re.escape(pattern).replace(r"\*", r"([^.]+)", 1).replace(r"\*", ".*")
    return lambda tensors: len({found[1] for name in tensors if (found := re.fullmatch(expression, name))})


def size(name: str, dimension: int) -> Callable[[Tensors], int]:
    """A reader: one size of an official tensor; ResultsError if there is none of this name."""
    return lambda tensors: shape_of(tensors, name)[dimension]


def shape_of(tensors: Tensors, name: str) -> Sequence[int]:
    """Shape of an official tensor.

    Raises:
        ResultsError: there is none of this name.
    """
    if name not in tensors:
        raise ResultsError(f"no tensor {name!r}: the checkpoint is not one of this method")
    return tensors[name].shape


def at(theirs: Tensor, ours: Tensor) -> Tensor:
    """The number of the authors, exactly, with the gradient of ours; equal shapes."""
    return theirs + (ours - ours.detach())


def valid_spans(given: Given) -> Tensor:
    """(B, G) bool, True at the windows of a fixture's zero-padded ``target.spans``."""
    return torch.arange(given["target.spans"].shape[1]) < given["target.num_spans"].long().unsqueeze(1)


def one_moment_batch(
    video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, spans: Tensor, **others: Tensor
) -> Batch:
    """Samples of methods that are no detection transformers: a window each, a video of its own, and no clip labels.

    Args:
        video: (B, L, d) clips, to which the authors append no temporal endpoint features.
        video_mask: (B, L) bool.
        text: (B, T, d).
        text_mask: (B, T) bool.
        spans: (B, 2) ``cw``.
        others: further fields of the batch.
    """
    count = len(video)
    none = torch.zeros(count, 0, dtype=torch.int64)
    return Batch(
        video=functional.pad(video, (0, TEMPORAL_FEATURES)),
        video_mask=video_mask,
        text=text,
        text_mask=text_mask,
        spans=spans.unsqueeze(1),
        spans_mask=torch.ones(count, 1, dtype=torch.bool),
        saliency=torch.zeros_like(video_mask, dtype=video.dtype),
        relevant=torch.zeros_like(video_mask),
        positive_clips=none,
        negative_clips=none,
        aligned_clip=torch.zeros(count, dtype=torch.int64),
        video_id=torch.arange(count),
        **others,
    )
