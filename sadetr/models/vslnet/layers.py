"""VSLNet's layers: embedded words and characters, the encoder of clips and words, the prediction of start and end.

Source: 26hzhang/VSLNet, its PyTorch version. Linear layers are convolutions of kernel size 1 there.
"""

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.models.vslnet.settings import VSLNetSettings
from sadetr.nn.attention import attend, merge_heads, split_heads, visibility_bias
from sadetr.nn.context_query import HIDDEN, PointwiseConvolution
from sadetr.nn.layers import exact
from sadetr.nn.stochastic import Dropout
from sadetr.nn.tokens import LearnedPositions
from sadetr.shapes import CHARACTER_PADDING

NORM_EPSILON = 1e-6
CHARACTER_CHANNELS = (10, 20, 30, 40)
"""Channels of the convolutions over one, two, three and four characters."""


class CharacterEncoder(nn.Module):
    """Embedded characters, convolved within their word; of each channel the largest value in the word."""

    def __init__(self, characters: int, settings: VSLNetSettings) -> None:
        super().__init__()
        self.masked = settings.padding == "masked"
        self.table = nn.Embedding(characters, settings.character_width, padding_idx=CHARACTER_PADDING)
        self.dropout = Dropout(settings.dropout)
        self.convolutions = nn.ModuleList(
            nn.Conv2d(settings.character_width, channels, (1, size))
            for size, channels in enumerate(CHARACTER_CHANNELS, start=1)
        )

    def forward(self, characters: Tensor) -> Tensor:
        """(B, T, C) int64 numbers of characters -> (B, T, 100)."""
        longest = characters.shape[2]
        # Padded words have no character at all; the widest convolution needs its four.
        characters = functional.pad(characters, (0, max(0, len(CHARACTER_CHANNELS) - longest)))
        present = (characters != CHARACTER_PADDING).unsqueeze(1)
        values = self.dropout(self.table(characters)).permute(0, 3, 1, 2)
        if self.masked:
            values = values * present
        largest = []
        for size, convolution in enumerate(self.convolutions):
            found = convolution(functional.pad(values, (0, size)) if self.masked else values).relu()
            largest.append((found * present if self.masked else found).amax(3))
        return torch.cat(largest, 1).transpose(1, 2)


class SpelledWords(nn.Module):
    """Words by their vectors and their characters. Vectors are frozen; all words without one share a learned vector."""

    def __init__(self, width_in: int, characters: int, settings: VSLNetSettings) -> None:
        """Build it for word vectors of ``width_in`` channels and ``characters`` numbers of characters."""
        super().__init__()
        self.unknown = nn.Parameter(torch.empty(1, width_in))
        self.dropout = Dropout(settings.dropout)
        self.characters = CharacterEncoder(characters, settings)
        self.out = PointwiseConvolution(width_in + sum(CHARACTER_CHANNELS), settings.hidden_width)

    def forward(self, words: Tensor, mask: Tensor, characters: Tensor) -> Tensor:
        """(B, T, d_t) vectors, zero where unknown, (B, T) bool mask and (B, T, C) characters -> (B, T, d)."""
        unknown = mask & (words == 0).all(-1)
        words = torch.where(unknown.unsqueeze(-1), self.unknown, words)
        return self.out(torch.cat((self.dropout(words), self.characters(characters)), -1))


class TokenProjection(nn.Sequential):
    """Token features of a text encoder in the place of embedded words: dropout and a linear layer."""

    def __init__(self, width_in: int, settings: VSLNetSettings) -> None:
        super().__init__(Dropout(settings.dropout), PointwiseConvolution(width_in, settings.hidden_width))

    def forward(self, tokens: Tensor, *_: Tensor) -> Tensor:
        """(B, T, d_t) -> (B, T, d); mask and characters are not read."""
        return super().forward(tokens)


