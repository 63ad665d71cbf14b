"""VSLNet: clips that read the query are scored as its highlight, and start and end are chosen from what remains."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.losses.boundaries import boundary_clips, extended_clips, highlight_loss, location_loss
from sadetr.models.interface import Batch, Length, Method, Output, Step
from sadetr.models.vslnet.layers import (
    READERS,
    BoundaryHead,
    RowEncoder,
    SpelledWords,
    TokenProjection,
    masked_logits,
)
from sadetr.models.vslnet.settings import VSLNetSettings
from sadetr.nn.context_query import ContextQueryAttention, PointwiseConvolution, PooledConcatenation
from sadetr.nn.spans import se_to_cw
from sadetr.nn.stochastic import Dropout
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape


@dataclass(frozen=True)
class VSLNetOutput(Output):
    """One window per query, and the distributions that it is the best pair of; saliency is the highlight's score."""

    start: Tensor
    """(B, L) logits, as good as minus infinity at padded clips."""
    end: Tensor
    boundaries: Tensor
    """(B, 2) int64, first and last clip of the window."""


class VSLNet(Method):
    """VSLNet, the Video Span Localizing Network."""

    def __init__(self, settings: VSLNetSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width = settings.hidden_width
        # Published without temporal endpoint features: positions are learned.
        self.video_channels = shape.video_width - TEMPORAL_FEATURES
        self.video_dropout = Dropout(settings.dropout)
        self.video_projection = PointwiseConvolution(self.video_channels, width)
        self.text_projection = (
            SpelledWords(shape.text_width, shape.characters, settings)
            if shape.characters
            else TokenProjection(shape.text_width, settings)
        )
        self.encoder = RowEncoder(settings)
        self.fusion = ContextQueryAttention(width, settings.dropout)
        self.concatenation = PooledConcatenation(width)
        self.highlight = PointwiseConvolution(width, 1)
        self.readers = READERS[settings.predictor](settings)
        self.start_head, self.end_head = BoundaryHead(width), BoundaryHead(width)
        initialise(self)

    def forward(self, batch: Batch, step: Step | None = None) -> VSLNetOutput:
        """Fuse clips with words, weigh them by their highlight scores, choose the best start and end."""
        mask = batch.video_mask
        video = self.video_projection(self.video_dropout(batch.video[..., : self.video_channels]))
        video = self.encoder(video, mask)
        text = self.text_projection(batch.text, batch.text_mask, batch.characters)
        text = self.encoder(text, batch.text_mask)
        clips = self.concatenation(self.fusion(video, text, mask, batch.text_mask), text, batch.text_mask)
        highlight = masked_logits(self.highlight(clips), mask).sigmoid()
        clips = clips * highlight.unsqueeze(-1)
        start, end = self.readers(clips, mask)
        return predicted(self.start_head(start, clips, mask), self.end_head(end, clips, mask), highlight, mask)

    @property
    def extendable(self) -> frozenset[Length]:
        """Convolutions read what is behind the last word and clip, unless it is masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"windows"})

    def objective(self, output: VSLNetOutput, batch: Batch) -> dict[str, Tensor]:
        """Start and end of the first window, and the highlight around it."""
        weights = self.settings.loss
        return {name: getattr(weights, name) * term for name, term in losses(output, batch, self.settings).items()}


def predicted(start: Tensor, end: Tensor, highlight: Tensor, mask: Tensor) -> VSLNetOutput:
    """The pair of first and last clip with the greatest product of probabilities, from (B, L) logits and scores."""
    pairs = (start.softmax(1).unsqueeze(2) * end.softmax(1).unsqueeze(1)).triu()
    boundaries = torch.stack((pairs.amax(2).argmax(1), pairs.amax(1).argmax(1)), 1)
    edges = boundaries + torch.arange(2, device=boundaries.device)
    spans = se_to_cw(edges / mask.sum(1, keepdim=True).to(start.dtype))
    scores = pairs.amax((1, 2))
    return VSLNetOutput(spans.unsqueeze(1), scores.unsqueeze(1), highlight, start=start, end=end, boundaries=boundaries)


def losses(output: VSLNetOutput, batch: Batch, settings: VSLNetSettings) -> dict[str, Tensor]:
    """Unweighted terms by the names of their weights."""
    mask, options = batch.video_mask, settings.loss
    boundaries = boundary_clips(batch.spans[:, 0], mask.sum(1))
    inside = extended_clips(boundaries, mask, options.extension)
    return {
        "location": location_loss(output.start, output.end, boundaries),
        "highlight": highlight_loss(output.saliency, inside, mask, options.highlight_weight),
    }


def initialise(model: nn.Module) -> None:
    """Xavier-uniform convolutions with zero biases; LSTMs and tables stay as torch makes them, as published."""
    for module in model.modules():
        if isinstance(module, nn.Conv1d | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight)
            if module.bias is not None:
                nn.init.zeros_(module.bias)
        elif isinstance(module, SpelledWords):
            nn.init.xavier_uniform_(module.unknown)
