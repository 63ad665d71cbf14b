"""UVCOM: clips and words read each other, meet again by a few centres, and one token stands for the video."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.models.detr.objective import DetectionOutput, saliency_terms, supervise
from sadetr.models.detr.parts import QueryAnchors, detection_heads, layer_sizes, projections, token_positions
from sadetr.models.detr.texts import OtherTexts, least_similar_texts, next_texts, next_video_texts
from sadetr.models.interface import Batch, Method, Shown, Step
from sadetr.models.uvcom.alignment import alignment_terms
from sadetr.models.uvcom.integration import Inputs, Integration
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.decoders import AnchorEncoding, DABDecoder, Memory, dab_layers, reference_offset
from sadetr.nn.layers import MLP, masked_mean, xavier_matrices
from sadetr.nn.positions import clip_positions
from sadetr.nn.slots import SlotAttention
from sadetr.nn.spans import moved
from sadetr.nn.tokens import HighlightHead
from sadetr.shapes import FeatureShape


@dataclass(frozen=True)
class UVCOMOutput(DetectionOutput):
    """Predictions, and what the losses need beside them."""

    others: OtherTexts | None
    """Texts that the clips are scored low against; training only."""
    negative_saliency: Tensor | None
    """(B, L) clip scores against these texts; training only."""
    video_similarity: Tensor
    """(B, B) cosines of videos (rows) and texts."""
    clip_similarity: Tensor
    """(B, L) cosines of clips and their own text."""


class UVCOM(Method):
    """Unified Video COMprehension."""

    shown = Shown("decoder.layers.*.cross_attention", anchors=3)

    def __init__(self, settings: UVCOMSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_projection, self.text_projection = projections(settings, shape)
        self.token_positions = token_positions(settings)
        self.integration = Integration(settings)
        slots = (settings.slot_width, settings.slot_width)
        padding = "excluded" if settings.padding == "masked" else "shared"
        self.slot_attention = SlotAttention(width, slots, settings.slot_iterations, padding)
        self.contents = nn.Parameter(torch.empty(settings.num_moment_queries, width))
        nn.init.xavier_uniform_(self.contents)
        layers = dab_layers(settings.decoder_layers, *sizes)
        self.decoder = DABDecoder(layers, AnchorEncoding(width), reference_offset(width), width)
        inner = settings.alignment_width
        self.video_alignment, self.text_alignment = (MLP(width, inner, inner, width) for _ in range(2))
        for part in (self.integration, self.slot_attention, self.decoder, self.video_alignment, self.text_alignment):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, dynamic=False)
        self.label_head, self.span_head = detection_heads(width)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> UVCOMOutput:
        """Integrate and decode; integrate once more with other texts, only with a ``step``, and never decode that."""
        video, text = self._inputs(batch)
        own = self.integration(video, text)
        anchors = self.anchors(own.encoded[:, 0])
        memory = Memory(own.encoded[:, 1:], video.positions, video.mask)
        # All slots would start from the sentence and stay equal: one of them is every one.
        slot = self.slot_attention(own.sentence.unsqueeze(1), memory.values, video.mask)
        decoded = self.decoder(slot + self.contents, anchors, memory)
        aligned = torch.cat((own.encoded[:, :1], own.refined), 1)
        aligned = functional.normalize(self.video_alignment(aligned), dim=-1)
        texts = functional.normalize(self.text_alignment(own.sentence), dim=-1)
        others = None if step is None else self._others(batch, step, aligned, texts)
        negative = None
        if others is not None:
            other = Inputs(others.take(text.values), others.take(text.mask), text.positions)
            negative = self.highlight_head(self.integration(video, other).encoded)
        return UVCOMOutput.of_layers(
            moved(decoded.ends, self.span_head(decoded.contents)),
            self.label_head(decoded.contents),
            self.highlight_head(own.encoded),
            others=others,
            negative_saliency=negative,
            video_similarity=aligned[:, 0] @ texts.T,
            clip_similarity=torch.einsum("bld,bd->bl", aligned[:, 1:], texts),
        )

    def objective(self, output: UVCOMOutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency and alignment."""
        settings, real = self.settings, output.others.real
        saliency = saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency)
        alignment = alignment_terms(output.video_similarity, output.clip_similarity, batch, settings)
        terms = supervise(output, batch, settings).terms
        terms |= {name: settings.loss.saliency * term for name, term in saliency.items()}
        return terms | {name: settings.loss.alignment * term for name, term in alignment.items()}

    def _inputs(self, batch: Batch) -> tuple[Inputs, Inputs]:
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        positions = clip_positions(batch.video_mask, video.shape[-1]).to(video.dtype)
        places = None if self.token_positions is None else self.token_positions(text)
        return Inputs(video, batch.video_mask, positions), Inputs(text, batch.text_mask, places)

    @torch.no_grad()
    def _others(self, batch: Batch, step: Step, aligned: Tensor, texts: Tensor) -> OtherTexts:
        """The next sample's text, later on the one least similar to video and mean clip."""
        if step.epoch < self.settings.least_similar_from:
            return next_texts(batch)
        clips = aligned[:, 1:].mean(1)
        similarity = ((aligned[:, 0] @ texts.T).softmax(1) + (clips @ texts.T).softmax(1)) / 2
        return least_similar_texts(similarity)
