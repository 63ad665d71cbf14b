"""One update of the weights: forward, objective, backward, clipping and optimiser."""

from collections import Counter
from collections.abc import Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, optim

from sadetr.models.interface import Batch, Method, Step
from sadetr.training.diagnostics import gradient_norms, span_spread
from sadetr.training.optimiser import make_optimiser
from sadetr.training.precision import computing, in_single, predicting
from sadetr.training_settings import TrainingSettings

StepKind = Literal["plain", "taped", "captured", "compiled"]


@dataclass(frozen=True)
class Columns:
    """Loss terms and monitors of a step by their column of the history, on its device."""

    names: tuple[str, ...]
    values: Tensor
    """(N,). Whoever took the step may overwrite them in the next one."""


class TakesSteps(Protocol):
    """What the training loop needs of a way to update weights."""

    kind: StepKind
    optimiser: optim.Optimizer
    counts: Counter[str]
    """Steps by the way that they went; whoever continues a training puts in what is known of it."""

    def __call__(self, batch: Batch, step: Step, diagnosis: dict[str, Any] | None = None) -> Columns:
        """One update; fills ``diagnosis`` if there is one. Without one nothing is read back."""

    @property
    def graphs(self) -> int:
        """Shapes that have been recorded."""


class PlainStep:
    """An update as one operator after another, which works everywhere."""

    kind: StepKind = "plain"
    graphs = 0

    def __init__(self, model: Method, settings: TrainingSettings, recorded: bool = False) -> None:
        """Updates of ``model``, which is on its device; see :func:`make_optimiser` for ``recorded``."""
        self.model = model
        self.optimiser = make_optimiser(model, settings, recorded)
        self.parameters = list(model.parameters())
        self.device = self.parameters[0].device
        self.counts = Counter()
        self._settings = settings

    def __call__(self, batch: Batch, step: Step, diagnosis: dict[str, Any] | None = None) -> Columns:
        """One update; fills ``diagnosis`` if there is one. Without one nothing is read back."""
        self.counts["plain"] += 1
        return self.take(batch, step, diagnosis)

    def take(self, batch: Batch, step: Step, diagnosis: dict[str, Any] | None = None) -> Columns:
        """The same, not counted."""
        with self.computing():
            output, terms = self._evaluated(batch, step)
            if diagnosis is not None:
                diagnosis["spread/batch"] = span_spread(output.spans.detach().cpu().numpy())
                diagnosis |= gradient_norms(terms, self.model)
            norm = self.update(_total(terms.values()))
        if diagnosis is not None:
            diagnosis["gradient/total"] = norm.item()
        return _columns(terms)

    def computing(self) -> AbstractContextManager[object]:
        """What all passes of a step run in."""
        return computing(self._settings.precision, self.device)

    def evaluate(self, batch: Batch, step: Step) -> tuple[Tensor, Columns]:
        """What is minimised, and the columns."""
        _, terms = self._evaluated(batch, step)
        return _total(terms.values()), _columns(terms)

    def update(self, loss: Tensor) -> Tensor:
        """Backward, clipping and optimiser; the gradient's norm before it was clipped."""
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.parameters, self._settings.max_grad_norm)
        self.optimiser.step()
        # Kept until the next backward pass they would be memory at the peak, and pieces of it between what is freed.
        self.optimiser.zero_grad(set_to_none=True)
        return norm

    def _evaluated(self, batch: Batch, step: Step) -> tuple[Any, dict[str, Tensor]]:
        with predicting(self._settings.precision, self.device):
            output = self.model(batch, step)
        output = output if self._settings.precision == "float32" else in_single(output)
        return output, self.model.objective(output, batch)


def _total(terms: Iterable[Tensor]) -> Tensor:
    return torch.stack(list(terms)).sum()


def _columns(terms: dict[str, Tensor]) -> Columns:
    monitors: dict[str, Tensor] = getattr(terms, "monitors", {})
    names = [f"loss/{name}" for name in terms] + [f"monitor/{name}" for name in monitors]
    values = [value.detach().float() for value in (*terms.values(), *monitors.values())]
    return Columns(tuple(names), torch.stack(values))
