"""Official QD-DETR checkpoints (wjun0830/QD-DETR) -> ours."""

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from sadetr.models.qd_detr.model import QDDETR
from sadetr.models.qd_detr.settings import QDDETRSettings
from sadetr.models.weights import (
    DETECTION,
    DETECTION_UNUSED,
    ENCODER_LAYER,
    FEEDFORWARD,
    WeightMapping,
    below,
    depth,
    detection_architecture,
    perceptron,
)

DECODER_LAYER = FEEDFORWARD | {
    "sa_qcontent_proj.*": "self_attention.query.*",
    "sa_qpos_proj.*": "self_attention.query_position.*",
    "sa_kcontent_proj.*": "self_attention.key.*",
    "sa_kpos_proj.*": "self_attention.key_position.*",
    "sa_v_proj.*": "self_attention.value.*",
    "self_attn.out_proj.*": "self_attention.out.*",
    "ca_qcontent_proj.*": "cross_attention.query.*",
    "ca_qpos_proj.*": "cross_attention.query_position.*",
    "ca_kcontent_proj.*": "cross_attention.key.*",
    "ca_kpos_proj.*": "cross_attention.key_position.*",
    "ca_v_proj.*": "cross_attention.value.*",
    "ca_qpos_sine_proj.*": "cross_attention.query_sine.*",
    "cross_attn.out_proj.*": "cross_attention.out.*",
    "norm1.*": "norm1.*",
    "norm2.*": "norm2.*",
    "norm3.*": "norm3.*",
}
MAPPING = WeightMapping(
    rules={
        **DETECTION,
        "global_rep_token": "global_token.token",
        "global_rep_pos": "global_token.position",
        **below("transformer.t2v_encoder.layers.*", "fusion.*", ENCODER_LAYER),
        **below("transformer.decoder.layers.*", "decoder.layers.*", DECODER_LAYER),
        **perceptron("transformer.decoder.ref_point_head", "decoder.position", 2),
        **perceptron("transformer.decoder.query_scale", "decoder.scale", 2),
        **perceptron("transformer.decoder.ref_anchor_head", "decoder.reference_width", 2),
        **perceptron("transformer.decoder.bbox_embed", "decoder.offset", 3),
        "query_embed.weight": "anchors.learned",
        "saliency_proj1.*": "highlight_head.clip.*",
        "saliency_proj2.*": "highlight_head.token.*",
    },
    unused=DETECTION_UNUSED,
)


def architecture(tensors: Mapping[str, Tensor], **options: Any) -> QDDETR:
    """The network that the tensors belong to; ``options`` are settings that no tensor shows (heads, losses).

    Raises:
        ResultsError: the tensors are not QD-DETR's.
    """
    settings, video_width, text_width = detection_architecture(tensors)
    settings["fusion_layers"] = depth(tensors, "transformer.t2v_encoder.layers.*.norm1.weight")
    return QDDETR(QDDETRSettings.model_validate(settings | options), video_width, text_width)
