"""G-TAD's sampling of clip features inside spans, which Temporal Align is compared with."""

import torch
from torch import Tensor

from sadetr.nn.temporal_align import interpolation_weights


def roi_align_weights(rois: Tensor, clips: int, bins: int, samples: int = 0) -> Tensor:
    """G-TAD's one-dimensional RoI align: pooled features are ``weights @ clips`` (Xu et al. 2020).

    Clip i lies at position i, not i + 0.5. Spans shorter than one clip grow to one, keeping their start. A point less
    than -1 or more than ``clips`` counts in the mean of its bin as zeros; others are clamped to the clips. No gradient
    reaches the spans. SA-DETR's rule is ``temporal_align_weights`` of its refiner (D37).

    Args:
        rois: (..., 2) start and end in clips.
        clips: T.
        bins: pooled features per span.
        samples: points averaged in each bin; 0 takes as many as the bin is clips long, rounded up.

    Returns:
        (..., bins, T).
    """
    with torch.no_grad():
        start, end = rois[..., :1], rois[..., 1:]
        length = (end - start).clamp(min=1)
        size = length / bins
        count = torch.full_like(size, samples) if samples else size.ceil()
        sample = torch.arange(int(count.max()) if count.numel() else 0, device=rois.device, dtype=rois.dtype)
        within = (sample + 0.5) * (size / count)
        first = start + torch.arange(bins, device=rois.device, dtype=rois.dtype) * size
        place = first.unsqueeze(-1) + within.unsqueeze(-2)
        counted = (sample < count).unsqueeze(-2) & (place >= -1) & (place <= clips)
        weights = interpolation_weights(place.clamp(0, clips - 1), clips) * counted.unsqueeze(-1)
        return weights.sum(-2) / count.unsqueeze(-1)
