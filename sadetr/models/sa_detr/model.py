"""SA-DETR: the parts of section 3 put together."""

from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from sadetr.models.detr.parts import QueryAnchors
from sadetr.models.detr.texts import TextPairs, next_video_texts
from sadetr.models.interface import Batch, Length, LossTerms, Method, Shown, Step
from sadetr.models.sa_detr.aligner import ModalAligner
from sadetr.models.sa_detr.enhance import GlobalBlock
from sadetr.models.sa_detr.initializer import NoiseGroups, drawn_noise, noise_groups, self_attention_bias
from sadetr.models.sa_detr.objective import objective
from sadetr.models.sa_detr.output import SADETROutput
from sadetr.models.sa_detr.refiner import SpanAwareRefiner, VideoContext
from sadetr.models.sa_detr.settings import SADETRSettings
from sadetr.nn.convolutions import LocalBlock
from sadetr.nn.layers import InputProjection, masked_mean
from sadetr.nn.tokens import FusionToken, HighlightHead
from sadetr.shapes import FeatureShape


@dataclass(frozen=True)
class Encoded:
    """The encoder's results; row 0 of ``fused`` and ``enhanced`` is the fusion token."""

    video: Tensor
    text: Tensor
    fused: Tensor
    fused_text: Tensor
    enhanced: Tensor
    positions: Tensor
    negative: Tensor | None


class SADETR(Method):
    """Span Aware Detection Transformer."""

    shown = Shown("refiner.layers.*.cross_attention", weights="attention_dropout", anchors=2)

    def __init__(self, settings: SADETRSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        width = settings.hidden_width
        self.video_projection = InputProjection(shape.video_width, width, settings.input_dropout)
        self.text_projection = InputProjection(shape.text_width, width, settings.input_dropout)
        self.fusion_token = FusionToken(width)
        self.aligner = ModalAligner(settings)
        self.global_block = GlobalBlock(settings)
        self.highlight_head = HighlightHead(width)
        self.local_block = LocalBlock(width)
        qi, count = settings.qi, settings.num_moment_queries
        self.direct_anchors = QueryAnchors(width, count, qi.dynamic, grid=qi.init_bias == "grid")
        self.direct_content = nn.Parameter(torch.zeros(count, width))
        self.noise_content = nn.Parameter(torch.ones(width)) if settings.dn.enabled else None
        self.refiner = SpanAwareRefiner(settings)

    def forward(self, batch: Batch, step: Step | None = None) -> SADETROutput:
        """Encode, initialise the queries, refine them; noise groups and the negative pass only with a ``step``."""
        contrasted = step is not None and len(batch) > 1
        encoded = self._encode(batch, TextPairs(next_video_texts(batch) if contrasted else None))
        sentence = self.aligner.pooling(encoded.fused_text, batch.text_mask)
        token_mask = torch.cat((batch.video_mask.new_ones(len(batch), 1), batch.video_mask), dim=1)
        after_global = self.settings.local.input == "global"
        local = self.local_block(encoded.enhanced if after_global else encoded.fused, token_mask)
        context = VideoContext(local[:, 1:], batch.video_mask, encoded.positions[:, 1:], sentence)
        anchors = self.direct_anchors(local[:, 0])
        noise = None
        if step is not None and self.noise_content is not None:
            drawn = self.prepared(batch, step).drawn if step.drawn is None else step.drawn
            noise = noise_groups(batch.spans, batch.spans_mask, self.settings.dn, drawn)
        # Anchors without a loss of their own learn from the refiner alone (D25).
        apart = self.settings.qi.detach and self.settings.qi.init_loss
        spans, qualities = self._refine(anchors.detach() if apart else anchors, noise, context)
        first = spans.shape[2] - anchors.shape[1]
        return SADETROutput(
            spans=spans[-1, :, first:],
            scores=qualities[-1, :, first:],
            saliency=self.highlight_head(encoded.enhanced),
            anchors=anchors,
            layer_spans=spans[:, :, first:],
            layer_qualities=qualities[:, :, first:],
            noise=noise,
            noise_spans=spans[:, :, :first],
            noise_qualities=qualities[:, :, :first],
            negative_saliency=None if encoded.negative is None else self.highlight_head(encoded.negative),
            **self._alignment_embeddings(batch, encoded, sentence),
        )

    def prepared(self, batch: Batch, step: Step) -> Step:
        """Draw the noise, where it is on. Without this, ``forward`` draws it itself."""
        if self.noise_content is None:
            return step
        noise = drawn_noise(*batch.spans_mask.shape, self.settings.dn, step)
        return replace(step, drawn=noise.to(batch.spans.device, non_blocking=True))

    @property
    def extendable(self) -> frozenset[Length]:
        """As many noise queries are drawn as there are windows."""
        return frozenset({"clips", "tokens"} if self.settings.dn.enabled else {"clips", "tokens", "windows"})

    def objective(self, output: SADETROutput, batch: Batch) -> LossTerms:
        """Weighted loss terms of eq 10."""
        return objective(output, batch, self.settings)

    def _encode(self, batch: Batch, pairs: TextPairs) -> Encoded:
        """Project, fuse and enhance every video with each of its texts."""
        video, text = self.video_projection(batch.video), self.text_projection(batch.text)
        clips, positions, mask = self.fusion_token.prepend(video, batch.video_mask)
        # The video's side alone is contrasted: fused apart, the text needs one copy.
        apart = self.settings.fusion.mode == "independent"
        fused_text = self.aligner.fuse_text(text, clips, mask) if apart else None
        texts, text_masks = pairs.texts(text), pairs.texts(batch.text_mask)
        clips, all_positions, all_masks = (pairs.videos(values) for values in (clips, positions, mask))
        if apart:
            fused = self.aligner.fuse_video(clips, all_positions, texts, text_masks)
        else:
            fused, fused_text = self.aligner.interleave(clips, all_positions, all_masks, texts, text_masks)
        enhanced, negative = pairs.split(self.global_block(fused, all_positions, all_masks))
        size = len(batch)
        return Encoded(video, text, fused[:size], fused_text[:size], enhanced, positions, negative)

    def _refine(self, anchors: Tensor, noise: NoiseGroups | None, context: VideoContext) -> tuple[Tensor, Tensor]:
        """Refine noise and direct queries together, noise first."""
        batch, direct, _ = anchors.shape
        content = self.direct_content.expand(batch, -1, -1)
        if noise is not None:
            count = noise.anchors.shape[1]
            content = torch.cat((self.noise_content.expand(batch, count, -1), content), dim=1)
            anchors = torch.cat((noise.anchors, anchors), dim=1)
        bias = self_attention_bias(noise, direct, batch, anchors.device)
        return self.refiner(content, anchors, bias, context)

    def _alignment_embeddings(self, batch: Batch, encoded: Encoded, sentence: Tensor) -> dict[str, Tensor]:
        """Features of L_vtc and L_ctm at the stage that each is set to (Table 7, D16)."""
        fa = self.settings.fa
        vtc_video, vtc_text = (
            (encoded.video, encoded.text) if fa.vtc_stage == "before" else (encoded.fused[:, 1:], encoded.fused_text)
        )
        if fa.ctm_stage == "after":
            clips = encoded.fused[:, 1:]
        else:
            clips, sentence = encoded.video, self.aligner.pooling(encoded.text, batch.text_mask)
        return {
            "video_embedding": masked_mean(vtc_video, batch.video_mask),
            "text_embedding": masked_mean(vtc_text, batch.text_mask),
            "clip_embeddings": clips,
            "sentence_embedding": sentence,
        }
