"""UVCOM's alignment: videos and texts of a batch are contrasted, and the clips of a video among themselves."""

import torch
from torch import Tensor

from sadetr.losses.alignment import clip_contrast, contrast_directions
from sadetr.models.interface import Batch
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.spans import cw_to_se


def alignment_terms(videos: Tensor, clips: Tensor, batch: Batch, settings: UVCOMSettings) -> dict[str, Tensor]:
    """Unweighted terms, which are added up.

    Args:
        videos: (B, B) cosines of videos (rows) and texts.
        clips: (B, L) cosines of clips and their own text.
        batch: windows, relevant clips and masks.
        settings: which clips are drawn to the text, and whether padded ones count.
    """
    if settings.aligned_clips == "relevant":
        relevant = batch.relevant
    else:
        relevant = first_window_clips(batch.spans[:, 0], batch.video_mask)
    counted = batch.video_mask if settings.padding == "masked" else torch.ones_like(batch.video_mask)
    return {
        "video_text": sum(contrast_directions(videos)) / 4,
        "clip_text": clip_contrast(clips, relevant, counted) / 2,
    }


def first_window_clips(span: Tensor, mask: Tensor) -> Tensor:
    """Clips of one window per sample as the authors cut it: (B, 2) ``cw`` and (B, L) bool -> (B, L) bool."""
    first, stop = (cw_to_se(span) * mask.sum(1, keepdim=True)).to(torch.int64).unsqueeze(2).unbind(1)
    index = torch.arange(mask.shape[1], device=mask.device)
    return (index >= first) & (index < stop) & mask