class SeparableConvolution(nn.Module):
    """One channel at a time over neighbouring rows, then all channels of a row, behind a norm and beside a residual."""

    def __init__(self, settings: VSLNetSettings) -> None:
        super().__init__()
        width, kernel = settings.hidden_width, settings.kernel
        self.norm = nn.LayerNorm(width, eps=NORM_EPSILON)
        self.depthwise = nn.Conv1d(width, width, kernel, groups=width, padding=kernel // 2, bias=False)
        self.pointwise = PointwiseConvolution(width, width)
        self.dropout = Dropout(settings.dropout)

    def forward(self, rows: Tensor, read: Tensor | None) -> Tensor:
        """(B, N, d) -> (B, N, d); rows outside the (B, N) mask ``read`` are zeros to their neighbours, None: none."""
        values = self.norm(rows)
        values = values if read is None else values * read.unsqueeze(-1)
        values = self.depthwise(values.transpose(1, 2)).transpose(1, 2)
        return rows + self.dropout(self.pointwise(values).relu())


class AttentionBlock(nn.Module):
    """Pre-norm attention without an output projection, then a linear layer, both beside a residual."""

    def __init__(self, settings: VSLNetSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        self.heads = settings.num_heads
        self.norm1, self.norm2 = (nn.LayerNorm(width, eps=NORM_EPSILON) for _ in range(2))
        self.query, self.key, self.value, self.out = (PointwiseConvolution(width, width) for _ in range(4))
        self.dropout = Dropout(settings.dropout)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d) rows attend to those that are True in (B, N) -> (B, N, d)."""
        values = self.dropout(self.norm1(rows))
        heads = (split_heads(project(values), self.heads) for project in (self.query, self.key, self.value))
        bias = visibility_bias(mask, values.dtype)[:, None, None]
        rows = rows + self.dropout(merge_heads(attend(*heads, bias, self.dropout)))
        return rows + self.dropout(self.out(self.dropout(self.norm2(rows))))


class RowEncoder(nn.Module):
    """Learned positions, separable convolutions and attention; padded rows are read as ``padding`` says."""

    def __init__(self, settings: VSLNetSettings) -> None:
        super().__init__()
        self.masked = settings.padding == "masked"
        self.positions = LearnedPositions(settings.positions, settings.hidden_width, "positions")
        nn.init.normal_(self.positions.table)
        self.convolutions = nn.ModuleList(SeparableConvolution(settings) for _ in range(settings.convolutions))
        self.attention = AttentionBlock(settings)

    def forward(self, rows: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d) rows and (B, N) bool mask -> (B, N, d)."""
        rows = rows + self.positions(rows.shape[1])
        for convolution in self.convolutions:
            rows = convolution(rows, mask if self.masked else None)
        return self.attention(rows, mask)


class RecurrentReaders(nn.Module):
    """Two LSTMs: one reads the clips for the start, the other what the first one made of them for the end."""

    def __init__(self, settings: VSLNetSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        self.start, self.end = (nn.LSTM(width, width, batch_first=True) for _ in range(2))

    def forward(self, clips: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, d) clips and (B, L) bool mask -> features for the start and for the end, (B, L, d) each."""
        valid = mask.unsqueeze(-1)
        # Few CPUs have an LSTM of mixed precision.
        with torch.autocast(clips.device.type, enabled=False):
            start = self.start(exact(clips))[0] * valid
            return start, self.end(start)[0] * valid


class AttentiveReaders(nn.Module):
    """The same with one encoder of rows for both, each result behind a norm of its own."""

    def __init__(self, settings: VSLNetSettings) -> None:
        super().__init__()
        self.encoder = RowEncoder(settings)
        self.start_norm, self.end_norm = (nn.LayerNorm(settings.hidden_width, eps=NORM_EPSILON) for _ in range(2))

    def forward(self, clips: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, L, d) clips and (B, L) bool mask -> features for the start and for the end, (B, L, d) each."""
        start = self.encoder(clips, mask)
        return self.start_norm(start), self.end_norm(self.encoder(start, mask))


READERS: dict[str, type[nn.Module]] = {"rnn": RecurrentReaders, "transformer": AttentiveReaders}


class BoundaryHead(nn.Sequential):
    """Logits of all clips to be a boundary: two linear layers."""

    def __init__(self, width: int) -> None:
        super().__init__(PointwiseConvolution(2 * width, width), nn.ReLU(), PointwiseConvolution(width, 1))

    def forward(self, read: Tensor, clips: Tensor, mask: Tensor) -> Tensor:
        """(B, L, d) read features beside the clips that they are of, and (B, L) bool mask -> (B, L)."""
        return masked_logits(super().forward(torch.cat((read, clips), -1)), mask)


def masked_logits(logits: Tensor, mask: Tensor) -> Tensor:
    """(B, L, 1) -> (B, L), as good as minus infinity outside the (B, L) bool mask."""
    return exact(logits).squeeze(-1).masked_fill(~mask, HIDDEN)
