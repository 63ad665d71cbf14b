"""QD-DETR: clips attend to words, a global token reads the clips, DAB-DETR's decoder finds the moments."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.losses.detection import foreground_probability
from sadetr.losses.matching import match, take
from sadetr.losses.moment import span_losses
from sadetr.models.detection import DetectionOutput, supervise
from sadetr.models.interface import Batch, Inspection, Method, Step
from sadetr.models.qd_detr.inspection import inspect
from sadetr.models.qd_detr.settings import QDDETRSettings
from sadetr.models.saliency import saliency_terms
from sadetr.nn.attention import CrossAttentionLayer, EncoderLayer
from sadetr.nn.decoders import DABDecoder, Memory
from sadetr.nn.layers import MLP, FeatureProjection, xavier_matrices
from sadetr.nn.spans import inverse_sigmoid
from sadetr.nn.tokens import FusionToken, HighlightHead, TokenPositions
from sadetr.settings import RunSettings


@dataclass(frozen=True)
class QDDETROutput(DetectionOutput):
    """Predictions, and what the losses need beside them."""

    anchors: Tensor
    """(B, N_q, 2) ``cw`` that the decoder starts from."""
    negative_saliency: Tensor | None
    """(B, L) clip scores against the next sample's text, the first one's for the last; training only."""


@dataclass(frozen=True)
class Encoded:
    """Global token in row 0, then the clips; the negative pass has only those."""

    values: Tensor
    """(B, L+1, d)."""
    positions: Tensor
    """(B, L+1, d)."""
    negative: Tensor | None
    """(B, L+1, d)."""


class QueryAnchors(nn.Module):
    """Anchors of the queries: learned, or read from the global token and not detached (Table 11)."""

    def __init__(self, width: int, count: int, dynamic: bool) -> None:
        super().__init__()
        self.learned = None if dynamic else nn.Parameter(torch.randn(count, 2))
        self.mlp = MLP(width, width, width, 2 * count) if dynamic else None

    def forward(self, token: Tensor) -> Tensor:
        """Encoded global token (B, d) -> (B, N_q, 2) ``cw`` in (0, 1)."""
        if self.mlp is not None:
            return self.mlp(token).unflatten(-1, (-1, 2)).sigmoid()
        return self.learned.sigmoid().expand(len(token), -1, -1)


def tiled_word_mask(video_mask: Tensor, text_mask: Tensor, heads: int) -> Tensor:
    """Words that each head sees in the published network: (B, L) and (B, T) -> (B, h, L, T) bool, True where seen.

    Head j of sample b hides the padded words of b and, from the clips that are padding in sample s = (b h + j) mod B,
    also the words that are padding in s.
    """
    size = len(video_mask)
    source = torch.arange(size * heads, device=video_mask.device).view(size, heads) % size
    hidden = ~video_mask.unsqueeze(2) & ~text_mask.unsqueeze(1)
    return text_mask[:, None, None] & ~hidden[source]


class QDDETR(Method):
    """Query-Dependent DETR."""

    def __init__(self, settings: QDDETRSettings, video_width: int, text_width: int) -> None:
        """Build the network.

        Args:
            settings: architecture, switches, loss weights.
            video_width: d_v, channels of a clip including the two temporal endpoint features.
            text_width: d_t, channels of a token.
        """
        super().__init__()
        self.settings = settings
        width, dropout, blocks = settings.hidden_width, settings.dropout, settings.projection_blocks
        layer = (width, settings.num_heads, settings.feedforward_width, dropout)
        self.video_projection = FeatureProjection(video_width, width, settings.input_dropout, blocks)
        self.text_projection = FeatureProjection(text_width, width, settings.input_dropout, blocks)
        places = settings.text_positions
        self.token_positions = TokenPositions(places, width, settings.input_dropout) if places else None
        self.global_token = FusionToken(width)
        self.fusion = nn.ModuleList(CrossAttentionLayer(*layer) for _ in range(settings.fusion_layers))
        self.encoder = nn.ModuleList(EncoderLayer(*layer) for _ in range(settings.encoder_layers))
        self.decoder = DABDecoder(*layer, settings.decoder_layers, settings.gauss if settings.modulate else None)
        for part in (self.fusion, self.encoder, self.decoder):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, settings.anchors.dynamic)
        self.label_head = nn.Linear(width, 2)
        self.span_head = MLP(width, width, width, 2)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> QDDETROutput:
        """Encode and decode; the pass with the next sample's text only with a ``step``, and never decoded."""
        encoded = self._encode(batch, contrast=step is not None)
        anchors = self.anchors(encoded.values[:, 0])
        memory = Memory(encoded.values[:, 1:], encoded.positions[:, 1:], batch.video_mask)
        contents, references = self.decoder(anchors, memory)
        spans = (self.span_head(contents) + inverse_sigmoid(references)).sigmoid()
        logits = self.label_head(contents)
        return QDDETROutput(
            spans=spans[-1],
            scores=foreground_probability(logits[-1]),
            saliency=self.highlight_head(encoded.values),
            layer_spans=spans,
            layer_logits=logits,
            anchors=anchors,
            negative_saliency=None if encoded.negative is None else self.highlight_head(encoded.negative),
        )

    def objective(self, output: QDDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency and, for dynamic anchors where it is on, L_init."""
        terms = supervise(output, batch, self.settings).terms
        weight = self.settings.loss.saliency
        terms |= {name: weight * term for name, term in self.saliency_terms(output, batch).items()}
        return terms | self._initial_terms(output, batch)

    def inspect(self, batch: Batch) -> Inspection:
        """Anchors, scores, attention and Table 11's masks of every decoder layer."""
        return inspect(self, batch)

    def saliency_terms(self, output: QDDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Margin, rank contrast and negative pairs, unweighted."""
        real = torch.ones_like(batch.video_id, dtype=torch.bool)
        if self.settings.negatives == "next_video":
            real = batch.video_id != batch.video_id.roll(-1)
        return saliency_terms(output.saliency, output.negative_saliency, batch, real, self.settings.saliency)

    def _initial_terms(self, output: QDDETROutput, batch: Batch) -> dict[str, Tensor]:
        if not self.settings.anchors.init_loss:
            return {}
        costs, weights, stage = self.settings.matching, self.settings.loss, output.anchors[None]
        assigned = match(stage.float(), batch.spans, batch.spans_mask, costs.l1, costs.giou)
        l1, giou = span_losses(take(stage, assigned), batch.spans, batch.spans_mask)
        return {"init_l1": weights.l1 * l1, "init_giou": weights.giou * giou}

    def _encode(self, batch: Batch, contrast: bool) -> Encoded:
        """Fuse and encode; with ``contrast`` every video also with the next sample's text, as one batch of 2B.

        Learned token positions, where they are on, stay those of the sample's own text in both passes, as published.
        """
        text = self.text_projection(batch.text)
        places = None if self.token_positions is None else self.token_positions(text)
        video = self.video_projection(batch.video)
        tokens, positions, mask = self.global_token.prepend(video, batch.video_mask)
        shifts = (0, -1) if contrast else (0,)
        copies = len(shifts)
        texts = torch.cat([text.roll(shift, 0) for shift in shifts])
        visible = torch.cat([self._visible(batch.video_mask, batch.text_mask.roll(shift, 0)) for shift in shifts])
        places = None if places is None else places.repeat(copies, 1, 1)
        clips, clip_places = video.repeat(copies, 1, 1), positions[:, 1:].repeat(copies, 1, 1)
        for layer in self.fusion:
            clips = layer(clips, clip_places, texts, visible, places)
        values = torch.cat((tokens[:, :1].repeat(copies, 1, 1), clips), 1)
        all_positions, all_masks = positions.repeat(copies, 1, 1), mask.repeat(copies, 1)
        for layer in self.encoder:
            values = layer(values, all_positions, all_masks)
        size = len(batch)
        return Encoded(values[:size], positions, values[size:] if contrast else None)

    def _visible(self, video_mask: Tensor, text_mask: Tensor) -> Tensor:
        if self.settings.word_mask == "own":
            return text_mask
        return tiled_word_mask(video_mask, text_mask, self.settings.num_heads)


def build(settings: RunSettings) -> QDDETR:
    """Construct QD-DETR for a run; two channels are the temporal endpoint features."""
    dataset = settings.dataset
    return QDDETR(settings.model, dataset.video_width + 2, dataset.text_stream.width)
