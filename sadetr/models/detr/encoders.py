"""Stacks of layers in front of the decoder."""

from typing import Self

import torch
from torch import Tensor, nn

from sadetr.nn.decoders import Memory
from sadetr.nn.layers import copies
from sadetr.nn.positions import clip_positions


class Stack(nn.ModuleList):
    """Layers one behind the other that read the same inputs beside their own."""

    @classmethod
    def of_copies(cls, layer: nn.Module, count: int) -> Self:
        """A stack of ``count`` :func:`~sadetr.nn.layers.copies`."""
        return cls(copies(layer, count))

    def forward(self, values: Tensor, *inputs: Tensor | None) -> Tensor:
        """``values`` through all layers, each called with ``inputs`` too."""
        for layer in self:
            values = layer(values, *inputs)
        return values


class JointEncoder(Stack):
    """Encoder layers over clips and words together, as Moment-DETR and EaTR have them."""

    def encode(
        self, video: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor, text_positions: Tensor | None = None
    ) -> Memory:
        """(B, L, d) clips and (B, T, d) words with their masks -> (B, L + T, d), clips first.

        Words have the positions given, (B, T, d), or none.
        """
        words = torch.zeros_like(text) if text_positions is None else text_positions
        positions = torch.cat((clip_positions(video_mask, video.shape[-1]).to(video.dtype), words), 1)
        mask = torch.cat((video_mask, text_mask), 1)
        return Memory(self(torch.cat((video, text), 1), positions, mask), positions, mask)
