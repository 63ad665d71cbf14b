"""Stacks of layers in front of the decoder."""

from dataclasses import dataclass
from typing import Any, Protocol, Self

import torch
from torch import Tensor, nn

from sadetr.models.detr.texts import TextPairs, visible_words
from sadetr.models.interface import Batch
from sadetr.nn.decoders import Memory
from sadetr.nn.layers import copies
from sadetr.nn.positions import clip_positions
from sadetr.nn.tokens import FusionToken


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


class PairNetwork(Protocol):
    """What :func:`encode_pairs` calls: the parts of a network in front of its decoder."""

    settings: Any
    """With ``num_heads`` and ``word_mask``."""
    video_projection: nn.Module
    text_projection: nn.Module
    token_positions: nn.Module | None
    global_token: FusionToken
    fusion: Stack
    encoder: Stack


def encode_pairs(network: PairNetwork, batch: Batch, pairs: TextPairs) -> EncodedPairs:
    """Let clips read the words, and a global token and the clips each other, as QD-DETR does.

    Learned token positions, where they are on, stay those of the sample's own text in both passes, as published.
    """
    settings = network.settings
    text = network.text_projection(batch.text)
    places = None if network.token_positions is None else pairs.videos(network.token_positions(text))
    visible = torch.cat(
        [
            visible_words(batch.video_mask, words, settings.num_heads, settings.word_mask)
            for words in pairs.each(batch.text_mask)
        ]
    )
    tokens, positions, mask = network.global_token.prepend(network.video_projection(batch.video), batch.video_mask)
    texts = pairs.texts(text)
    clips = network.fusion(pairs.videos(tokens[:, 1:]), pairs.videos(positions[:, 1:]), texts, visible, places)
    values = torch.cat((pairs.videos(tokens[:, :1]), clips), 1)
    encoded = network.encoder(values, pairs.videos(positions), pairs.videos(mask))
    return EncodedPairs(clips, encoded, positions)
