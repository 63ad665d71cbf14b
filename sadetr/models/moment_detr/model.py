"""Moment-DETR: a joint encoder over clips and words, DETR's plain decoder over both."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.losses.alignment import query_text_contrast
from sadetr.losses.detection import foreground_probability
from sadetr.losses.saliency import margin_loss
from sadetr.models.detection import DetectionOutput, supervise
from sadetr.models.interface import Batch, Inspection, Method, Step
from sadetr.models.moment_detr.inspection import inspect
from sadetr.models.moment_detr.settings import MomentDETRSettings
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.decoders import Memory, PlainDecoder
from sadetr.nn.layers import MLP, FeatureProjection, xavier_matrices
from sadetr.nn.positions import clip_positions
from sadetr.nn.tokens import TokenPositions
from sadetr.settings import RunSettings


@dataclass(frozen=True)
class ContrastEmbeddings:
    """Unit vectors of the contrastive alignment, c channels wide."""

    queries: Tensor
    """(R, B, N_q, c)."""
    text: Tensor
    """(B, T, c)."""
    video: Tensor
    """(B, L, c); published, and read by no loss."""


@dataclass(frozen=True)
class MomentDETROutput(DetectionOutput):
    """Predictions, and the embeddings of the contrast where it is on."""

    contrast: ContrastEmbeddings | None


class ContrastProjections(nn.Module):
    """Projections of queries, words and clips into one space."""

    def __init__(self, width: int, contrast_width: int) -> None:
        super().__init__()
        self.query, self.text, self.video = (nn.Linear(width, contrast_width) for _ in range(3))

    def forward(self, contents: Tensor, clips: Tensor, words: Tensor) -> ContrastEmbeddings:
        """(R, B, N_q, d), (B, L, d), (B, T, d) -> unit vectors."""
        projected = (self.query(contents), self.text(words), self.video(clips))
        return ContrastEmbeddings(*(functional.normalize(values, dim=-1) for values in projected))


class MomentDETR(Method):
    """Moment-DETR."""

    def __init__(self, settings: MomentDETRSettings, video_width: int, text_width: int) -> None:
        """Build the network.

        Args:
            settings: architecture, switches, loss weights.
            video_width: d_v, channels of a clip including the two temporal endpoint features.
            text_width: d_t, channels of a token.
        """
        super().__init__()
        self.settings = settings
        width, heads, feedforward, dropout = (
            settings.hidden_width,
            settings.num_heads,
            settings.feedforward_width,
            settings.dropout,
        )
        blocks = settings.projection_blocks
        self.video_projection = FeatureProjection(video_width, width, settings.input_dropout, blocks)
        self.text_projection = FeatureProjection(text_width, width, settings.input_dropout, blocks)
        places = settings.text_positions
        self.token_positions = TokenPositions(places, width, settings.input_dropout) if places else None
        self.encoder = nn.ModuleList(
            EncoderLayer(width, heads, feedforward, dropout, nn.ReLU) for _ in range(settings.encoder_layers)
        )
        self.decoder = PlainDecoder(width, heads, feedforward, dropout, settings.decoder_layers)
        xavier_matrices(self.encoder)
        xavier_matrices(self.decoder)
        self.query_positions = nn.Parameter(torch.randn(settings.num_moment_queries, width))
        self.label_head = nn.Linear(width, 2)
        self.span_head = MLP(width, width, width, 2)
        self.saliency_head = nn.Linear(width, 1)
        contrast = settings.contrast
        self.contrast = ContrastProjections(width, contrast.width) if contrast.enabled else None

    def forward(self, batch: Batch, step: Step | None = None) -> MomentDETROutput:
        """Encode clips and words together, decode the queries from both."""
        memory = self._encode(batch)
        clips, words = memory.values.split((batch.video.shape[1], batch.text.shape[1]), 1)
        contents = self.decoder(self.query_positions, memory)
        spans, logits = self.span_head(contents).sigmoid(), self.label_head(contents)
        return MomentDETROutput(
            spans=spans[-1],
            scores=foreground_probability(logits[-1]),
            saliency=self.saliency_head(clips).squeeze(-1),
            layer_spans=spans,
            layer_logits=logits,
            contrast=None if self.contrast is None else self.contrast(contents, clips, words),
        )

    def objective(self, output: MomentDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency margin and, where it is on, the contrastive alignment of every supervised layer."""
        settings = self.settings
        supervised = supervise(output, batch, settings)
        margin = margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, settings.saliency_margin)
        terms = supervised.terms | {"saliency_margin": settings.loss.saliency * margin}
        if output.contrast is not None:
            contrast = query_text_contrast(
                output.contrast.queries[supervised.layers],
                output.contrast.text,
                supervised.assigned,
                batch.spans_mask,
                settings.contrast.temperature,
            )
            terms["contrast"] = settings.contrast.weight * contrast
        return terms

    def inspect(self, batch: Batch) -> Inspection:
        """Scores and attention to the clips of every decoder layer."""
        return inspect(self, batch)

    def _encode(self, batch: Batch) -> Memory:
        """Clips first, then words; words have no positions unless learned ones are on."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        places = torch.zeros_like(text) if self.token_positions is None else self.token_positions(text)
        positions = torch.cat((clip_positions(batch.video_mask, video.shape[-1]).to(video.dtype), places), 1)
        mask = torch.cat((batch.video_mask, batch.text_mask), 1)
        values = torch.cat((video, text), 1)
        for layer in self.encoder:
            values = layer(values, positions, mask)
        return Memory(values, positions, mask)


def build(settings: RunSettings) -> MomentDETR:
    """Construct Moment-DETR for a run; two channels are the temporal endpoint features."""
    dataset = settings.dataset
    return MomentDETR(settings.model, dataset.video_width + 2, dataset.text_stream.width)
