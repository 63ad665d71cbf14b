"""SA-DETR's objective (eq 10): lambda_A L_A + lambda_S L_S + lambda_M L_M + lambda_Q L_Q, term by term."""

import torch
from torch import Tensor

from sadetr.losses.alignment import clip_text_logits, inter_loss, intra_loss, local_loss, video_text_contrast
from sadetr.losses.matching import match, take
from sadetr.losses.moment import grouped_span_losses
from sadetr.losses.quality import quality_loss, quality_margin_loss, quality_monitors
from sadetr.models.detr.objective import saliency_terms
from sadetr.models.detr.texts import next_video_texts
from sadetr.models.interface import Batch, LossTerms
from sadetr.models.sa_detr.output import SADETROutput
from sadetr.models.sa_detr.settings import SADETRSettings


def objective(output: SADETROutput, batch: Batch, settings: SADETRSettings) -> LossTerms:
    """Terms of eq 10, each multiplied by its weights; a term that is switched off is absent.

    Direct anchors (if they have a loss) and every supervised refiner layer are matched separately. Monitors are the
    mean qualities of matched and unmatched queries of the last layer.
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
    terms = {name: weight * term for weight, terms in groups if weight for name, term in terms().items()}
    return LossTerms(terms, quality_monitors(output.scores, assigned[-1:], batch.spans_mask))


def alignment_terms(output: SADETROutput, batch: Batch, settings: SADETRSettings) -> dict[str, Tensor]:
    """L_A = L_vtc + L_local + L_intra + L_inter, each with its own weight (D15), as far as FA is on."""
    fa, clip = settings.fa, batch.aligned_clip
    clips, sentence, temperature = output.clip_embeddings, output.sentence_embedding, fa.temperature
    logits = clip_text_logits(clips, sentence, temperature) if fa.ctm else None
    terms = (
        ("vtc", fa.vtc, lambda: video_text_contrast(output.video_embedding, output.text_embedding, temperature)),
        ("ctm_local", fa.ctm, lambda: local_loss(logits, batch.relevant, batch.video_mask)),
        ("ctm_intra", fa.ctm, lambda: intra_loss(logits, batch.saliency, batch.video_mask, clip)),
        ("ctm_inter", fa.ctm, lambda: inter_loss(clips, sentence, clip, temperature)),
    )
    weighed = zip(settings.loss.align_weights, terms, strict=True)
    return {name: weight * term() for weight, (name, on, term) in weighed if on and weight}


def _saliency_terms(output: SADETROutput, batch: Batch, settings: SADETRSettings) -> dict[str, Tensor]:
    """L_S; a next sample of the same video is no negative (D22)."""
    real = next_video_texts(batch).real
    return saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency)


def moment_terms(
    output: SADETROutput, batch: Batch, settings: SADETRSettings, stages: Tensor, assigned: Tensor, layers: slice
) -> dict[str, Tensor]:
    """L_M = L_direct + L_init + L_noise (section 3.5; noise positives keep their own ground truth)."""
    paired, weights = take(stages, assigned), settings.loss
    groups = {"direct": (paired[1:], batch.spans, batch.spans_mask)}
    if settings.qi.init_loss:
        groups["init"] = (paired[:1], batch.spans, batch.spans_mask)
    if output.noise is not None:
        positive = output.noise.unflatten(output.noise_spans[layers])[:, :, :, 0]
        groups["noise"] = (positive, batch.spans[:, None], batch.spans_mask[:, None])
    losses = grouped_span_losses(list(groups.values()), weights.moment_reduction)
    terms = {f"{name}_l1": weights.l1 * l1 for name, (l1, _) in zip(groups, losses, strict=True)}
    return terms | {f"{name}_giou": weights.giou * giou for name, (_, giou) in zip(groups, losses, strict=True)}


def quality_terms(
    output: SADETROutput, batch: Batch, settings: SADETRSettings, assigned: Tensor, layers: slice
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
