"""Losses of methods that choose a first and a last clip (VSLNet)."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.moment import masked_average
from sadetr.nn.spans import cw_to_se, iou


def boundary_clips(spans: Tensor, lengths: Tensor) -> Tensor:
    """Find the first and the last clip whose stretch of video overlaps a span most.

    Args:
        spans: (B, 2) ``cw``, normalised by the video.
        lengths: (B,) clips that each video is divided into.

    Returns:
        (B, 2) int64; of equally good pairs the one that begins, and then ends, first.
    """
    windows, counts = cw_to_se(spans) * lengths.unsqueeze(1), lengths.unsqueeze(1)
    # For a given end the overlap rises up to the clip's border before or behind the start, and falls from there on.
    pair = torch.arange(4, device=spans.device)
    starts = windows[:, :1].floor() + pair // 2
    stops = windows[:, 1:].ceil() - (1 - pair % 2)
    starts = starts.clamp(min=0).minimum(counts - 1)
    stops = stops.minimum(counts.to(stops)).maximum(starts + 1)
    overlaps = iou(torch.stack((starts, stops), -1), windows.unsqueeze(1))
    best = overlaps.argmax(1, keepdim=True)
    return torch.cat((starts.gather(1, best), stops.gather(1, best) - 1), 1).long()


def location_loss(start: Tensor, end: Tensor, boundaries: Tensor) -> Tensor:
    """Sum of the cross entropies of (B, L) start and end logits with their clips, (B, 2), means over the batch."""
    return functional.cross_entropy(start, boundaries[:, 0]) + functional.cross_entropy(end, boundaries[:, 1])


def extended_clips(boundaries: Tensor, mask: Tensor, extension: float) -> Tensor:
    """Find the clips between two boundaries and ``extension`` times as many on both sides: (B, 2) -> (B, L) bool.

    The number is rounded, halves to the even one; valid clips, True in the (B, L) bool mask, alone count.
    """
    first, last = boundaries.unsqueeze(-1).unbind(1)
    # In double precision: 0.1 * 5 is a half there, as for the authors' labels, and not in single precision.
    more = (extension * (last - first + 1).double()).round().long()
    clips = torch.arange(mask.shape[1], device=mask.device)
    return (clips >= first - more) & (clips <= last + more) & mask


def highlight_loss(scores: Tensor, inside: Tensor, mask: Tensor, weight: float) -> Tensor:
    """Binary cross entropy of (B, L) probabilities with (B, L) bool labels, ``weight`` times where they are True.

    The mean is over all clips that are True in ``mask``, (B, L), not over their weights, as published.
    """
    losses = functional.binary_cross_entropy(scores, inside.to(scores.dtype), reduction="none")
    return masked_average(torch.where(inside, weight * losses, losses), mask)
