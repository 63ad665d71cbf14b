"""Moment-DETR: a joint encoder over clips and words, DETR's plain decoder over both."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.losses.alignment import query_text_contrast
from sadetr.losses.saliency import margin_loss
from sadetr.models.detr.encoders import JointEncoder
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.parts import detection_heads, layer_sizes, projections, token_positions
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.models.moment_detr.settings import MomentDETRSettings
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.decoders import PlainDecoder
from sadetr.nn.layers import xavier_matrices
from sadetr.shapes import FeatureShape


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

    shown = Shown("decoder.layers.*.cross_attention")

    def __init__(self, settings: MomentDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.encoder = JointEncoder.of_copies(EncoderLayer(*sizes, nn.ReLU), settings.encoder_layers)
        self.decoder = PlainDecoder(*sizes, settings.decoder_layers)
        xavier_matrices(self.encoder)
        xavier_matrices(self.decoder)
        self.query_positions = nn.Parameter(torch.randn(settings.num_moment_queries, width))
        self.label_head, self.span_head = detection_heads(width)
        self.saliency_head = nn.Linear(width, 1)
        contrast = settings.contrast
        self.contrast = ContrastProjections(width, contrast.width) if contrast.enabled else None

    def forward(self, batch: Batch, step: Step | None = None) -> MomentDETROutput:
        """Encode clips and words together, decode the queries from both."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        places = None if self.token_positions is None else self.token_positions(text)
        memory = self.encoder.encode(video, batch.video_mask, text, batch.text_mask, places)
        clips, words = memory.values.split((video.shape[1], text.shape[1]), 1)
        contents = self.decoder(self.query_positions, memory)
        return MomentDETROutput.of_layers(
            self.span_head(contents).sigmoid(),
            self.label_head(contents),
            self.saliency_head(clips).squeeze(-1),
            contrast=None if self.contrast is None else self.contrast(contents, clips, words),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """All: padding is masked everywhere."""
        return frozenset({"clips", "tokens", "windows"})

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
