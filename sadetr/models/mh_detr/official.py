"""What MH-DETR's authors call everything (YoucanBaby/MH-DETR)."""

from collections.abc import Iterator
from dataclasses import replace
from functools import partial

import torch

from sadetr.losses.saliency import clamped_score_loss, margin_loss
from sadetr.models.detr.objective import DetectionOutput, supervise
from sadetr.models.detr.official import ATTENTION, LOSSES, PROJECTION, batch_of, match_rows
from sadetr.models.interface import Batch
from sadetr.models.mh_detr.settings import MHDETRSettings
from sadetr.models.official import Given, Official, Rules, Tensors, Values, at, below, depth, size
from sadetr.shapes import FeatureShape

FEEDFORWARD = {"ffn.0.*": "feedforward.0.*", "ffn.3.*": "feedforward.3.*", "norm_ffn.*": "norm2.*"}
POOLING_LAYER = FEEDFORWARD | {"norm.*": "norm1.*"}
CONTEXT_LAYER = FEEDFORWARD | below("ca", "attention", ATTENTION) | {"norm_ca.*": "norm1.*"}
POOLED_LAYER = (
    below("sa", "self_attention", ATTENTION) | {"norm_sa.*": "norm.*"} | below("ca_layer", "context", CONTEXT_LAYER)
)
STACKS = {
    "vid_enc": ("video_encoder", POOLING_LAYER),
    "txt_enc": ("text_encoder", POOLING_LAYER),
    "qry_gen": ("fusion", CONTEXT_LAYER),
    "qry_dec": ("clip_decoder", POOLED_LAYER),
    "mr_dec": ("decoder", POOLED_LAYER),
}
PROJECTIONS = {"video": "video_projection", "text": "text_projection"}
NORMALISED_PROJECTION = {
    **{theirs: f"0.{ours}" for theirs, ours in PROJECTION.items()},
    # The norm behind the last block is numbered as if it were one more.
    **{f"{blocks}.*": "2.*" for blocks in range(1, 4)},
}


def _parts() -> Iterator[tuple[str, str, Rules]]:
    """Their name, our name and the rules below of everything that is there twice or more."""
    for theirs, ours in PROJECTIONS.items():
        yield f"input_ffn.input_{theirs}_ffn", ours, NORMALISED_PROJECTION
    for theirs, (ours, layer) in STACKS.items():
        yield f"backbone.{theirs}.layers.*", f"{ours}.*", layer


RULES = {
    **{name: target for part in _parts() for name, target in below(*part).items()},
    "backbone.mr_qry": "moment_queries",
    "backbone.vid_pos": "video_positions.table",
    "backbone.txt_pos": "text_positions.table",
    "backbone.qry_pos": "fused_positions.table",
    "predictor.saliency_ffn.*": "saliency_head.*",
    "predictor.span_ffn.*": "span_head.*",
    "predictor.score_ffn.*": "label_head.*",
}
SPAN_TERMS = {"l1": "span_l1", "giou": "span_giou", "label": "span_score"}
"""Our term -> theirs; their weight of a term is its matching cost too."""
ABSENT = ("span_align", "coarse_contrastive", "vid_qry_contrastive")
"""Terms that the authors wrote and no published run weighs; ours has none of them."""


def outputs(output: DetectionOutput, *_: object) -> Values:
    """Clip scores, and spans and class logits of the last layer."""
    return {"saliency": output.saliency, "span": output.spans, "score": output.layer_logits[-1]}


def losses(output: DetectionOutput, batch: Batch, settings: MHDETRSettings) -> Values:
    """The unweighted set loss of the last layer, the two saliency terms, and the matches; padding as published."""
    unweighted = settings.loss.model_copy(update=dict.fromkeys(LOSSES, 1.0))
    supervised = supervise(output, batch, settings.model_copy(update={"loss": unweighted}))
    options, scores = settings.saliency, output.saliency
    targets, counted = batch.saliency / options.levels, torch.ones_like(batch.video_mask)
    values = {theirs: supervised.terms[ours] for ours, theirs in SPAN_TERMS.items()}
    values["saliency_hinge"] = margin_loss(scores, batch.positive_clips, batch.negative_clips, options.margin)
    values["saliency_bce"] = clamped_score_loss(scores, targets, counted, options.positive_weight)
    values |= dict.fromkeys(ABSENT, scores.new_zeros(()))
    matches = {"match.call0": match_rows(supervised.assigned[-1], batch.spans_mask)}
    return {f"loss.{name}": value for name, value in values.items()} | matches


def losses_at(output: DetectionOutput, given: Given) -> DetectionOutput:
    """The authors' clip scores: near 0 and 1 the cross entropy magnifies their last bit ten thousandfold."""
    return replace(output, saliency=at(given["output.saliency"], output.saliency))


def feature_shape(tensors: Tensors, given: Given | None) -> FeatureShape:
    """Widths from the tensors; the clip's length, which the network does not read, from the fixture."""
    video, text = (size(f"input_ffn.input_{name}_ffn.0.LayerNorm.weight", 0)(tensors) for name in PROJECTIONS)
    return FeatureShape(video, text, 2.0 if given is None else float(given.option("clip_length")))


OFFICIAL = Official(
    rules=RULES,
    unused={},
    sizes={
        # Any number has the same tensors; a fixture says the right one.
        "num_heads": lambda _: 1,
        "hidden_width": size("backbone.mr_qry", 1),
        "feedforward_width": size("backbone.vid_enc.layers.0.ffn.0.weight", 0),
        "projection_blocks": depth("input_ffn.input_video_ffn.*.LayerNorm.weight"),
        "encoder_layers": depth("backbone.vid_enc.layers.*.norm.weight"),
        "text_encoder_layers": depth("backbone.txt_enc.layers.*.norm.weight"),
        "fusion_layers": depth("backbone.qry_gen.layers.*.norm_ca.weight"),
        "clip_decoder_layers": depth("backbone.qry_dec.layers.*.norm_sa.weight"),
        "decoder_layers": depth("backbone.mr_dec.layers.*.norm_sa.weight"),
        "num_moment_queries": size("backbone.mr_qry", 0),
        "clip_positions": size("backbone.vid_pos", 0),
        "text_positions": size("backbone.txt_pos", 0),
    },
    shape=feature_shape,
    options={
        "num_heads": "num_heads",
        "dropout": "dropout",
        "input_dropout": "input_vid_ffn_dropout",
        "text_input_dropout": "input_txt_ffn_dropout",
        "path_dropout": "drop_path",
        **{f"matching.{ours}": theirs for ours, theirs in SPAN_TERMS.items()},
        **{f"loss.{ours}": theirs for ours, theirs in SPAN_TERMS.items()},
        "loss.background": "coef_eos",
        "saliency.hinge": "saliency_hinge",
        "saliency.bce": "saliency_bce",
    },
    fixed={**dict.fromkeys(ABSENT, 0), "aux_loss": False, "span_loss_type": "l1", "activation": "relu"},
    batch=partial(batch_of, clips="vid", words="txt"),
    outputs=outputs,
    losses=losses,
    uncompared={},
    losses_at=losses_at,
)
