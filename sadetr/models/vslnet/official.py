"""What VSLNet's authors call everything (26hzhang/VSLNet, its PyTorch version)."""

from collections.abc import Callable

import torch

from sadetr.models.interface import Batch
from sadetr.models.official import Given, Official, Tensors, Values, below, depth, one_moment_batch, shape_of, size
from sadetr.models.vslnet.model import VSLNetOutput, losses
from sadetr.models.vslnet.settings import VSLNetSettings
from sadetr.nn.spans import se_to_cw
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape

POINTWISE = {f"{name}.conv1d.*": f"{name}.*" for name in ("query", "key", "value")} | {"out_layer.conv1d.*": "out.*"}
ENCODER = {
    "pos_embedding.position_embeddings.weight": "positions.table",
    "conv_block.depthwise_separable_conv.*.0.weight": "convolutions.*.depthwise.weight",
    "conv_block.depthwise_separable_conv.*.1.*": "convolutions.*.pointwise.*",
    "conv_block.layer_norms.*.*": "convolutions.*.norm.*",
    "attention_block.layer_norm1.*": "attention.norm1.*",
    "attention_block.layer_norm2.*": "attention.norm2.*",
    **below("attention_block", "attention", POINTWISE),
}
UNKNOWN_VECTOR, CHARACTERS = "word_emb.unk_vec", "char_emb.char_emb.weight"
TOKENS = "query_affine.linear.conv1d.weight"
"""Of token features; the name is that of the authors' code as EGO4D/episodic-memory changed it for BERT."""
WORDS = {
    UNKNOWN_VECTOR: "unknown",
    CHARACTERS: "characters.table.weight",
    "char_emb.char_convs.*.0.*": "characters.convolutions.*.*",
    "linear.conv1d.*": "out.*",
}
READERS = {
    "start_encoder.lstm.*": "start.*",
    "end_encoder.lstm.*": "end.*",
    **below("encoder", "encoder", ENCODER),
    "start_layer_norm.*": "start_norm.*",
    "end_layer_norm.*": "end_norm.*",
}
HEADS = {
    f"predictor.{name}_block.{layer}.conv1d.*": f"{name}_head.{layer}.*"
    for name in ("start", "end")
    for layer in (0, 2)
}
PREDICTORS = {"rnn": "predictor.start_encoder.lstm.weight_ih_l0", "transformer": "predictor.start_layer_norm.weight"}
"""Predictor -> a tensor that only it has."""
UNKNOWN = 1
"""Number of the word that stands for all without a vector; 0 is padding."""


def predictor(tensors: Tensors) -> str | None:
    """The predictor whose tensors are there."""
    return next((name for name, tensor in PREDICTORS.items() if tensor in tensors), None)


def character_width(tensors: Tensors) -> int | None:
    """Width of embedded characters, where there are any."""
    table = tensors.get(f"embedding_net.{CHARACTERS}")
    return None if table is None else table.shape[1]


def feature_shape(tensors: Tensors, _: Given | None) -> FeatureShape:
    """Widths from the tensors; the clip's length is not read."""
    video = shape_of(tensors, "video_affine.linear.conv1d.weight")[1] + TEMPORAL_FEATURES
    if TOKENS in tensors:
        return FeatureShape(video, shape_of(tensors, TOKENS)[1], 2.0)
    words, characters = (shape_of(tensors, f"embedding_net.{name}") for name in (UNKNOWN_VECTOR, CHARACTERS))
    return FeatureShape(video, words[1], 2.0, characters[0])


def batch(given: Given) -> Batch:
    """Inputs and targets. Words become the vectors that their table holds; unknown ones are zero in a feature store."""
    table = torch.cat([given[f"weight.embedding_net.word_emb.{name}"] for name in ("pad_vec", "unk_vec", "glove_vec")])
    words, video, mask = given["input.word_ids"], given["input.video_features"], given["input.video_mask"].bool()
    ends = torch.stack((given["target.start"], given["target.end"] + 1), 1)
    return one_moment_batch(
        video,
        mask,
        table[words] * (words != UNKNOWN).unsqueeze(-1),
        given["input.query_mask"].bool(),
        se_to_cw(ends / mask.sum(1, keepdim=True).to(video.dtype)),
        characters=given["input.char_ids"].long(),
    )


def outputs(output: VSLNetOutput, *_: object) -> Values:
    """What their network returns, and the clips that they extract from it."""
    start, end = output.boundaries.unbind(1)
    logits = {"start_logits": output.start, "end_logits": output.end}
    return logits | {"highlight": output.saliency, "start_index": start, "end_index": end}


def all_losses(output: VSLNetOutput, batch: Batch, settings: VSLNetSettings) -> Values:
    """Both unweighted losses."""
    return {f"loss.{name}": value for name, value in losses(output, batch, settings).items()}


def weight(name: str) -> Callable[[Given], float]:
    """A reader: the weight of a loss, which their code holds in its training loop."""
    return lambda given: given.meta["loss_weights"][name]


OFFICIAL = Official(
    rules={
        "video_affine.linear.conv1d.*": "video_projection.*",
        **below("embedding_net", "text_projection", WORDS),
        "query_affine.linear.conv1d.*": "text_projection.1.*",
        **below("feature_encoder", "encoder", ENCODER),
        "cq_attention.w4C": "fusion.context_weight",
        "cq_attention.w4Q": "fusion.query_weight",
        "cq_attention.w4mlu": "fusion.product_weight",
        "cq_attention.cqa_linear.conv1d.*": "fusion.out.*",
        "cq_concat.weighted_pool.weight": "concatenation.score",
        "cq_concat.conv1d.conv1d.*": "concatenation.out.*",
        "highlight_layer.conv1d.conv1d.*": "highlight.*",
        **HEADS,
        **below("predictor", "readers", READERS),
    },
    unused={
        "embedding_net.word_emb.glove_vec": "frozen word vectors come with the features",
        "embedding_net.word_emb.pad_vec": "padding is zero",
    },
    sizes={
        # Any number has the same tensors; a fixture says the right one.
        "num_heads": lambda _: 1,
        "hidden_width": size("video_affine.linear.conv1d.weight", 0),
        "convolutions": depth("feature_encoder.conv_block.layer_norms.*.weight"),
        "kernel": size("feature_encoder.conv_block.depthwise_separable_conv.0.0.weight", 2),
        "positions": size("feature_encoder.pos_embedding.position_embeddings.weight", 0),
        "character_width": character_width,
        "predictor": predictor,
    },
    shape=feature_shape,
    options={
        "num_heads": "num_heads",
        "dropout": "drop_rate",
        **{f"loss.{name}": weight(name) for name in ("location", "highlight")},
    },
    fixed={},
    batch=batch,
    outputs=outputs,
    losses=all_losses,
    uncompared={},
)
