"""MH-DETR: pooling encoders of clips and words, clips that read words and then clips, a decoder that reads them."""

import torch
from torch import Tensor, nn

from sadetr.losses.saliency import clamped_score_loss, margin_loss
from sadetr.models.detr.encoders import Stack
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.parts import layer_sizes
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.models.mh_detr.layers import (
    ContextLayer,
    PooledAttentionLayer,
    PoolingLayer,
    small_matrices,
)
from sadetr.models.mh_detr.settings import MHDETRSettings
from sadetr.nn.attention import FewQueryAttention
from sadetr.nn.decoders import Memory
from sadetr.nn.layers import FeatureProjection
from sadetr.nn.tokens import LearnedPositions
from sadetr.shapes import FeatureShape


class NormalisedProjection(nn.Sequential):
    """The input projection with an activation and a norm behind its last block too: (..., d_in) -> (..., d)."""

    def __init__(self, width_in: int, width: int, dropout: float, blocks: int) -> None:
        super().__init__(FeatureProjection(width_in, width, dropout, blocks), nn.ReLU(), nn.LayerNorm(width))


class MHDETR(Method):
    """MH-DETR, the Moment and Highlight Detection Transformer."""

    shown = Shown("decoder.*.context.attention")

    def __init__(self, settings: MHDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes, blocks = settings.hidden_width, layer_sizes(settings), settings.projection_blocks
        self.video_projection = NormalisedProjection(shape.video_width, width, settings.input_dropout, blocks)
        self.text_projection = NormalisedProjection(shape.text_width, width, settings.text_input_dropout, blocks)
        pooling = PoolingLayer(width, settings.feedforward_width, settings.dropout, settings.path_dropout)
        self.video_encoder = Stack.of_copies(pooling, settings.encoder_layers)
        self.text_encoder = Stack.of_copies(pooling, settings.text_encoder_layers)
        self.fusion = Stack.of_copies(ContextLayer(*sizes), settings.fusion_layers)
        self.clip_decoder = Stack.of_copies(PooledAttentionLayer(*sizes), settings.clip_decoder_layers)
        self.decoder = Stack.of_copies(PooledAttentionLayer(*sizes, FewQueryAttention), settings.decoder_layers)
        for part in (self.video_encoder, self.text_encoder, self.fusion, self.clip_decoder, self.decoder):
            small_matrices(part)
        self.video_positions = LearnedPositions(settings.clip_positions, width, "clip_positions")
        self.fused_positions = LearnedPositions(settings.clip_positions, width, "clip_positions")
        self.text_positions = LearnedPositions(settings.text_positions, width, "text_positions")
        # Equal at the start, as published: only dropout and the matching tell the queries apart.
        self.moment_queries = nn.Parameter(torch.zeros(settings.num_moment_queries, width))
        self.label_head, self.span_head, self.saliency_head = (nn.Linear(width, count) for count in (2, 2, 1))

    def forward(self, batch: Batch, step: Step | None = None) -> DetectionOutput:
        """Fuse clips with words, score the fused clips, decode the moment queries from them."""
        clips_seen = self._seen(batch.video_mask)
        fused, positions = self._fuse(batch, clips_seen)
        memory = Memory(fused, positions, clips_seen)
        content, contents = self.moment_queries.expand(len(batch), -1, -1), []
        for layer in self.decoder:
            content = layer(content, None, None, memory)
            contents.append(content)
        decoded = torch.stack(contents)
        return DetectionOutput.of_layers(
            self.span_head(decoded).sigmoid(), self.label_head(decoded), self.saliency_head(fused).squeeze(-1)
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """Padding is seen by most layers, unless it is hidden."""
        hidden = self.settings.padding == "hidden"
        return frozenset({"clips", "tokens", "windows"} if hidden else {"windows"})

    def objective(self, output: DetectionOutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss of the last layer, and both terms of the saliency loss."""
        settings = self.settings
        weight, options = settings.loss.saliency, settings.saliency
        margin = margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, options.margin)
        bce = clamped_score_loss(
            output.saliency, batch.saliency / options.levels, self._seen(batch.video_mask), options.positive_weight
        )
        return supervise(output, batch, settings).terms | {
            "saliency_margin": weight * options.hinge * margin,
            "saliency_bce": weight * options.bce * bce,
        }

    def _fuse(self, batch: Batch, clips_seen: Tensor) -> tuple[Tensor, Tensor]:
        """Clips that have read the words and then the clips, (B, L, d), and their positions, (L, d)."""
        clips = self.video_encoder(self.video_projection(batch.video), clips_seen)
        words = self.text_encoder(self.text_projection(batch.text), self._seen(batch.text_mask))
        video = Memory(clips, self.video_positions(clips.shape[1]), batch.video_mask)
        text = Memory(words, self.text_positions(words.shape[1]), batch.text_mask)
        positions = self.fused_positions(clips.shape[1])
        fused = self.fusion(clips, video.positions, text)
        return self.clip_decoder(fused, positions, clips_seen, video), positions

    def _seen(self, mask: Tensor) -> Tensor:
        """Which clips or words count: all of them, as published, or the valid ones."""
        return mask if self.settings.padding == "hidden" else torch.ones_like(mask)
