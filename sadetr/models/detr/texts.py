"""Texts of a batch: a sample's own and another sample's, and which words its clips may attend to."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sadetr.models.interface import Batch


@dataclass(frozen=True)
class OtherTexts:
    """For every sample the text of another one, against which its clips should score low."""

    source: Tensor
    """(B,) int64, the sample whose text it is."""
    real: Tensor
    """(B,) bool, whether it counts as a negative."""

    def take(self, values: Tensor) -> Tensor:
        """What belongs to the texts, (B, ...), in the order of the samples that are given them."""
        return values.index_select(0, self.source)


def next_texts(batch: Batch) -> OtherTexts:
    """The next sample's text, the first one's for the last; counted even where it is of the same video (QD-DETR)."""
    order = torch.arange(len(batch), device=batch.video_id.device)
    return OtherTexts(order.roll(-1), torch.ones_like(batch.video_id, dtype=torch.bool))


def next_video_texts(batch: Batch) -> OtherTexts:
    """The next sample's text, a negative only where that sample is of another video (D22)."""
    return OtherTexts(next_texts(batch).source, batch.video_id != batch.video_id.roll(-1))


def next_source_texts(batch: Batch) -> OtherTexts:
    """The next sample's text, a negative only where that sample's video is of another original (CG-DETR)."""
    return OtherTexts(next_texts(batch).source, batch.source_id != batch.source_id.roll(-1))


def least_similar_texts(similarity: Tensor, candidates: Tensor) -> OtherTexts:
    """The candidate that is least similar to the sample, which has no negative without any (UVCOM).

    Args:
        similarity: (B, B) of samples (rows) and texts.
        candidates: (B, B) bool; all of them, the sample's own text included, as published.
    """
    return OtherTexts(similarity.masked_fill(~candidates, torch.inf).argmin(1), candidates.any(1))


@dataclass(frozen=True)
class TextPairs:
    """Every video with its own text and, where there are others, once more with another; C B samples, own texts first.

    Both passes go through the layers as one batch, with dropout masks of their own.
    """

    others: OtherTexts | None

    def each(self, values: Tensor) -> list[Tensor]:
        """What belongs to the texts, (B, ...), as each of the C passes sees it."""
        return [values] if self.others is None else [values, self.others.take(values)]

    def texts(self, values: Tensor) -> Tensor:
        """What belongs to the texts, (B, ...) -> (C B, ...)."""
        return torch.cat(self.each(values))

    def videos(self, values: Tensor) -> Tensor:
        """What belongs to the videos, (B, ...) -> (C B, ...)."""
        copies = 1 if self.others is None else 2
        return values.repeat(copies, *[1] * (values.dim() - 1))

    def split(self, values: Tensor) -> tuple[Tensor, Tensor | None]:
        """(C B, ...) -> (B, ...) of the own and, where there are others, of the other texts."""
        if self.others is None:
            return values, None
        own, other = values.chunk(2)
        return own, other


def visible_words(video_mask: Tensor, text_mask: Tensor, heads: int, rule: str) -> Tensor:
    """Words that clips may attend to by the setting ``word_mask``: (B, T), or (B, h, L, T), bool.

    ``own``: the sample's own words; ``tiled``: :func:`tiled_word_mask`.
    """
    return text_mask if rule == "own" else tiled_word_mask(video_mask, text_mask, heads)


def tiled_word_mask(video_mask: Tensor, text_mask: Tensor, heads: int, present: Tensor | None = None) -> Tensor:
    """Words that each head sees in QD-DETR as published: (B, L) and (B, T) -> (B, h, L, T) bool, True where seen.

    Head j of sample b hides the padded words of b and, from the clips that are padding in sample s = (b h + j) mod B,
    also the words that are padding in s. Its descendants have the same fault.

    With ``present``, (B,) bool, only these samples are counted, b and s from 0 among them and B of them; what the rows
    of the others hold is of no use.
    """
    size, device = len(video_mask), video_mask.device
    head = torch.arange(heads, device=device)
    if present is None:
        source = (torch.arange(size, device=device).unsqueeze(1) * heads + head) % size
    else:
        order = (~present).to(torch.int8).argsort(stable=True)
        number = (present.cumsum(0) - 1).clamp(min=0).unsqueeze(1)
        source = order[(number * heads + head) % present.sum().clamp(min=1)]
    hidden = ~video_mask.unsqueeze(2) & ~text_mask.unsqueeze(1)
    return text_mask[:, None, None] & ~hidden[source]
