"""What UniVTG's authors call everything (showlab/UniVTG, which grew out of Moment-DETR's code)."""

from dataclasses import replace

from sadetr.losses.alignment import clip_text_logits, contrast_directions, inter_logits, intra_directions
from sadetr.models.detr.official import ENCODER_LAYER, OPTIONS, PROJECTION, SIZES, UNUSED, batch_of, feature_shape
from sadetr.models.interface import Batch
from sadetr.models.official import Given, Official, Values, below, depth
from sadetr.models.univtg.model import UniVTGOutput, losses
from sadetr.models.univtg.settings import UniVTGSettings

LOSSES = {"foreground": "loss_f", "l1": "loss_b", "giou": "loss_g", "inter": "loss_s_inter", "intra": "loss_s_intra"}
"""Our term -> theirs."""
COEFFICIENTS = {
    "foreground": "f_loss_coef",
    "l1": "b_loss_coef",
    "giou": "g_loss_coef",
    "inter": "s_loss_inter_coef",
    "intra": "s_loss_intra_coef",
    "background": "eos_coef",
}
"""Our weight -> their option."""


def batch(given: Given) -> Batch:
    """Inputs and targets; their one positive clip, and the mean of the annotators as labels."""
    return replace(
        batch_of(given),
        saliency=given["target.saliency_scores"],
        aligned_clip=given["target.saliency_pos_labels"][:, 0].long(),
    )


def outputs(output: UniVTGOutput, batch: Batch, _: UniVTGSettings) -> Values:
    """What their network returns; scores of padded clips included."""
    return {
        "pred_logits": output.logits.sigmoid().unsqueeze(-1),
        "pred_spans": output.offsets,
        "saliency_scores": output.similarity,
        "src_vid_mask": batch.video_mask.to(batch.video.dtype),
        "vid_mem_proj": output.clips,
        "txt_mem_proj": output.sentence.unsqueeze(1),
    }


def all_losses(output: UniVTGOutput, batch: Batch, settings: UniVTGSettings) -> Values:
    """The unweighted losses, and both directions of each contrast as mean log-probabilities."""
    terms = losses(output, batch, settings)
    positive, temperature = batch.aligned_clip, settings.temperature
    to_text, to_video = contrast_directions(inter_logits(output.clips, output.sentence, positive, temperature))
    logits = clip_text_logits(output.clips, output.sentence, temperature)
    within, across = intra_directions(logits, batch.saliency, batch.video_mask, positive)
    return {f"loss.{theirs}": terms[ours] for ours, theirs in LOSSES.items()} | {
        "part.loss_saliency_inter": terms["inter"],
        "part.loss_saliency_intra": terms["intra"],
        "part.loss_i": -to_text,
        "part.loss_j": -to_video,
        "part.loss_in_i": -within,
        "part.loss_in_j": -across,
    }


OFFICIAL = Official(
    rules={
        **below("input_vid_proj", "video_projection", PROJECTION),
        **below("input_txt_proj", "text_projection", PROJECTION),
        "token_type_embeddings.weight": "types.weight",
        "txt_position_embed.position_embeddings.weight": "token_positions.table.weight",
        "txt_position_embed.LayerNorm.*": "token_positions.norm.*",
        **below("transformer.encoder.layers.*", "encoder.*", ENCODER_LAYER),
        "span_embed.layers.*.*": "span_head.layers.*.*",
        "class_embed.layers.*.*": "foreground_head.layers.*.*",
        "weightedpool.weight": "pooling.weight",
    },
    unused=UNUSED,
    sizes={
        **{
            name: SIZES[name]
            for name in ("num_heads", "hidden_width", "feedforward_width", "projection_blocks", "encoder_layers")
        },
        "head_layers": depth("span_embed.layers.*.weight"),
    },
    shape=feature_shape,
    options={
        **{name: OPTIONS[name] for name in ("num_heads", "input_dropout", "text_positions")},
        "path_dropout": "droppath",
        **{f"loss.{ours}": option for ours, option in COEFFICIENTS.items()},
    },
    fixed={"position_embedding": "sine", "pre_norm": False, "span_loss_type": "l1", "dropout": 0.0},
    batch=batch,
    outputs=outputs,
    losses=all_losses,
    uncompared={},
)
