"""Stacks of layers in front of the decoder."""

from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor, nn

from sadetr.models.detr.texts import TextPairs
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


@dataclass(frozen=True)
class EncodedPairs:
    """Every video, encoded with each of its C texts."""

    clips: Tensor
    """(C B, L, d) clips that have read the words, in front of the encoder."""
    values: Tensor
    """(C B, L+1, d) behind the encoder, global token in row 0."""
    positions: Tensor
    """(B, L+1, d)."""


def encode_pairs(
    fusion: Stack,
    encoder: Stack,
    video: tuple[Tensor, Tensor, Tensor],
    text: Tensor,
    visible: Tensor,
    places: Tensor | None,
    pairs: TextPairs,
) -> EncodedPairs:
    """Let clips read the words, and a global token and the clips each other, as QD-DETR does.

    Args:
        fusion: layers of cross attention.
        encoder: layers of self attention.
        video: (B, L+1, d) clips behind the token, their positions and (B, L+1) mask.
        text: (B, T, d).
        visible: words that clips see, (C B, T) or (C B, h, L, T) bool.
        places: (C B, T, d) positions of words, or none.
        pairs: which texts each video is encoded with.
    """
    tokens, positions, mask = video
    clips = fusion(pairs.videos(tokens[:, 1:]), pairs.videos(positions[:, 1:]), pairs.texts(text), visible, places)
    values = torch.cat((pairs.videos(tokens[:, :1]), clips), 1)
    return EncodedPairs(clips, encoder(values, pairs.videos(positions), pairs.videos(mask)), positions)
