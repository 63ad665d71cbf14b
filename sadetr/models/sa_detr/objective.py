"""SA-DETR's objective (eq 10): lambda_A L_A + lambda_S L_S + lambda_M L_M + lambda_Q L_Q, term by term."""

from typing import TYPE_CHECKING

import torch
from torch import Tensor

from sadetr.losses.alignment import clip_text_logits, inter_loss, intra_loss, local_loss, video_text_contrast
from sadetr.losses.matching import match, take
from sadetr.losses.moment import span_losses
from sadetr.losses.quality import quality_loss, quality_margin_loss
from sadetr.models.interface import Batch
from sadetr.models.sa_detr.settings import SADETRSettings
from sadetr.models.saliency import saliency_terms

if TYPE_CHECKING:
    from sadetr.models.sa_detr.model import SADETROutput


def objective(output: "SADETROutput", batch: Batch, settings: SADETRSettings) -> dict[str, Tensor]:
    """Terms of eq 10, each multiplied by its weights; a term that is switched off is absent.

    Direct anchors (if they have a loss) and every supervised refiner layer are matched separately.
    """
    weights = settings.loss
    layers = slice(None) if weights.aux else slice(-1, None)
    stages = torch.cat((output.anchors[None], output.layer_spans[layers]))
    assigned = match(stages.float(), batch.spans, batch.spans_mask, weights.l1, weights.giou)
    # Called only where the weight is not 0: lambda_A is, on all benchmarks but QVHighlights.
    groups = (
        (weights.align, lambda: alignment_terms(output, batch, settings)),
        (weights.saliency, lambda: _saliency_terms(output, batch, settings)),
        (weights.moment, lambda: moment_terms(output, batch, settings, stages, assigned, layers)),
        (weights.quality, lambda: quality_terms(output, batch, settings, assigned[1:], layers)),
    )
    return {name: weight * term for weight, terms in groups if weight for name, term in terms().items()}


def alignment_terms(output: "SADETROutput", batch: Batch, settings: SADETRSettings) -> dict[str, Tensor]:
    """L_A = L_vtc + L_local + L_intra + L_inter, as far as FA is on."""
    fa, terms = settings.fa, {}
    if fa.vtc:
        terms["vtc"] = video_text_contrast(output.video_embedding, output.text_embedding, fa.temperature)
    if fa.ctm:
        logits = clip_text_logits(output.clip_embeddings, output.sentence_embedding, fa.temperature)
        clip = batch.aligned_clip
        terms["ctm_local"] = local_loss(logits, batch.relevant, batch.video_mask)
        terms["ctm_intra"] = intra_loss(logits, batch.saliency, batch.video_mask, clip)
        terms["ctm_inter"] = inter_loss(output.clip_embeddings, output.sentence_embedding, clip, fa.temperature)
    return terms


def _saliency_terms(output: "SADETROutput", batch: Batch, settings: SADETRSettings) -> dict[str, Tensor]:
    """L_S; a next sample of the same video is no negative (D22)."""
    real = batch.video_id != batch.video_id.roll(-1)
    return saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency)


def moment_terms(
    output: "SADETROutput", batch: Batch, settings: SADETRSettings, stages: Tensor, assigned: Tensor, layers: slice
) -> dict[str, Tensor]:
    """L_M = L_direct + L_init + L_noise (section 3.5; noise positives keep their own ground truth)."""
    paired = take(stages, assigned)
    parts = {"direct": span_losses(paired[1:], batch.spans, batch.spans_mask)}
    if settings.qi.init_loss:
        parts["init"] = span_losses(paired[:1], batch.spans, batch.spans_mask)
    if output.noise is not None:
        positive = output.noise.unflatten(output.noise_spans[layers])[:, :, :, 0]
        parts["noise"] = span_losses(positive, batch.spans[:, None], batch.spans_mask[:, None])
    weights = settings.loss
    terms = {f"{name}_l1": weights.l1 * l1 for name, (l1, _) in parts.items()}
    return terms | {f"{name}_giou": weights.giou * giou for name, (_, giou) in parts.items()}


def quality_terms(
    output: "SADETROutput", batch: Batch, settings: SADETRSettings, assigned: Tensor, layers: slice
) -> dict[str, Tensor]:
    """L_Q: eq 8 on the direct group (D53), eq 9 on pairs of noise queries."""
    weights = settings.loss
    spans, qualities = output.layer_spans[layers], output.layer_qualities[layers]
    terms = {
        "quality": quality_loss(
            qualities,
            spans,
            batch.spans,
            batch.spans_mask,
            assigned,
            weights.matched_quality,
            weights.quality_reduction,
        )
    }
    if output.noise is not None and output.noise.polarities == 2:
        positive, negative = output.noise.unflatten(output.noise_qualities[layers]).unbind(3)
        terms["quality_margin"] = quality_margin_loss(
            positive, negative, batch.spans_mask[:, None], weights.quality_margin
        )
    return terms
