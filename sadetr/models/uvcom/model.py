"""UVCOM: clips and words read each other, meet again by a few centres, and one token stands for the video."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from sadetr.models.detr.objective import DetectionOutput, saliency_terms, supervise
from sadetr.models.detr.parts import (
    QueryAnchors,
    counted_rows,
    detection_heads,
    layer_sizes,
    projections,
    token_positions,
)
from sadetr.models.detr.texts import OtherTexts, least_similar_texts, next_texts, next_video_texts
from sadetr.models.interface import Batch, Length, Method, Shown, Step
from sadetr.models.uvcom.alignment import Aligned, AlignmentHeads, alignment_terms, mean_similarity
from sadetr.models.uvcom.integration import Inputs, Integrated, Integration
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.decoders import AnchorEncoding, DABDecoder, Memory, dab_layers, reference_offset
from sadetr.nn.layers import xavier_matrices
from sadetr.nn.positions import clip_positions
from sadetr.nn.slots import SlotAttention
from sadetr.nn.spans import moved
from sadetr.nn.tokens import HighlightHead
from sadetr.shapes import FeatureShape


@dataclass(frozen=True)
class Contrast:
    """What the losses need beside predictions."""

    aligned: Aligned
    others: OtherTexts
    """Texts that the clips are scored low against."""
    negative_saliency: Tensor
    """(B, L) clip scores against these texts."""


@dataclass(frozen=True)
class UVCOMOutput(DetectionOutput):
    """Predictions, and in training what else the losses need."""

    contrast: Contrast | None


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
        self.alignment = AlignmentHeads(width, settings.alignment_width)
        for part in (self.integration, self.slot_attention, self.decoder, self.alignment):
            xavier_matrices(part)
        self.anchors = QueryAnchors(width, settings.num_moment_queries, dynamic=False)
        self.label_head, self.span_head = detection_heads(width)
        self.highlight_head = HighlightHead(width)

    def forward(self, batch: Batch, step: Step | None = None) -> UVCOMOutput:
        """Integrate clips with their text, and decode them; other texts are met only with a ``step``."""
        video, text = self._inputs(batch)
        own = self.integration(video, text)
        anchors = self.anchors(own.encoded[:, 0])
        memory = Memory(own.encoded[:, 1:], video.positions, video.mask)
        # All slots would start from the sentence and stay equal: one of them is every one.
        slot = self.slot_attention(own.sentence.unsqueeze(1), memory.values, video.mask)
        decoded = self.decoder(slot + self.contents, anchors, memory)
        return UVCOMOutput.of_layers(
            moved(decoded.ends, self.span_head(decoded.contents)),
            self.label_head(decoded.contents),
            self.highlight_head(own.encoded),
            contrast=None if step is None else self._contrast(batch, step, video, text, own),
        )

    def phase(self, step: Step) -> bool:
        """Whether other texts are the least similar ones."""
        return step.epoch >= self.settings.least_similar_from

    @property
    def extendable(self) -> frozenset[Length]:
        """Padding counts in means and softmax, unless it is masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"windows"})

    def objective(self, output: UVCOMOutput, batch: Batch) -> dict[str, Tensor]:
        """Set loss, saliency and alignment."""
        settings, contrast = self.settings, output.contrast
        real, options = contrast.others.real, settings.saliency
        saliency = saliency_terms(output.saliency, contrast.negative_saliency, batch, real, options)
        alignment = alignment_terms(contrast.aligned, batch, settings)
        terms = supervise(output, batch, settings).terms
        terms |= {name: settings.loss.saliency * term for name, term in saliency.items()}
        return terms | {name: settings.loss.alignment * term for name, term in alignment.items()}

    def _inputs(self, batch: Batch) -> tuple[Inputs, Inputs]:
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        positions = clip_positions(batch.video_mask, video.shape[-1]).to(video.dtype)
        places = None if self.token_positions is None else self.token_positions(text)
        return Inputs(video, batch.video_mask, positions), Inputs(text, batch.text_mask, places)

    def _contrast(self, batch: Batch, step: Step, video: Inputs, text: Inputs, own: Integrated) -> Contrast:
        """Align, and integrate the clips once more with other texts, which is never decoded."""
        aligned = self.alignment(own)
        others = self._others(batch, step, aligned)
        # Learned positions, where they are on, stay those of the sample's own words, as in QD-DETR.
        other = Inputs(others.take(text.values), others.take(text.mask), text.positions)
        return Contrast(aligned, others, self.highlight_head(self.integration(video, other).encoded))

    def _others(self, batch: Batch, step: Step, aligned: Aligned) -> OtherTexts:
        """The next sample's text, and later in training the least similar one."""
        settings = self.settings
        any_video = settings.negatives == "any"
        if not self.phase(step):
            return next_texts(batch) if any_video else next_video_texts(batch)
        similarity = mean_similarity(aligned, counted_rows(batch.video_mask, settings.padding))
        other_video = batch.video_id.unsqueeze(1) != batch.video_id
        return least_similar_texts(similarity, torch.ones_like(other_video) if any_video else other_video)
