"""What Moment-DETR (jayleicn/moment_detr) and the repositories that grew out of it call what they have in common."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sadetr.losses.detection import detection_terms
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.models.interface import Batch
from sadetr.models.official import (
    Given,
    Official,
    Rules,
    Tensors,
    Values,
    below,
    depth,
    perceptron,
    size,
    valid_spans,
)
from sadetr.shapes import FeatureShape

ATTENTION = {
    "in_proj_weight": "in_weight",
    "in_proj_bias": "in_bias",
    "out_proj.*": "out.*",
}
FEEDFORWARD = {
    "linear1.*": "feedforward.0.*",
    "activation.weight": "feedforward.1.weight",
    "linear2.*": "feedforward.3.*",
}
PROJECTION = {
    f"{block}.{theirs}.*": f"{4 * block + index}.*"
    for block in range(3)
    for theirs, index in (("LayerNorm", 0), ("net.1", 2))
}
ENCODER_LAYER = below("self_attn", "attention", ATTENTION) | FEEDFORWARD | {"norm1.*": "norm1.*", "norm2.*": "norm2.*"}
DECODER_NORMS = {"norm1.*": "norm1.*", "norm2.*": "norm2.*", "norm3.*": "norm3.*"}
DAB_LAYER = (
    FEEDFORWARD
    | DECODER_NORMS
    | {
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
    }
)
DAB_DECODER = {
    **below("layers.*", "layers.*", DAB_LAYER),
    **perceptron("ref_point_head", "encoding.position", 2),
    **perceptron("query_scale", "encoding.scale", 2),
    **perceptron("ref_anchor_head", "encoding.reference_width", 2),
    **perceptron("bbox_embed", "offset", 3),
}
"""QD-DETR's decoder, its norm left out, below whatever it is called on either side."""
SLOT_ATTENTION = {
    "norm_inputs.*": "norm_inputs.*",
    "norm_slots.*": "norm_slots.*",
    "norm_mlp.*": "norm_mlp.*",
    "norm_out.*": "norm_out.*",
    "project_q.*": "query.*",
    "project_k.*": "key.*",
    "project_v.*": "value.*",
    **perceptron("mlp", "mlp", 3),
}
"""EaTR's, whose perceptron has two layers, and UVCOM's, whose has three."""

RULES = {
    **below("input_vid_proj", "video_projection", PROJECTION),
    **below("input_txt_proj", "text_projection", PROJECTION),
    "txt_position_embed.position_embeddings.weight": "token_positions.table.weight",
    "txt_position_embed.LayerNorm.*": "token_positions.norm.*",
    **below("transformer.encoder.layers.*", "encoder.*", ENCODER_LAYER),
    "transformer.decoder.norm.*": "decoder.norm.*",
    "class_embed.*": "label_head.*",
    **perceptron("span_embed", "span_head", 3),
}
UNUSED = {"txt_position_embed.*": "learned token positions are off, as in every published run"}
SIZES: Mapping[str, Callable[[Tensors], Any]] = {
    # Any number has the same tensors; a fixture says the right one.
    "num_heads": lambda _: 1,
    "hidden_width": size("transformer.encoder.layers.0.linear1.weight", 1),
    "feedforward_width": size("transformer.encoder.layers.0.linear1.weight", 0),
    "projection_blocks": depth("input_vid_proj.*.LayerNorm.weight"),
    "encoder_layers": depth("transformer.encoder.layers.*.norm1.weight"),
    "decoder_layers": depth("transformer.decoder.layers.*.norm1.weight"),
    "num_moment_queries": size("query_embed.weight", 0),
}
LOSSES = {"l1": "span", "giou": "giou", "label": "label"}
"""Our term -> theirs."""


def _words(given: Given) -> int:
    table = given["weight.txt_position_embed.position_embeddings.weight"]
    return len(table) if given.option("use_txt_pos") else 0


OPTIONS: Mapping[str, str | Callable[[Given], Any]] = {
    "num_heads": "nheads",
    "dropout": "dropout",
    "input_dropout": "input_dropout",
    "text_positions": _words,
    "matching.l1": "set_cost_span",
    "matching.giou": "set_cost_giou",
    "matching.label": "set_cost_class",
    **{f"loss.{ours}": f"{theirs}_loss_coef" for ours, theirs in LOSSES.items()},
    "loss.saliency": "lw_saliency",
    "loss.background": "eos_coef",
    "loss.aux": "aux_loss",
}
FIXED = {"position_embedding": "sine", "pre_norm": False, "span_loss_type": "l1"}
UNCOMPARED = {"loss.class_error*": "the authors log it; it is part of no loss"}

OwnValues = Callable[[Any, Batch, Any], Values]


