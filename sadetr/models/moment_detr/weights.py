"""Official Moment-DETR checkpoints (jayleicn/moment_detr) -> ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sadetr.models.moment_detr.model import MomentDETR
from sadetr.models.moment_detr.settings import MomentDETRSettings
from sadetr.models.weights import (
    ATTENTION,
    FEEDFORWARD,
    PROJECTION,
    WeightMapping,
    below,
    depth,
    detection_architecture,
    perceptron,
    shape,
)

ENCODER_LAYER = below("self_attn", "attention", ATTENTION) | FEEDFORWARD | {"norm1.*": "norm1.*", "norm2.*": "norm2.*"}
DECODER_LAYER = (
    below("self_attn", "self_attention", ATTENTION)
    | below("multihead_attn", "cross_attention", ATTENTION)
    | FEEDFORWARD
    | {"norm1.*": "norm1.*", "norm2.*": "norm2.*", "norm3.*": "norm3.*"}
)
MAPPING = WeightMapping(
    rules={
        **below("input_vid_proj", "video_projection", PROJECTION),
        **below("input_txt_proj", "text_projection", PROJECTION),
        "txt_position_embed.position_embeddings.weight": "token_positions.table.weight",
        "txt_position_embed.LayerNorm.*": "token_positions.norm.*",
        **below("transformer.encoder.layers.*", "encoder.*", ENCODER_LAYER),
        **below("transformer.decoder.layers.*", "decoder.layers.*", DECODER_LAYER),
        "transformer.decoder.norm.*": "decoder.norm.*",
        "query_embed.weight": "query_positions",
        "class_embed.*": "label_head.*",
        **perceptron("span_embed", "span_head", 3),
        "saliency_proj.*": "saliency_head.*",
        "contrastive_align_projection_query.*": "contrast.query.*",
        "contrastive_align_projection_txt.*": "contrast.text.*",
        "contrastive_align_projection_vid.*": "contrast.video.*",
    },
    unused={"txt_position_embed.*": "learned token positions are off, as in every published run"},
)


def architecture(tensors: Mapping[str, Tensor], **options: Any) -> MomentDETR:
    """The network that the tensors belong to; ``options`` are settings that no tensor shows (heads, losses).

    Raises:
        ResultsError: the tensors are not Moment-DETR's.
    """
    settings, video_width, text_width = detection_architecture(tensors)
    if depth(tensors, "contrastive_align_projection_query.*"):
        width = shape(tensors, "contrastive_align_projection_query.weight")[0]
        settings["contrast"] = {"enabled": True, "width": width, **options.pop("contrast", {})}
    return MomentDETR(MomentDETRSettings.model_validate(settings | options), video_width, text_width)
