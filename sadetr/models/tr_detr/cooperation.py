"""How TR-DETR's two tasks help each other: clip scores weigh the clips, the best moment weighs the clip scores."""

import math

import torch
from torch import Tensor, nn

from sadetr.nn.spans import cw_to_se


class SummedHighlightHead(nn.Module):
    """Clip scores: the sum over the channels of projected clips, divided by sqrt(d)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.clip = nn.Linear(width, width)

    def forward(self, clips: Tensor, gain: Tensor | None = None) -> Tensor:
        """(B, L, d) clips, multiplied by the (B, L) ``gain`` where there is one -> (B, L)."""
        # The sum moves into the projection, which then is one vector.
        scores = clips @ self.clip.weight.sum(0)
        scores = scores if gain is None else gain * scores
        return (scores + self.clip.bias.sum()) / math.sqrt(clips.shape[-1])


def highlighted(clips: Tensor, scores: Tensor, counted: Tensor) -> Tensor:
    """Weigh (B, L, d) clips by the softmax of their (B, L) scores over those ``counted``, (B, L) bool (HD2MR)."""
    return clips * scores.masked_fill(~counted, -torch.inf).softmax(1).unsqueeze(-1)


def moment_clips(span: Tensor, lengths: Tensor, wrapped: bool) -> tuple[Tensor, Tensor]:
    """Find the first clip of a moment and the one behind its last.

    Args:
        span: (B, 2) ``cw``.
        lengths: (B,) clips that the span is a share of.
        wrapped: whether ends before the video's start count from its end, as in a slice of Python, where nothing may
            remain; they are clamped to the video and to one clip at least otherwise.

    Returns:
        (B,) int64 each; no clip where the first is not smaller.
    """
    first, last = (cw_to_se(span) * lengths.unsqueeze(1)).floor().long().unbind(1)
    stop = last + 1
    if wrapped:
        first, stop = (torch.where(end < 0, end + lengths, end) for end in (first, stop))
        zero = torch.zeros_like(lengths)
        return first.maximum(zero).minimum(lengths), stop.maximum(zero).minimum(lengths)
    first = first.clamp(min=0).minimum(lengths - 1)
    return first, stop.minimum(lengths).maximum(first + 1)


class MomentSummary(nn.Module):
    """What a recurrent network makes of the clips of a moment (MR2HD)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gru = nn.GRU(width, width, batch_first=True)

    def forward(self, clips: Tensor, first: Tensor, stop: Tensor, lengths: Tensor) -> Tensor:
        """Return the state behind ``lengths`` steps: the moment's clips first, then zeros, as published.

        (B, L, d) clips, of which those from ``first`` to ``stop``, (B,) each, are read; (B,) lengths -> (B, d).
        """
        steps = torch.arange(clips.shape[1], device=clips.device)
        places = first.unsqueeze(1) + steps
        inside = (places < stop.unsqueeze(1)).unsqueeze(-1)
        rows = places.clamp(max=clips.shape[1] - 1).unsqueeze(-1).expand_as(clips)
        states, _ = self.gru(clips.gather(1, rows) * inside)
        final = (lengths - 1).view(-1, 1, 1).expand(-1, 1, clips.shape[-1])
        return states.gather(1, final).squeeze(1)
