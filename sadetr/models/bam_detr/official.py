"""What BAM-DETR's authors call everything (Pilhyeon/BAM-DETR)."""

from sadetr.models.bam_detr.boundaries import POINTS
from sadetr.models.bam_detr.model import OTHERS, BAMDETROutput, boundary_term, supervise
from sadetr.models.bam_detr.settings import BAMDETRSettings
from sadetr.models.detr.objective import saliency_terms
from sadetr.models.detr.official import (
    DAB_LAYER,
    ENCODER_LAYER,
    FEEDFORWARD,
    LOSSES,
    descendant,
    loss_names,
    match_rows,
    numbered,
    saliency_values,
)
from sadetr.models.interface import Batch
from sadetr.models.official import Tensors, Values, below, depth, perceptron, shape_of

SIDES = {"left": 0, "right": 1}
PARTS = {"point": 0, **{side: index + 1 for side, index in SIDES.items()}}
BOUNDARY_LAYER = {
    **FEEDFORWARD,
    "boundary_deformation.point_offsets.*": "sampling.offsets.*",
    "boundary_deformation.point_weights.*": "sampling.weights.*",
    "boundary_deformation.value_proj.*": "sampling.value.*",
    "boundary_deformation.output_proj.*": "sampling.out.*",
    "norm2.*": "norm1.*",
    "norm3.*": "norm2.*",
}
BOUNDARY_DECODER = {
    **below("layers.*", "layers.*.point", DAB_LAYER),
    **{
        name: target
        for side, index in SIDES.items()
        for name, target in below(f"boundary_layers.*.{index}", f"layers.*.{side}", BOUNDARY_LAYER).items()
    },
    **perceptron("ref_point_head", "encoding.position", 2),
    **perceptron("query_scale.0", "encoding.scale", 2),
    **perceptron("ref_anchor_head", "encoding.reference_width", 2),
}
LAYER_LOSSES = LOSSES | {"quality": "quality"}
UNUSED = {
    "transformer.txt_encoder.*": "nothing reads the words that are encoded on their own",
    "global_rep_*_txt": "the token beside these words",
    **{f"transformer.decoder.query_scale.{end}.*": "scales encodings of ends that nothing reads" for end in (1, 2)},
    "transformer.decoder.ref_point_head_boundary.*": "makes positions of ends that nothing reads",
    "transformer.decoder.boundary_layers.*.norm1.*": "belongs to a self attention that the layer does not have",
}


def _heads(tensors: Tensors) -> int:
    """Heads, from the places that all of them sample."""
    rows = shape_of(tensors, "transformer.decoder.boundary_layers.0.0.boundary_deformation.point_offsets.weight")[0]
    return rows // POINTS


def outputs(output: BAMDETROutput, batch: Batch, settings: BAMDETRSettings) -> Values:
    """Qualities, references, boundary features, clip scores against the other text, and the mask."""
    values = {
        "memory_boundary": output.boundaries,
        "saliency_scores_neg": output.negative_saliency,
        "video_mask": batch.video_mask.to(batch.video.dtype),
    }
    for prefix, layer in numbered(len(output.layer_spans), settings.loss.aux).items():
        values[f"{prefix}pred_quality"] = output.layer_qualities[layer].unsqueeze(-1)
        values[f"{prefix}pred_spans_raw"] = output.layer_references[layer]
        values[f"{prefix}pred_spans2"] = output.layer_spans[layer]
    return values


def layer_losses(output: BAMDETROutput, batch: Batch, settings: BAMDETRSettings) -> Values:
    """The unweighted losses of every supervised layer, and the matches."""
    values: Values = {}
    first = 0 if settings.loss.aux else len(output.layer_spans) - 1
    for call, (suffix, stage) in enumerate(loss_names(len(output.layer_spans) - first).items()):
        terms, assigned = supervise(output, batch, settings, slice(first + stage, first + stage + 1))
        values |= {f"loss.loss_{theirs}{suffix}": terms[ours] for ours, theirs in LAYER_LOSSES.items()}
        values[f"match.call{call}"] = match_rows(assigned[0], batch.spans_mask)
    return values


def losses(output: BAMDETROutput, batch: Batch, settings: BAMDETRSettings) -> Values:
    """The loss on boundary features, and the saliency loss with two of its three terms."""
    real = OTHERS[settings.negatives](batch).real
    saliency = saliency_terms(output.saliency, output.negative_saliency, batch, real, settings.saliency)
    return saliency_values(saliency) | {"loss.loss_boundary": boundary_term(output, batch, settings)}


OFFICIAL = descendant(
    rules={
        "global_rep_token": "global_token.token",
        "global_rep_pos": "global_token.position",
        **below("transformer.t2v_encoder.layers.*", "fusion.*", ENCODER_LAYER),
        **below("transformer.decoder", "decoder", BOUNDARY_DECODER),
        **{
            f"transformer.decoder.boundary_conv_{side}.{2 * layer}.*": f"{side}_features.layers.{layer}.*"
            for side in SIDES
            for layer in range(3)
        },
        # Both lists of heads stand inside the transformer too.
        **{
            name: target
            for official in ("span_embed", "transformer.decoder.bbox_embed")
            for part, index in PARTS.items()
            for name, target in perceptron(f"{official}.*.{index}", f"decoder.moves.*.{part}", 3).items()
        },
        **{
            f"{official}{index + 1}.*": f"highlight_head.{part}.*"
            for official in ("saliency_proj", "transformer.saliency_proj")
            for index, part in enumerate(("clip", "token"))
        },
        "transformer.tgt_embed.weight": "contents",
        "query_embed.weight": "references.logits",
        "class_embed.*.*": "label_heads.*.*",
        **perceptron("quality_pred", "quality_head", 3),
    },
    sizes={"num_heads": _heads, "fusion_layers": depth("transformer.t2v_encoder.layers.*.norm1.weight")},
    options={
        "saliency.margin": "saliency_margin",
        "loss.quality": "quality_loss_coef",
        "loss.boundary": "boundary_loss_coef",
    },
    unused=UNUSED,
    outputs=outputs,
    losses=losses,
    fixed={"quality_loss": True},
    layer_losses=layer_losses,
)
