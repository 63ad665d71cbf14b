"""What UVCOM's authors call everything (EasonXiao-888/UVCOM)."""

from sadetr.models.detr.objective import saliency_terms
from sadetr.models.detr.official import DAB_DECODER, ENCODER_LAYER, SLOT_ATTENTION, descendant, saliency_values
from sadetr.models.interface import Batch
from sadetr.models.official import Values, below, depth, perceptron, size
from sadetr.models.uvcom.alignment import alignment_terms
from sadetr.models.uvcom.model import UVCOMOutput
from sadetr.models.uvcom.settings import UVCOMSettings


def outputs(output: UVCOMOutput, batch: Batch, _: UVCOMSettings) -> Values:
    """Clip scores against the other text, similarities with the mask beside them, and the texts that were chosen."""
    contrast = output.contrast
    return {
        "saliency_scores_neg": contrast.negative_saliency,
        "video_mask": batch.video_mask.to(batch.video.dtype),
        "sim.VLA_Sim": contrast.aligned.video_similarity,
        "sim.CTA_Sim.0": contrast.aligned.clip_similarity,
        "sim.CTA_Sim.1": batch.video_mask,
        "sim.negative_idx": contrast.others.source,
    }


def losses(output: UVCOMOutput, batch: Batch, settings: UVCOMSettings) -> Values:
    """The saliency loss with two of its three terms, and the alignment."""
    contrast, options = output.contrast, settings.saliency
    terms = saliency_terms(output.saliency, contrast.negative_saliency, batch, contrast.others.real, options)
    alignment = alignment_terms(contrast.aligned, batch, settings)
    return saliency_values(terms) | {"loss.loss_sim": sum(alignment.values())}


INTEGRATION = {
    **below("t2v_encoder.layers.*", "video_fusion.*", ENCODER_LAYER),
    **below("v2t_encoder.layers.*", "text_fusion.*", ENCODER_LAYER),
    "feature_proj.0.*": "sentence.0.*",
    "feature_proj.1.*": "sentence.1.*",
    "txt_mu": "text_centres.starts",
    "vid_mu": "video_centres.starts",
    **{f"conv_local.{index}.*": f"local.convolutions.{index}.*" for index in range(3)},
    **below("GKA_Module.layers.*", "encoder.*", ENCODER_LAYER),
}
FIRST = "CIM.GKA_Module.layers.0.linear1.weight"
OFFICIAL = descendant(
    rules={
        **below("CIM", "integration", INTEGRATION),
        "global_rep_pos": "integration.token_position",
        **below("CIM.processer_for_tgt", "slot_attention", SLOT_ATTENTION),
        "CIM.decoder.span_embed.weight": "contents",
        **below("CIM.decoder", "decoder", DAB_DECODER),
        "CIM.decoder.norm.*": "decoder.norm.*",
        **perceptron("CIM.sim_vid", "alignment.video", 3),
        **perceptron("CIM.sim_txt", "alignment.text", 3),
        "query_embed.weight": "anchors.learned.weight",
        "saliency_proj1.*": "highlight_head.clip.*",
        "saliency_proj2.*": "highlight_head.token.*",
    },
    unused={"global_rep_token": "the nearest centre of the video is put in its place"},
    sizes={
        "hidden_width": size(FIRST, 1),
        "feedforward_width": size(FIRST, 0),
        "fusion_layers": depth("CIM.t2v_encoder.layers.*.norm1.weight"),
        "text_fusion_layers": depth("CIM.v2t_encoder.layers.*.norm1.weight"),
        "encoder_layers": depth("CIM.GKA_Module.layers.*.norm1.weight"),
        "decoder_layers": depth("CIM.decoder.layers.*.norm1.weight"),
        "text_centres": size("CIM.txt_mu", 0),
        "video_centres": size("CIM.vid_mu", 0),
        "slot_width": size("CIM.processer_for_tgt.mlp.layers.0.weight", 0),
        "alignment_width": size("CIM.sim_vid.layers.0.weight", 0),
    },
    options={
        "saliency.margin": "saliency_margin",
        "centre_iterations": "em_iter",
        "slot_iterations": "slot_iter",
        "least_similar_from": lambda given: int(given.option("neg_choose_epoch")),
        "loss.alignment": "sim_loss_coef",
    },
    outputs=outputs,
    losses=losses,
)
