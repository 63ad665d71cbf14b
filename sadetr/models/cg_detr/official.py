"""What CG-DETR's authors call everything (wjun0830/CGDETR)."""

from dataclasses import replace

import torch

from sadetr.models.cg_detr.correlation import (
    alignment_loss,
    distillation_loss,
    orthogonality_loss,
    own_clips,
    relevant_clips,
)
from sadetr.models.cg_detr.model import CGDETROutput
from sadetr.models.cg_detr.objective import attention_terms, saliency_terms
from sadetr.models.cg_detr.settings import CGDETRSettings
from sadetr.models.detr.official import DAB_DECODER, ENCODER_LAYER, FEEDFORWARD, batch_of, descendant
from sadetr.models.detr.texts import next_source_texts
from sadetr.models.interface import Batch
from sadetr.models.official import Given, Values, below, depth, size

ADAPTIVE_LAYER = FEEDFORWARD | {
    "self_attn.out_proj.*": "attention.out.*",
    "norm1.*": "norm1.*",
    "norm2.*": "norm2.*",
}
HIGHLIGHTS = "hl"
"""Their name of QVHighlights, whose video ids end in two times that a part was cut at."""


def batch(given: Given) -> Batch:
    """Inputs and targets; which videos are of one original, their ids say."""
    names = given.meta["video_ids"]
    if given.option("dset_name") == HIGHLIGHTS:
        names = [name.rsplit("_", 2)[0] for name in names]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return replace(batch_of(given), source_id=torch.tensor([numbers[name] for name in names]))


def outputs(output: CGDETROutput, batch: Batch, _: CGDETRSettings) -> Values:
    """What their network returns; of the second pass the samples alone that have a real negative."""
    others, found = next_source_texts(batch), output.correlation
    real, dtype = others.real, batch.video.dtype
    text_mask = found.text_mask.to(dtype)
    return {
        "cate_attn_weights": output.attention,
        "t2vattnvalues": output.text_attention,
        "saliency_scores_neg": output.negative_saliency[real],
        "t2vattnvalues_neg": output.negative_text_attention[real],
        "real_neg_mask": real,
        "src_txt_mask_neg": others.take(text_mask)[real],
        "txt_mask": text_mask,
        "video_mask": batch.video_mask.to(dtype),
        "dummy_tokens": output.dummies,
        "global_rep_tokens": output.prompts,
        "memory_moment": found.moment,
        "nmmemory_moment": found.others,
        "sentence_txt": found.sentence,
        "sentence_dummy": found.dummy_sentence,
        "moment_mask": relevant_clips(batch),
        "src_vid": own_clips(found, batch),
        "moment2txt_similarity": found.moment_clips @ found.text.transpose(1, 2),
        "nmoment2txt_similarity": found.other_clips @ found.text.transpose(1, 2),
    }


def losses(output: CGDETROutput, batch: Batch, settings: CGDETRSettings) -> Values:
    """The saliency losses with their terms, alignment, distillation and orthogonality."""
    saliency, attention = saliency_terms(output, batch, settings), attention_terms(output, batch, settings)
    found = output.correlation
    return {
        "loss.loss_saliency": sum(saliency.values()) + settings.loss.attention * sum(attention.values()),
        "part.loss_rank_contrastive": saliency["saliency_rank"],
        "part.loss_neg_pair": saliency["saliency_negative"],
        "part.loss_saliency_attn": sum(attention.values()),
        "part.loss_rank_contrastive_attn": attention["attention_rank"],
        "part.loss_neg_pair_attn": attention["attention_negative"],
        "loss.loss_ms_align": alignment_loss(found, batch, settings),
        "loss.loss_distill": distillation_loss(found, output.attention, batch, settings),
        "loss.loss_orthogonal_dummy": orthogonality_loss(output.dummies) + orthogonality_loss(output.prompts),
    }


OFFICIAL = replace(
    descendant(
        rules={
            "token_type_embeddings.weight": "types.weight",
            "dummy_rep_token": "dummies.tokens",
            "dummy_rep_pos": "dummies.positions",
            **below("txtproj_encoder.layers.*", "dummies.encoder.*", ENCODER_LAYER),
            "sent_rep_token": "sentences.tokens",
            "sent_rep_pos": "sentences.positions",
            **below("scls_encoder.layers.*", "sentences.encoder.*", ENCODER_LAYER),
            "moment_rep_token": "moments.tokens",
            "moment_rep_pos": "moments.positions",
            **below("transformer.mcls_encoder.layers.*", "moments.encoder.*", ENCODER_LAYER),
            **below("transformer.t2v_encoder.layers.*", "fusion.layers.*", ADAPTIVE_LAYER),
            "global_rep_token": "prompts.tokens",
            "global_rep_pos": "prompts.position",
            **below("transformer.decoder", "decoder", DAB_DECODER),
            "query_embed.weight": "anchors.learned.weight",
            "saliency_proj1.*": "highlight_head.clip.*",
            "saliency_proj2.*": "highlight_head.token.*",
        },
        unused={"txt_proj_linear.*": "no forward pass of the authors calls it"},
        sizes={
            "fusion_layers": depth("transformer.t2v_encoder.layers.*.norm1.weight"),
            "dummy_layers": depth("txtproj_encoder.layers.*.norm1.weight"),
            "sentence_layers": depth("scls_encoder.layers.*.norm1.weight"),
            "moment_layers": depth("transformer.mcls_encoder.layers.*.norm1.weight"),
            "num_dummies": size("dummy_rep_token", 0),
            "num_prompts": size("global_rep_token", 0),
        },
        options={
            "chosen_prompts": "num_prompts",
            # Fixed in their code; a fixture, whose dropout is 0, has it switched off as well.
            "text_dropout": "dropout",
            "saliency.margin": "saliency_margin",
            "loss.attention": "lw_wattn",
            "loss.alignment": "lw_ms_align",
            "loss.distillation": "lw_distill",
        },
        outputs=outputs,
        losses=losses,
    ),
    batch=batch,
)
