"""BAM-DETR: QD-DETR's encoder, moment queries of three parts, boundaries found in features of their own."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.models.bam_detr.boundaries import BoundaryFeatures
from sadetr.models.bam_detr.decoder import BoundaryDecoder, BoundaryMemory, References, reference_spans
from sadetr.models.bam_detr.objective import boundary_loss, boundary_targets, layer_losses, match_ends
from sadetr.models.bam_detr.settings import BAMDETRSettings
from sadetr.models.detr.encoders import Stack, encode_pairs
from sadetr.models.detr.objective import DetectionOutput, saliency_terms
from sadetr.models.detr.parts import counted_rows, layer_sizes, projections, token_positions
from sadetr.models.detr.texts import TextPairs, next_texts, next_video_texts
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.nn.attention import CrossAttentionLayer, EncoderLayer
from sadetr.nn.decoders import Decoded, Memory
from sadetr.nn.layers import MLP, copies, xavier_matrices
from sadetr.nn.tokens import FusionToken, HighlightHead
from sadetr.shapes import FeatureShape

OTHERS = {"next": next_texts, "next_video": next_video_texts}


@dataclass(frozen=True)
class BAMDETROutput(DetectionOutput):
    """Predictions, and what the losses need beside them."""

    layer_references: Tensor
    """(R, B, N_q, 3) point and distances to start and end."""
    layer_qualities: Tensor
    """(R, B, N_q) in (0, 1)."""
    boundaries: Tensor
    """(B, L, 2d) boundary features, of starts and of ends."""
    negative_saliency: Tensor | None
    """(B, L) clip scores against the next sample's text, the first one's for the last; training only."""

    @property
    def layer_scores(self) -> Tensor:
        """Quality after each layer, (R, B, N_q)."""
        return self.layer_qualities


class BAMDETR(Method):
    """Boundary-Aligned Moment Detection Transformer."""

    shown = Shown("decoder.layers.*.point.cross_attention", anchors=3)

    def __init__(self, settings: BAMDETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes, count = settings.hidden_width, layer_sizes(settings), settings.num_moment_queries
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.global_token = FusionToken(width)
        self.fusion = Stack.of_copies(CrossAttentionLayer(*sizes), settings.fusion_layers)
        self.encoder = Stack.of_copies(EncoderLayer(*sizes), settings.encoder_layers)
        self.left_features, self.right_features = BoundaryFeatures(width), BoundaryFeatures(width)
        for part in (self.fusion, self.encoder, self.left_features, self.right_features):
            xavier_matrices(part)
        self.decoder = BoundaryDecoder(settings.decoder_layers, *sizes)
        self.contents = nn.Parameter(torch.randn(count, 3 * width))
        self.references = References(count)
        self.label_heads = nn.ModuleList(copies(nn.Linear(3 * width, 2), settings.decoder_layers))
        self.quality_head = MLP(3 * width, width, width, 1)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> BAMDETROutput:
        """Encode and decode; the pass with the next sample's text only with a ``step``, and never decoded."""
        pairs = TextPairs(None if step is None else OTHERS[self.settings.negatives](batch))
        encoded = encode_pairs(self, batch, pairs)
        own, other = pairs.split(encoded.values)
        fused, _ = pairs.split(encoded.clips)
        boundaries = self._boundaries(fused, batch.video_mask)
        decoded = self._decode(Memory(own[:, 1:], encoded.positions[:, 1:], batch.video_mask), *boundaries)
        spans, qualities = reference_spans(decoded.ends), self._qualities(decoded.contents)
        return BAMDETROutput(
            spans[-1],
            qualities[-1],
            self.highlight_head(own),
            layer_spans=spans,
            layer_logits=self._logits(decoded.contents),
            layer_references=decoded.ends,
            layer_qualities=qualities,
            boundaries=torch.cat(boundaries, -1),
            negative_saliency=None if other is None else self.highlight_head(other),
        )

    @property
    def extendable(self) -> frozenset[Length]:
        """Padded clips share in the weights of clips, unless they are masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"tokens", "windows"})

    def objective(self, output: BAMDETROutput, batch: Batch) -> dict[str, Tensor]:
        """Losses of spans and qualities, of boundaries and of saliency."""
        weights = self.settings.loss
        terms, _ = supervise(output, batch, self.settings, slice(None) if weights.aux else slice(-1, None))
        terms["boundary"] = boundary_term(output, batch, self.settings)
        real = OTHERS[self.settings.negatives](batch).real
        saliency = saliency_terms(output.saliency, output.negative_saliency, batch, real, self.settings.saliency)
        weighted = {name: getattr(weights, name) * term for name, term in terms.items() if getattr(weights, name)}
        return weighted | {name: weights.saliency * term for name, term in saliency.items()}

    def _boundaries(self, clips: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """Boundary features of fused clips: (B, L, d) -> (B, L, d) of starts and of ends."""
        seen = mask if self.settings.padding == "masked" else None
        return self.left_features(clips, seen), self.right_features(clips, seen)

    def _decode(self, memory: Memory, left: Tensor, right: Tensor) -> Decoded:
        """Refine the learned queries by encoded clips and by the (B, L, d) features of starts and of ends."""
        sizes = (memory.mask.sum(1), extent(memory.mask, self.settings))
        around = BoundaryMemory(
            *(torch.cat((memory.values, features), -1) for features in (left, right)),
            *(size.to(left.dtype).view(-1, 1, 1, 1) for size in sizes),
        )
        queries = (each.expand(len(left), -1, -1) for each in (self.contents, self.references()))
        return self.decoder(*queries, memory, around)

    def _logits(self, contents: Tensor) -> Tensor:
        """Class logits by a head per layer: (R, B, N, 3d) -> (R, B, N, 2)."""
        return torch.stack([head(each) for head, each in zip(self.label_heads, contents, strict=True)])

    def _qualities(self, contents: Tensor) -> Tensor:
        """Quality by the content of the point and what both ends differ from it: (R, B, N, 3d) -> (R, B, N)."""
        point, left, right = contents.chunk(3, -1)
        return self.quality_head(torch.cat((point, left - point, right - point), -1)).squeeze(-1).sigmoid()


def extent(mask: Tensor, settings: BAMDETRSettings) -> Tensor:
    """Clips that a video is taken for: (B, L) bool -> (B,)."""
    return counted_rows(mask, settings.padding).sum(1)


def supervise(
    output: BAMDETROutput, batch: Batch, settings: BAMDETRSettings, layers: slice
) -> tuple[dict[str, Tensor], Tensor]:
    """Unweighted losses of some decoder layers, and their (S, B, G) matches; every layer is matched on its own."""
    spans, logits, qualities = output.layer_spans[layers], output.layer_logits[layers], output.layer_qualities[layers]
    assigned = match_ends(spans, logits, batch.spans, batch.spans_mask, settings.matching)
    background = settings.loss.background
    return layer_losses(spans, logits, qualities, batch.spans, batch.spans_mask, assigned, background), assigned


def boundary_term(output: BAMDETROutput, batch: Batch, settings: BAMDETRSettings) -> Tensor:
    """The unweighted loss on boundary features."""
    mask = batch.video_mask
    targets = boundary_targets(batch.spans, batch.spans_mask, extent(mask, settings).unsqueeze(1), mask.shape[1])
    return boundary_loss(output.boundaries, targets, mask, counted=settings.padding == "counted")
