"""TR-DETR: QD-DETR without a global token, with clips refined by words, and two tasks that help each other."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sadetr.losses.alignment import clip_text_loss, video_text_contrast
from sadetr.losses.detection import foreground_probability
from sadetr.models.detr.encoders import Stack
from sadetr.models.detr.objective import DetectionOutput, saliency_terms, supervise
from sadetr.models.detr.parts import (
    QueryAnchors,
    counted_rows,
    detection_heads,
    layer_sizes,
    projections,
    token_positions,
)
from sadetr.models.detr.texts import visible_words
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.models.tr_detr.cooperation import MomentSummary, SummedHighlightHead, highlighted, moment_clips
from sadetr.models.tr_detr.settings import TRDETRSettings
from sadetr.nn.attention import CrossAttentionLayer, EncoderLayer
from sadetr.nn.context_query import ContextQueryAttention, PooledConcatenation
from sadetr.nn.decoders import AnchorEncoding, DABDecoder, Memory, dab_layers, reference_offset
from sadetr.nn.layers import masked_mean, xavier_matrices
from sadetr.nn.positions import clip_positions
from sadetr.nn.spans import moved
from sadetr.shapes import FeatureShape


@dataclass(frozen=True)
class TRDETROutput(DetectionOutput):
    """Predictions, and what the alignment losses need beside them."""

    clips: Tensor
    """(B, L, d), projected."""
    words: Tensor
    """(B, T, d), projected."""
    video_embedding: Tensor
    """(B, d), mean of the clips."""
    text_embedding: Tensor
    """(B, d), mean of the words."""


class TRDETR(Method):
    """Task-Reciprocal DETR."""

    shown = Shown("decoder.layers.*.cross_attention", anchors=3)

    def __init__(self, settings: TRDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.context_query = ContextQueryAttention(width, settings.fuser_dropout)
        self.sentence = PooledConcatenation(width)
        self.fusion = Stack.of_copies(CrossAttentionLayer(*sizes), settings.fusion_layers)
        self.encoder = Stack.of_copies(EncoderLayer(*sizes), settings.encoder_layers)
        layers = dab_layers(settings.decoder_layers, *sizes)
        self.decoder = DABDecoder(layers, AnchorEncoding(width), reference_offset(width), width)
        for part in (self.fusion, self.encoder, self.decoder):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, dynamic=False)
        self.label_head, self.span_head = detection_heads(width)
        self.highlight_head = SummedHighlightHead(width)
        self.moment = MomentSummary(width)

    def forward(self, batch: Batch, step: Step | None = None) -> TRDETROutput:
        """Fuse, encode twice with the same layers, decode, and score the clips by the best moment."""
        clips, words = self.video_projection(batch.video), self.text_projection(batch.text)
        mask, counted = batch.video_mask, counted_rows(batch.video_mask, self.settings.padding)
        positions = clip_positions(mask, clips.shape[-1]).to(clips.dtype)
        fused = self._fuse(clips, positions, words, batch)
        encoded = self.encoder(fused, positions, mask)
        weighed = highlighted(fused, self.highlight_head(encoded), counted)
        encoded = self.encoder(encoded + weighed, positions, mask)
        anchors = self.anchors(encoded[:, 0])
        content = encoded.new_zeros(*anchors.shape[:2], encoded.shape[-1])
        decoded = self.decoder(content, anchors, Memory(encoded, positions, mask))
        spans, logits = moved(decoded.starts, self.span_head(decoded.contents)), self.label_head(decoded.contents)
        gain = 1 + self._agreement(clips, spans[-1], logits[-1], counted.sum(1))
        return TRDETROutput.of_layers(
            spans,
            logits,
            self.highlight_head(encoded, gain),
            clips=clips,
            words=words,
            video_embedding=masked_mean(clips, counted),
            text_embedding=masked_mean(words, counted_rows(batch.text_mask, self.settings.padding)),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """Padding counts in softmax, means and lengths, unless it is masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"windows"})

    def objective(self, output: TRDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency without negative pairs, video-text contrast and clip-text loss."""
        weights = self.settings.loss
        saliency = saliency_terms(output.saliency, None, batch, None, self.settings.saliency)
        terms = supervise(output, batch, self.settings).terms
        terms |= {name: weights.saliency * term for name, term in saliency.items()}
        alignment = alignment_terms(output, batch, self.settings)
        return terms | {"vtc": weights.vtc * alignment["vtc"], "ctc": weights.ctc * alignment["ctc"]}

    def _fuse(self, clips: Tensor, positions: Tensor, words: Tensor, batch: Batch) -> Tensor:
        """Let clips read the words, by context-query attention and then by cross attention: (B, L, d)."""
        places = None if self.token_positions is None else self.token_positions(words)
        refined = self.context_query(clips, words, batch.video_mask, batch.text_mask)
        refined = self.sentence(refined, words, batch.text_mask).relu()
        visible = visible_words(batch.video_mask, batch.text_mask, self.settings.num_heads, self.settings.word_mask)
        return self.fusion(refined, positions, words, visible, places)

    def _agreement(self, clips: Tensor, spans: Tensor, logits: Tensor, lengths: Tensor) -> Tensor:
        """Multiply every clip with the summary of the best moment: (B, L, d), (B, N, 2), (B, N, 2), (B,) -> (B, L).

        No gradient reaches the moment by this: its ends are whole clips.
        """
        best = foreground_probability(logits).argmax(1)
        span = spans.detach()[torch.arange(len(spans), device=spans.device), best]
        first, stop = moment_clips(span, lengths, self.settings.outside == "wrapped")
        return torch.einsum("bld,bd->bl", clips, self.moment(clips, first, stop, lengths))


def alignment_terms(output: TRDETROutput, batch: Batch, settings: TRDETRSettings) -> dict[str, Tensor]:
    """Contrast videos with the texts of the batch, and clips with their own text; unweighted."""
    mask, temperature = batch.video_mask, settings.temperature
    counted = counted_rows(mask, settings.padding)
    return {
        "vtc": video_text_contrast(output.video_embedding, output.text_embedding, temperature),
        "ctc": clip_text_loss(output.clips, output.words, mask, batch.text_mask, batch.relevant, temperature, counted),
    }
