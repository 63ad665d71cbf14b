"""What QD-DETR's authors call everything (wjun0830/QD-DETR)."""

from sadetr.models.detr.objective import saliency_terms
from sadetr.models.detr.official import DAB_DECODER, ENCODER_LAYER, descendant, saliency_values
from sadetr.models.interface import Batch
from sadetr.models.official import Values, below, depth
from sadetr.models.qd_detr.model import OTHERS, QDDETROutput
from sadetr.models.qd_detr.settings import QDDETRSettings


def outputs(output: QDDETROutput, batch: Batch, _: QDDETRSettings) -> Values:
    """Clip scores against the other text, and the mask."""
    return {"saliency_scores_neg": output.negative_saliency, "video_mask": batch.video_mask.to(batch.video.dtype)}


def losses(output: QDDETROutput, batch: Batch, settings: QDDETRSettings) -> Values:
    """The saliency loss, and two of its three terms."""
    real = OTHERS[settings.negatives](batch).real
    return saliency_values(saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency))


OFFICIAL = descendant(
    rules={
        "global_rep_token": "global_token.token",
        "global_rep_pos": "global_token.position",
        **below("transformer.t2v_encoder.layers.*", "fusion.*", ENCODER_LAYER),
        **below("transformer.decoder", "decoder", DAB_DECODER),
        "query_embed.weight": "anchors.learned.weight",
        "saliency_proj1.*": "highlight_head.clip.*",
        "saliency_proj2.*": "highlight_head.token.*",
    },
    sizes={"fusion_layers": depth("transformer.t2v_encoder.layers.*.norm1.weight")},
    options={"saliency.margin": "saliency_margin"},
    outputs=outputs,
    losses=losses,
)
