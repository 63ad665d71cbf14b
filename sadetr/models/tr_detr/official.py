"""What TR-DETR's authors call everything (mingyao1120/TR-DETR)."""

from sadetr.models.detr.objective import saliency_terms
from sadetr.models.detr.official import DAB_DECODER, ENCODER_LAYER, descendant, saliency_values
from sadetr.models.interface import Batch
from sadetr.models.official import Values, below, depth
from sadetr.models.tr_detr.model import TRDETROutput, alignment_terms
from sadetr.models.tr_detr.settings import TRDETRSettings


def outputs(output: TRDETROutput, batch: Batch, _: TRDETRSettings) -> Values:
    """Projected clips and words, their means, and the mask."""
    return {
        "src_vid_ed": output.clips,
        "src_txt_ed": output.words,
        "src_vid_cls_ed": output.video_embedding,
        "src_txt_cls_ed": output.text_embedding,
        "video_mask": batch.video_mask.to(batch.video.dtype),
    }


def losses(output: TRDETROutput, batch: Batch, settings: TRDETRSettings) -> Values:
    """The saliency loss with one of its two terms, and the alignment losses, which their training loop adds."""
    saliency = saliency_terms(output.saliency, None, batch, None, settings.saliency)
    alignment = alignment_terms(output, batch, settings)
    return saliency_values(saliency) | {
        "loss.loss_video_text_align": alignment["vtc"],
        "loss.loss_clip_text_align": alignment["ctc"],
    }


CONTEXT_QUERY = {
    "w4C": "context_weight",
    "w4Q": "query_weight",
    "w4mlu": "product_weight",
    "cqa_linear.conv1d.*": "out.*",
}
OFFICIAL = descendant(
    rules={
        **below("fuser.cq_attention", "context_query", CONTEXT_QUERY),
        "fuser.cq_concat.weighted_pool.weight": "sentence.score",
        "fuser.cq_concat.conv1d.conv1d.*": "sentence.out.*",
        **below("transformer.t2v_encoder.layers.*", "fusion.*", ENCODER_LAYER),
        **below("transformer.decoder", "decoder", DAB_DECODER),
        "query_embed.weight": "anchors.learned.weight",
        "saliency_proj1.*": "highlight_head.clip.*",
        "gru_extractor.gru.*": "moment.gru.*",
    },
    sizes={"fusion_layers": depth("transformer.t2v_encoder.layers.*.norm1.weight")},
    options={
        "saliency.margin": "saliency_margin",
        # Fixed in their code; a fixture, whose dropout is 0, has it switched off as well.
        "fuser_dropout": "dropout",
        "loss.vtc": "VTC_loss_coef",
        "loss.ctc": "CTC_loss_coef",
    },
    outputs=outputs,
    losses=losses,
)
