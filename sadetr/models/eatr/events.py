"""Pseudo events: stretches between the boundaries that a video's own features show, and the losses on them."""

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.matching import match_what_fits, take
from sadetr.losses.moment import span_losses
from sadetr.losses.settings import MatchingCosts
from sadetr.models.eatr.settings import EventSource

BORDER = 100.0
"""Score of a video's first and last clip, above every other: the square of a sum of four unit vectors is at most 16."""


@dataclass(frozen=True)
class Events:
    """Pseudo events of a batch in E slots, of which there are as many as there could be events."""

    spans: Tensor
    """(B, E, 2) ``cw``, in units of the sample's valid clips, zero-padded."""
    mask: Tensor
    """(B, E) bool, events first."""


@dataclass(frozen=True)
class SupervisedEvents:
    """Event predictions with what they are compared with, and their losses."""

    assigned: Tensor
    """(B, E) query of each event."""
    matched: Tensor
    """(B, E) bool, events that have a query."""
    l1: Tensor
    """Unweighted."""
    giou: Tensor
    """Unweighted."""


@torch.no_grad()
def pseudo_events(video: Tensor, mask: Tensor, source: EventSource) -> Events:
    """Events between neighbouring boundaries, in their order.

    Args:
        video: (B, L, d_v) features as they come in, temporal endpoint features included, as published.
        mask: (B, L) bool, True at valid clips.
        source: whether a sample's events depend on its batch.
    """
    peaks = boundaries(video, mask, source)
    index = torch.arange(mask.shape[1], device=mask.device).expand_as(mask)
    latest = torch.where(peaks, index, -1).cummax(1).values
    before = functional.pad(latest[:, :-1], (1, 0), value=-1)
    found = peaks & (before >= 0)
    spans = torch.stack(((index + before) / 2, (index - before).to(torch.float32)), -1)
    if source == "batch" and len(mask) % 2:
        # Boundaries of the whole batch are paired in a ring; the pair that closes it, the last boundary of the last
        # sample with the first of the first, carries the mean of their samples' indices, which is an index here.
        closing = torch.stack((latest[-1, -1] / 2, -latest[-1, -1].to(torch.float32)))
        spans = torch.cat((closing.expand(len(mask), 1, 2), spans), 1)
        middle = torch.arange(len(mask), device=mask.device) == len(mask) // 2
        found = torch.cat((middle.unsqueeze(1), found), 1)
    spans = spans.to(video.dtype) / mask.sum(1).view(-1, 1, 1)
    order = (~found).to(torch.int8).argsort(dim=1, stable=True)
    found = found.gather(1, order)
    return Events(take(spans[None], order[None])[0] * found.unsqueeze(-1), found)


def boundaries(video: Tensor, mask: Tensor, source: EventSource) -> Tensor:
    """Clips where the content changes: first, last, and every peak that reaches the mean score; (B, L) bool."""
    scores = changes(video, mask)
    counted = torch.ones_like(mask) if source == "batch" else mask
    threshold = (scores * counted).sum(1, keepdim=True) / counted.sum(1, keepdim=True)
    index = torch.arange(mask.shape[1], device=mask.device)
    scores = scores.masked_fill((index == 0) | (index == mask.sum(1, keepdim=True) - 1), BORDER)
    # In a ring, as published; it makes no difference to the two ends, whose scores no other exceeds.
    neighbours = torch.maximum(scores.roll(1, 1), scores.roll(-1, 1))
    return (scores >= neighbours) & (scores >= threshold) & counted


def changes(video: Tensor, mask: Tensor) -> Tensor:
    """How much the two clips before each clip differ from the two behind it: (B, L, d_v), (B, L) -> (B, L).

    A checkerboard of 5 x 5 along the diagonal of the clips' cosine similarities, which are 0 outside the video. It is
    the squared length of ``u_{t-2} + u_{t-1} - u_{t+1} - u_{t+2}`` with unit features u.
    """
    products = video @ video.transpose(1, 2)
    lengths = products.diagonal(dim1=1, dim2=2).sqrt().clamp(min=torch.finfo(video.dtype).tiny)
    # Divided one after the other: the product of two small lengths may be none.
    similarities = products / lengths.unsqueeze(1) / lengths.unsqueeze(2)
    similarities = similarities.masked_fill(~(mask.unsqueeze(1) & mask.unsqueeze(2)), 0.0)
    signs = torch.arange(2, -3, -1, device=video.device, dtype=video.dtype).sign()
    board = torch.outer(signs, signs)[None, None]
    return functional.conv2d(similarities.unsqueeze(1), board, padding=2)[:, 0].diagonal(dim1=1, dim2=2)


def supervise_events(spans: Tensor, events: Events, costs: MatchingCosts) -> SupervisedEvents:
    """Match (B, N, 2) ``cw`` predictions with events by distance and overlap, and take the span losses."""
    assigned, matched = match_what_fits(spans.float(), events.spans, events.mask, costs.l1, costs.giou)
    l1, giou = span_losses(take(spans[None], assigned[None]), events.spans, matched)
    return SupervisedEvents(assigned, matched, l1, giou)
