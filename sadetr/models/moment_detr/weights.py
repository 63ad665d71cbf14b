"""Official Moment-DETR checkpoints (jayleicn/moment_detr) -> ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sadetr.models.moment_detr.model import MomentDETR
from sadetr.models.moment_detr.settings import MomentDETRSettings
from sadetr.models.weights import (
    ATTENTION,
    DETECTION,
    DETECTION_UNUSED,
    FEEDFORWARD,
    WeightMapping,
    below,
    depth,
    detection_architecture,
    shape,
)

DECODER_LAYER = (
    below("self_attn", "self_attention", ATTENTION)
    | below("multihead_attn", "cross_attention", ATTENTION)
    | FEEDFORWARD
    | {"norm1.*": "norm1.*", "norm2.*": "norm2.*", "norm3.*": "norm3.*"}
)
MAPPING = WeightMapping(
    rules={
        **DETECTION,
        **below("transformer.decoder.layers.*", "decoder.layers.*", DECODER_LAYER),
        "query_embed.weight": "query_positions",
        "saliency_proj.*": "saliency_head.*",
        "contrastive_align_projection_query.*": "contrast.query.*",
        "contrastive_align_projection_txt.*": "contrast.text.*",
        "contrastive_align_projection_vid.*": "contrast.video.*",
    },
    unused=DETECTION_UNUSED,
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
