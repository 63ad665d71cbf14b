"""What a training shows of itself beside its losses: gradient norms, the spread of predicted spans, and warnings."""

from collections.abc import Mapping

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

LEAST_SPREAD = 0.01
"""Share of the video's length: spans that differ by less between queries hardly depend on what was asked."""
LEAST_SCORE = 0.01
PATIENCE = 5
"""Validations in a row that a condition must hold for before it is worth a warning; the last epoch needs no other."""


def gradient_norms(terms: Mapping[str, Tensor], module: nn.Module) -> dict[str, float]:
    """Norm of each loss term's gradient at each part of a module, before any clipping.

    The graph stays for the step's own backward pass, and no parameter's ``grad`` is touched.

    Args:
        terms: scalars by name.
        module: whose direct children and parameters are the parts.

    Returns:
        ``gradient/<term>/<part>`` -> norm, as far as the term depends on the part.
    """
    named = [(name, parameter) for name, parameter in module.named_parameters() if parameter.requires_grad]
    squares: dict[str, Tensor] = {}
    for term, value in terms.items():
        if not value.requires_grad:
            continue
        gradients = torch.autograd.grad(value, [each for _, each in named], retain_graph=True, allow_unused=True)
        for (name, _), gradient in zip(named, gradients, strict=True):
            if gradient is not None:
                column = f"gradient/{term}/{name.partition('.')[0]}"
                squares[column] = squares.get(column, 0) + gradient.square().sum()
    if not squares:
        return {}
    return dict(zip(squares, torch.stack(list(squares.values())).sqrt().tolist(), strict=True))


def span_spread(spans: NDArray[np.floating]) -> float | None:
    """How far spans of different samples lie apart, as a fraction of the video.

    Standard deviation over the samples, averaged over moment queries, centre and width. (B, N_q, 2) ``cw``; None for
    a single sample.
    """
    return float(spans.std(0, dtype=np.float64).mean()) if len(spans) > 1 else None


class ObservedPredictions:
    """Collects the raw predictions of a split, batch by batch."""

    def __init__(self) -> None:
        self._spans: list[NDArray[np.floating]] = []
        self._best: list[NDArray[np.floating]] = []

    def __call__(self, spans: NDArray[np.floating], scores: NDArray[np.floating]) -> None:
        """Take in (B, N_q, 2) ``cw`` spans and (B, N_q) scores."""
        self._spans.append(spans)
        self._best.append(np.abs(scores, where=np.isfinite(scores), out=np.zeros_like(scores)).max(1))

    def spread(self) -> float | None:
        """The spread of the spans, as :func:`span_spread` defines it, of the candidates that all batches have."""
        fewest = min(spans.shape[1] for spans in self._spans)
        return span_spread(np.concatenate([spans[:, :fewest] for spans in self._spans]))

    def best_score(self) -> float:
        """Largest magnitude among a sample's scores, mean over samples."""
        return float(np.concatenate(self._best).mean())


class StandstillWarnings:
    """Says once when predictions stay the same for every input, and once when all scores stay at 0."""

    def __init__(self) -> None:
        self._held: dict[tuple[str, str], int] = {}
        self._said: set[tuple[str, str]] = set()

    def after(self, split: str, observed: ObservedPredictions, last: bool) -> list[str]:
        """What is to be said after a validation on ``split``; ``last``: no other follows."""
        spread, score = observed.spread(), observed.best_score()
        found = {}
        if spread is not None and spread < LEAST_SPREAD:
            found["spread"] = (
                f"the spans predicted on {split} differ by {spread:.4f} of the video between queries (standard "
                "deviation): they hardly depend on the input"
            )
        if score < LEAST_SCORE:
            found["score"] = (
                f"the scores predicted on {split} stay at 0 (the best of a query is {score:.4f} on average): they rank "
                "nothing"
            )
        texts = []
        for kind in ("spread", "score"):
            key = (split, kind)
            self._held[key] = self._held.get(key, 0) + 1 if kind in found else 0
            if not self._held[key]:
                self._said.discard(key)
            elif key not in self._said and (last or self._held[key] >= PATIENCE):
                self._said.add(key)
                texts.append(f"{found[kind]}; training.diagnostics: 1 records which loss terms move what")
        return texts
