"""2D-TAN: every candidate moment is a cell of a map; the sentence marks the cells, and convolutions compare them."""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.losses.moment_maps import best_overlap, candidate_loss, overlap_targets
from sadetr.models.interface import Batch, Length, Method, Output, Step
from sadetr.models.two_d_tan.settings import TwoDTANSettings
from sadetr.nn.moment_maps import ConvolvedCandidates, MapConvolutions, PooledCandidates, candidate_levels
from sadetr.nn.resampling import position_means
from sadetr.nn.spans import cw_to_se, se_to_cw
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape


@dataclass(frozen=True)
class TwoDTANOutput(Output):
    """Predictions of every candidate, K cells of the map."""

    logits: Tensor
    """(B, K)."""


class TwoDTAN(Method):
    """2D-TAN."""

    def __init__(self, settings: TwoDTANSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width = settings.hidden_width
        levels = candidate_levels(settings.positions, settings.scales)
        cells = np.concatenate([level.cells for level in levels])
        self.register_buffer("cells", torch.from_numpy(cells), persistent=False)
        self.clip_projection = nn.Conv1d(shape.video_width - TEMPORAL_FEATURES, width, 1)
        pooled = settings.candidates == "pooled"
        self.candidates = PooledCandidates(levels) if pooled else ConvolvedCandidates(levels, settings.scales, width)
        self.words = nn.LSTM(
            shape.text_width,
            settings.sentence_width // (2 if settings.bidirectional else 1),
            num_layers=settings.text_layers,
            bidirectional=settings.bidirectional,
            batch_first=True,
        )
        self.sentence_projection = nn.Linear(settings.sentence_width, width)
        self.candidate_projection = nn.Conv2d(width, width, 1)
        self.map = MapConvolutions(cells, width, settings.map_kernel, settings.map_layers)
        self.score_head = nn.Conv2d(width, 1, 1)

    def forward(self, batch: Batch, step: Step | None = None) -> TwoDTANOutput:
        """Score every candidate; there is no clip score."""
        moments = pointwise(self.candidate_projection, self.candidates(self.positions(batch)))
        sentence = self.sentence_projection(self.sentence(batch)).unsqueeze(1)
        fused = functional.normalize(sentence * moments, dim=-1)
        logits = pointwise(self.score_head, self.map(fused)).squeeze(-1)
        spans = se_to_cw(self.windows().to(logits.dtype)).expand(len(batch), -1, -1)
        saliency = logits.new_zeros(batch.video_mask.shape)
        return TwoDTANOutput(spans, logits.sigmoid(), saliency, logits=logits)

    def positions(self, batch: Batch) -> Tensor:
        """(B, N, d) positions of the map, averaged from projected clips without the temporal endpoint features."""
        clips = batch.video[..., :-TEMPORAL_FEATURES]
        sampled = position_means(clips, batch.video_mask, self.settings.sampled_clips)
        projected = pointwise(self.clip_projection, sampled).relu()
        return projected.unflatten(1, (self.settings.positions, -1)).mean(2)

    def sentence(self, batch: Batch) -> Tensor:
        """(B, d) state at the last word; 0 where there is none."""
        # Few CPUs have an LSTM of mixed precision.
        with torch.autocast(batch.text.device.type, enabled=False):
            states, _ = self.words(batch.text)
        last = (batch.text_mask.sum(1) - 1).clamp(min=0).view(-1, 1, 1).expand(-1, 1, states.shape[2])
        return (states * batch.text_mask.unsqueeze(2)).gather(1, last).squeeze(1)

    def windows(self) -> Tensor:
        """(K, 2) ``se`` of the candidates, normalised: from the start of the first to the end of the last position."""
        return (self.cells + torch.arange(2, device=self.cells.device)) / self.settings.positions

    @property
    def extendable(self) -> frozenset[Length]:
        """Words that are read backwards begin with the padding."""
        return frozenset({"clips", "windows"} if self.settings.bidirectional else {"clips", "tokens", "windows"})

    def objective(self, output: TwoDTANOutput, batch: Batch) -> dict[str, Tensor]:
        """One term: whether every candidate's score says how well it overlaps the window."""
        return {"overlap": overlap_loss(output, batch, self.settings)}


def overlap_loss(output: TwoDTANOutput, batch: Batch, settings: TwoDTANSettings) -> Tensor:
    """Cross entropy of every candidate with a target by its IoU with the window, the best of several."""
    loss = settings.loss
    ious = best_overlap(cw_to_se(output.spans[0]), cw_to_se(batch.spans), batch.spans_mask)
    return candidate_loss(output.logits, overlap_targets(ious, loss.lowest_iou, loss.highest_iou, loss.bias))


def pointwise(convolution: nn.Conv1d | nn.Conv2d, values: Tensor) -> Tensor:
    """A convolution of kernel 1 along the last axis of (..., d_in), where the channels lie -> (..., d_out)."""
    return functional.linear(values, convolution.weight.flatten(1), convolution.bias)
