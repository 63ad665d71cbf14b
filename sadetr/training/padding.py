"""Batches of fewer different shapes: lengths rounded up, so that more steps share a graph."""

from dataclasses import replace
from typing import get_args

import torch
from torch import Tensor

from sadetr.models.interface import Batch, Length
from sadetr.settings import DatasetSettings
from sadetr.training_settings import PaddingSettings

PADDED: dict[Length, tuple[str, ...]] = {
    "clips": ("video_mask", "video", "saliency", "relevant"),
    "tokens": ("text_mask", "text", "characters"),
    "windows": ("spans_mask", "spans"),
}
"""Length -> what has it as its second dimension, its mask first."""


class Padding:
    """Rounds the lengths of batches up to multiples, no further than a setting's longest video, text, ... goes."""

    def __init__(self, settings: PaddingSettings, dataset: DatasetSettings, extendable: frozenset[Length]) -> None:
        """Round the ``extendable`` lengths up, those of a method whose numbers do not depend on them."""
        longest = {"clips": dataset.max_stored_clips, "tokens": dataset.max_text_tokens, "windows": dataset.max_windows}
        self._multiples = {name: getattr(settings, name) for name in get_args(Length) if name in extendable}
        self._longest: dict[Length, int | None] = longest

    def __call__(self, batch: Batch) -> Batch:
        """The batch with padding behind its samples' clips, words and windows."""
        changes: dict[str, Tensor] = {}
        for length, multiple in self._multiples.items():
            found = getattr(batch, PADDED[length][0]).shape[1]
            rounded, limit = -(-found // multiple) * multiple, self._longest[length]
            added = (rounded if limit is None else max(found, min(rounded, limit))) - found
            if added:
                changes |= {name: _extended(getattr(batch, name), added) for name in PADDED[length]}
        return replace(batch, **changes) if changes else batch


def _extended(values: Tensor, added: int) -> Tensor:
    """(B, N, ...) -> (B, N + added, ...) with zeros behind; zero is False in a mask."""
    return torch.cat((values, values.new_zeros(len(values), added, *values.shape[2:])), dim=1)
