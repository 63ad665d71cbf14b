"""UVCOM's alignment: videos and texts of a batch are contrasted, and the clips of a video among themselves."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.losses.alignment import clip_contrast, contrast_directions
from sadetr.models.detr.parts import counted_rows
from sadetr.models.interface import Batch
from sadetr.models.uvcom.integration import Integrated
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.layers import MLP, masked_mean
from sadetr.nn.spans import cw_to_se


@dataclass(frozen=True)
class Aligned:
    """Unit vectors in the space that videos, clips and texts share."""

    videos: Tensor
    """(B, d)."""
    clips: Tensor
    """(B, L, d)."""
    texts: Tensor
    """(B, d)."""

    @property
    def video_similarity(self) -> Tensor:
        """(B, B) cosines of videos (rows) and texts."""
        return self.videos @ self.texts.T

    @property
    def clip_similarity(self) -> Tensor:
        """(B, L) cosines of clips and their own text."""
        return torch.einsum("bld,bd->bl", self.clips, self.texts)


class AlignmentHeads(nn.Module):
    """One perceptron for the video's token and the refined clips, one for the sentence."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.video, self.text = (MLP(width, hidden, hidden, width) for _ in range(2))

    def forward(self, integrated: Integrated) -> Aligned:
        """Lead all to the common space."""
        seen = functional.normalize(self.video(torch.cat((integrated.encoded[:, :1], integrated.refined), 1)), dim=-1)
        return Aligned(seen[:, 0], seen[:, 1:], functional.normalize(self.text(integrated.sentence), dim=-1))


def alignment_terms(aligned: Aligned, batch: Batch, settings: UVCOMSettings) -> dict[str, Tensor]:
    """The two halves of the alignment loss."""
    if settings.aligned_clips == "relevant":
        relevant = batch.relevant
    else:
        relevant = first_window_clips(batch.spans[:, 0], batch.video_mask)
    valid = counted_rows(batch.video_mask, settings.padding)
    return {
        "video_text": sum(contrast_directions(aligned.video_similarity)) / 4,
        "clip_text": clip_contrast(aligned.clip_similarity, relevant, valid) / 2,
    }


def first_window_clips(span: Tensor, mask: Tensor) -> Tensor:
    """Clips of one window per sample as the authors cut it: (B, 2) ``cw`` and (B, L) bool -> (B, L) bool."""
    first, stop = (cw_to_se(span) * mask.sum(1, keepdim=True)).to(torch.int64).unsqueeze(2).unbind(1)
    index = torch.arange(mask.shape[1], device=mask.device)
    return (index >= first) & (index < stop) & mask


@torch.no_grad()
def mean_similarity(aligned: Aligned, mask: Tensor) -> Tensor:
    """How similar a text is to a video, by its token and by its mean clip, among all texts: (B, L) bool -> (B, B)."""
    clips = masked_mean(aligned.clips, mask)
    return (aligned.video_similarity.softmax(1) + (clips @ aligned.texts.T).softmax(1)) / 2
