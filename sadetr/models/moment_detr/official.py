"""What Moment-DETR's authors call everything (jayleicn/moment_detr)."""

from sadetr.losses.alignment import query_text_contrast
from sadetr.losses.saliency import margin_loss
from sadetr.models.detr.objective import supervise
from sadetr.models.detr.official import (
    ATTENTION,
    DECODER_NORMS,
    FEEDFORWARD,
    descendant,
    loss_names,
    numbered,
)
from sadetr.models.interface import Batch
from sadetr.models.moment_detr.model import MomentDETROutput
from sadetr.models.moment_detr.settings import MomentDETRSettings
from sadetr.models.official import Tensors, Values, below, size

DECODER_LAYER = (
    below("self_attn", "self_attention", ATTENTION)
    | below("multihead_attn", "cross_attention", ATTENTION)
    | FEEDFORWARD
    | DECODER_NORMS
)
CONTRAST = "contrastive_align_projection_query.weight"


def outputs(output: MomentDETROutput, _: Batch, settings: MomentDETRSettings) -> Values:
    """The embeddings of the contrast, where it is on; those of the words once per layer, as published."""
    if output.contrast is None:
        return {}
    embeddings, values = output.contrast, {"proj_vid_mem": output.contrast.video}
    for prefix, layer in numbered(len(embeddings.queries), settings.loss.aux).items():
        values |= {f"{prefix}proj_queries": embeddings.queries[layer], f"{prefix}proj_txt_mem": embeddings.text}
    return values


def losses(output: MomentDETROutput, batch: Batch, settings: MomentDETRSettings) -> Values:
    """The saliency margin and, where it is on, the contrast of every supervised layer."""
    margin = margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, settings.saliency_margin)
    values = {"loss.loss_saliency": margin}
    if output.contrast is None:
        return values
    supervised = supervise(output, batch, settings)
    queries = output.contrast.queries[supervised.layers]
    for suffix, stage in loss_names(len(queries)).items():
        only = slice(stage, stage + 1)
        values[f"loss.loss_contrastive_align{suffix}"] = query_text_contrast(
            queries[only],
            output.contrast.text,
            supervised.assigned[only],
            batch.spans_mask,
            settings.contrast.temperature,
        )
    return values


def _contrast_width(tensors: Tensors) -> int | None:
    return size(CONTRAST, 0)(tensors) if CONTRAST in tensors else None


OFFICIAL = descendant(
    rules={
        **below("transformer.decoder.layers.*", "decoder.layers.*", DECODER_LAYER),
        "query_embed.weight": "query_positions",
        "saliency_proj.*": "saliency_head.*",
        "contrastive_align_projection_query.*": "contrast.query.*",
        "contrastive_align_projection_txt.*": "contrast.text.*",
        "contrastive_align_projection_vid.*": "contrast.video.*",
    },
    sizes={"contrast.enabled": lambda tensors: CONTRAST in tensors, "contrast.width": _contrast_width},
    options={
        "saliency_margin": "saliency_margin",
        "contrast.temperature": "temperature",
        "contrast.weight": "contrastive_align_loss_coef",
    },
    outputs=outputs,
    losses=losses,
)