def descendant(
    rules: Rules,
    outputs: OwnValues,
    losses: OwnValues,
    sizes: Mapping[str, Callable[[Tensors], Any]] | None = None,
    options: Mapping[str, str | Callable[[Given], Any]] | None = None,
    unused: Mapping[str, str] | None = None,
    fixed: Mapping[str, Any] | None = None,
    layer_losses: OwnValues | None = None,
) -> Official:
    """A method's own names on top of the common ones.

    Args:
        rules: of its tensors.
        outputs: its values beside :func:`detections`.
        losses: its losses beside those of the decoder layers.
        sizes: its settings that tensors show.
        options: its settings that options say.
        unused: its tensors that ours has no use for, with the reason.
        fixed: its options that no published run changes.
        layer_losses: losses and matches of the decoder layers, where they are not those of :func:`set_losses`.
    """
    supervised = layer_losses or set_losses
    return Official(
        # Its own go first, and count where both name a tensor.
        rules={**rules, **RULES, **rules},
        unused={**UNUSED, **(unused or {})},
        sizes={**SIZES, **(sizes or {})},
        shape=feature_shape,
        options={**OPTIONS, **(options or {})},
        fixed={**FIXED, **(fixed or {})},
        batch=batch_of,
        outputs=lambda output, batch, settings: (
            detections(output, settings.loss.aux) | outputs(output, batch, settings)
        ),
        losses=lambda output, batch, settings: supervised(output, batch, settings) | losses(output, batch, settings),
        uncompared=UNCOMPARED,
    )


def feature_shape(tensors: Tensors, given: Given | None) -> FeatureShape:
    """Widths from the tensors; the clip's length, which decides on UniVTG's targets alone, from the fixture."""
    video, text = (size(f"input_{name}_proj.0.LayerNorm.weight", 0)(tensors) for name in ("vid", "txt"))
    return FeatureShape(video, text, 2.0 if given is None else float(given.option("clip_length")))


def batch_of(given: Given, clips: str = "src_vid", words: str = "src_txt") -> Batch:
    """A fixture's inputs and targets; every sample is of a video of its own.

    Args:
        given: the fixture.
        clips: what it calls the clips' features; their mask is ``<clips>_mask``.
        words: the same of the words.
    """
    video = given[f"input.{clips}"]
    count = len(video)
    return Batch(
        video=video,
        video_mask=given[f"input.{clips}_mask"].bool(),
        text=given[f"input.{words}"],
        text_mask=given[f"input.{words}_mask"].bool(),
        spans=given["target.spans"],
        spans_mask=valid_spans(given),
        saliency=given["target.saliency_all_labels"].to(video.dtype),
        relevant=given["target.relevant_clips"].bool(),
        positive_clips=given["target.saliency_pos_labels"].long(),
        negative_clips=given["target.saliency_neg_labels"].long(),
        aligned_clip=torch.zeros(count, dtype=torch.int64),
        video_id=torch.arange(count),
    )


def numbered(layers: int, aux: bool) -> Mapping[str, int]:
    """Official prefix of a decoder layer's outputs -> its index; the last layer has none."""
    return {"": layers - 1} | {f"aux_outputs.{index}.": index for index in range(layers - 1) if aux}


def detections(output: DetectionOutput, aux: bool) -> Values:
    """Spans and class logits of the layers that the authors return, and clip scores."""
    values = {"saliency_scores": output.saliency}
    for prefix, layer in numbered(len(output.layer_spans), aux).items():
        values[f"{prefix}pred_spans"] = output.layer_spans[layer]
        values[f"{prefix}pred_logits"] = output.layer_logits[layer]
    return values


def saliency_values(terms: Mapping[str, Tensor]) -> Values:
    """The saliency loss of QD-DETR's descendants, of its unweighted terms, and those that they give a name."""
    parts = {"rank_contrastive": "saliency_rank", "neg_pair": "saliency_negative"}
    named = {f"part.loss_{theirs}": terms[ours] for theirs, ours in parts.items() if ours in terms}
    return {"loss.loss_saliency": sum(terms.values())} | named


def loss_names(stages: int) -> Mapping[str, int]:
    """Official suffix of a supervised layer's losses -> its index, in the order in which the authors match them."""
    return {"": stages - 1} | {f"_{index}": index for index in range(stages - 1)}


def set_losses(output: DetectionOutput, batch: Batch, settings: DetectionTransformerSettings) -> Values:
    """The unweighted set loss of every supervised layer, and the matches."""
    supervised = supervise(output, batch, settings)
    unweighted = settings.loss.model_copy(update=dict.fromkeys(LOSSES, 1.0))
    spans, logits = output.layer_spans[supervised.layers], output.layer_logits[supervised.layers]
    values: Values = {}
    for call, (suffix, stage) in enumerate(loss_names(len(spans)).items()):
        only, assigned = slice(stage, stage + 1), supervised.assigned[stage : stage + 1]
        terms = detection_terms(spans[only], logits[only], batch.spans, batch.spans_mask, assigned, unweighted)
        values |= {f"loss.loss_{theirs}{suffix}": terms[ours] for ours, theirs in LOSSES.items()}
        values[f"match.call{call}"] = match_rows(assigned[0], batch.spans_mask)
    return values


def match_rows(assigned: Tensor, mask: Tensor) -> Tensor:
    """(B, G) queries and mask -> (M, 3) sample, query, window; samples ascend, and queries within them."""
    rows = torch.cat((mask.nonzero(), assigned[mask].unsqueeze(1)), 1)[:, [0, 2, 1]]
    rows = rows[rows[:, 1].argsort()]
    return rows[rows[:, 0].argsort(stable=True)]
