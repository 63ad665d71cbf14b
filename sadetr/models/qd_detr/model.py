"""QD-DETR: clips attend to words, a global token reads the clips, DAB-DETR's decoder finds the moments."""

from dataclasses import dataclass

from torch import Tensor

from sadetr.models.detr.encoders import Stack, encode_pairs
from sadetr.models.detr.objective import DetectionOutput, initial_terms, saliency_terms, supervise
from sadetr.models.detr.parts import QueryAnchors, detection_heads, layer_sizes, projections, token_positions
from sadetr.models.detr.texts import TextPairs, next_texts, next_video_texts
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.models.qd_detr.settings import QDDETRSettings
from sadetr.nn.attention import CrossAttentionLayer, EncoderLayer
from sadetr.nn.decoders import AnchorEncoding, DABDecoder, Memory, dab_layers, reference_offset
from sadetr.nn.layers import xavier_matrices
from sadetr.nn.spans import moved
from sadetr.nn.tokens import FusionToken, HighlightHead
from sadetr.shapes import FeatureShape

OTHERS = {"next": next_texts, "next_video": next_video_texts}


@dataclass(frozen=True)
class QDDETROutput(DetectionOutput):
    """Predictions, and what the losses need beside them."""

    anchors: Tensor
    """(B, N_q, 2) ``cw`` that the decoder starts from."""
    negative_saliency: Tensor | None
    """(B, L) clip scores against the next sample's text, the first one's for the last; training only."""


class QDDETR(Method):
    """Query-Dependent DETR."""

    shown = Shown("decoder.layers.*.cross_attention", anchors=3)

    def __init__(self, settings: QDDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.global_token = FusionToken(width)
        self.fusion = Stack.of_copies(CrossAttentionLayer(*sizes), settings.fusion_layers)
        self.encoder = Stack.of_copies(EncoderLayer(*sizes), settings.encoder_layers)
        layers = dab_layers(settings.decoder_layers, *sizes, gauss=settings.gauss if settings.modulate else None)
        self.decoder = DABDecoder(layers, AnchorEncoding(width), reference_offset(width), width)
        for part in (self.fusion, self.encoder, self.decoder):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, settings.anchors.dynamic)
        self.label_head, self.span_head = detection_heads(width)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> QDDETROutput:
        """Encode and decode; the pass with the next sample's text only with a ``step``, and never decoded."""
        pairs = TextPairs(None if step is None else OTHERS[self.settings.negatives](batch))
        encoded = encode_pairs(self, batch, pairs)
        own, other = pairs.split(encoded.values)
        anchors = self.anchors(own[:, 0])
        content = own.new_zeros(*anchors.shape[:2], own.shape[-1])
        decoded = self.decoder(content, anchors, Memory(own[:, 1:], encoded.positions[:, 1:], batch.video_mask))
        return QDDETROutput.of_layers(
            moved(decoded.starts, self.span_head(decoded.contents)),
            self.label_head(decoded.contents),
            self.highlight_head(own),
            anchors=anchors,
            negative_saliency=None if other is None else self.highlight_head(other),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """All: padding is masked everywhere, and the published mask is wrong in the same places whatever is behind."""
        return frozenset({"clips", "tokens", "windows"})

    def objective(self, output: QDDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency and, for dynamic anchors where it is on, L_init."""
        settings, real = self.settings, OTHERS[self.settings.negatives](batch).real
        saliency = saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency)
        terms = supervise(output, batch, settings).terms
        terms |= {name: settings.loss.saliency * term for name, term in saliency.items()}
        return terms | (initial_terms(output.anchors, batch, settings) if settings.anchors.init_loss else {})
