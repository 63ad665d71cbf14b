"""Published weights as the states of our networks: CLIP's and SlowFast's, under whoever's names they come.

Every tensor of a network must be there and have its shape; what a file holds beside them is left alone.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from sadetr.errors import ResultsError
from sadetr.extraction.archives import read_caffe2, read_script
from sadetr.extraction.clip import ImageTower, TextTower
from sadetr.extraction.slowfast import BLOCKS, SlowFast
from sadetr.installation import document
from sadetr.models.weights import read_official

Tensors = dict[str, Tensor]


def read_clip(path: Path) -> Tensors:
    """CLIP's tensors by their official names: OpenAI's TorchScript archive, or safetensors in transformers' names.

    Raises:
        ResultsError: unreadable.
    """
    tensors = read_script(path) if path.suffix != ".safetensors" else read_official(path)
    return _of_transformers(tensors) if any(name.startswith("vision_model.") for name in tensors) else tensors


def image_tower(path: Path) -> ImageTower:
    """CLIP's image tower with the weights of a file.

    Raises:
        ResultsError: the file is unreadable or holds no such tower.
    """
    prefix = "visual."
    tensors = {name.removeprefix(prefix): value for name, value in read_clip(path).items() if name.startswith(prefix)}
    return _filled(path, tensors, ImageTower.of, "CLIP's image tower")


def text_tower(path: Path) -> TextTower:
    """CLIP's text tower with the weights of a file.

    Raises:
        ResultsError: the file is unreadable or holds no such tower.
    """
    return _filled(path, read_clip(path), TextTower.of, "CLIP's text tower")


def slowfast(path: Path) -> SlowFast:
    """SlowFast with the weights of a file: Caffe2's pickle of its model zoo, or pytorchvideo's names.

    Raises:
        ResultsError: the file is unreadable or holds no such network.
    """
    theirs = read_caffe2(path) if path.suffix == ".pkl" else read_official(path)
    rules = _caffe2_names() if path.suffix == ".pkl" else _pytorchvideo_names()
    tensors = {ours: theirs[name] for name, ours in rules if name in theirs}
    return _filled(path, tensors, lambda known: SlowFast(len(known["slow.stem.conv.weight"])), "SlowFast")


def _filled(path: Path, tensors: Mapping[str, Tensor], build: Callable[[Tensors], nn.Module], what: str):
    try:
        network = build(tensors)
    except (LookupError, ValueError, RuntimeError) as error:
        raise ResultsError(f"{path}: holds no {what}; see {document('extraction.md')}") from error
    state = network.state_dict()
    counters = {name for name in state if name.endswith("num_batches_tracked")}
    for name in state.keys() - counters:
        if name not in tensors:
            raise ResultsError(f"{path}: holds no {name!r} of {what}: it is incomplete, or of another network")
        if tensors[name].shape != state[name].shape:
            raise ResultsError(
                f"{path}: {name!r} of {what} has shape {list(tensors[name].shape)}, expected {list(state[name].shape)}:"
                " it is of another network"
            )
        if not tensors[name].isfinite().all():
            raise ResultsError(f"{path}: {name!r} of {what} holds NaN or infinity; download the file again")
    network.load_state_dict({name: state[name] if name in counters else tensors[name].float() for name in state})
    return network.eval().requires_grad_(False)


_BLOCK_PARTS = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_TRANSFORMERS = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    # Written so in transformers.
    "vision_model.pre_layrnorm": "visual.ln_pre",
    "vision_model.post_layernorm": "visual.ln_post",
    "text_model.final_layer_norm": "ln_final",
}


def _of_transformers(theirs: Tensors) -> Tensors:
    """OpenAI's names for what transformers calls otherwise."""
    tensors: Tensors = {}
    for name, value in theirs.items():
        owner, _, kind = name.rpartition(".")
        if name in _TRANSFORMERS:
            tensors[_TRANSFORMERS[name]] = value
        elif owner in _TRANSFORMERS:
            tensors[f"{_TRANSFORMERS[owner]}.{kind}"] = value
        elif name == "visual_projection.weight":
            tensors["visual.proj"] = value.T
        elif name == "text_projection.weight":
            tensors["text_projection"] = value.T
        elif found := re.fullmatch(r"(vision|text)_model\.encoder\.layers\.(\d+)\.(.+)\.(weight|bias)", name):
            block = f"{'visual.' * (found[1] == 'vision')}transformer.resblocks.{found[2]}"
            if found[3] in _BLOCK_PARTS:
                tensors[f"{block}.{_BLOCK_PARTS[found[3]]}.{found[4]}"] = value
            elif found[3] == "self_attn.q_proj":
                parts = [theirs[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
                tensors[f"{block}.attn.in_proj_{found[4]}"] = torch.cat(parts)
    return tensors


_CAFFE2_NORM = {"s": "weight", "b": "bias", "rm": "running_mean", "riv": "running_var"}
_NORM = ("weight", "bias", "running_mean", "running_var")


def _caffe2_names() -> Iterable[tuple[str, str]]:
    """Name of a Caffe2 blob and ours, for all tensors."""
    for pathway, prefix in (("slow", ""), ("fast", "t_")):
        yield from _caffe2_layer(f"{prefix}conv1", f"{prefix}res_conv1_bn", f"{pathway}.stem")
        for stage, block in _blocks():
            for part, branch in (("shortcut", "1"), ("a", "2a"), ("b", "2b"), ("c", "2c")):
                name = f"{prefix}res{stage + 2}_{block}_branch{branch}"
                yield from _caffe2_layer(name, f"{name}_bn", f"{pathway}.stages.{stage}.{block}.{part}")
    lasts = [f"t_res{stage + 2}_{blocks - 1}_branch2c_bn" for stage, blocks in enumerate(BLOCKS[:-1])]
    for place, name in enumerate(["t_pool1", *lasts]):
        yield from _caffe2_layer(f"{name}_subsample", f"{name}_subsample_bn", f"fusions.{place}")


def _caffe2_layer(conv: str, norm: str, ours: str) -> Iterable[tuple[str, str]]:
    yield f"{conv}_w", f"{ours}.conv.weight"
    for short, name in _CAFFE2_NORM.items():
        yield f"{norm}_{short}", f"{ours}.norm.{name}"


def _pytorchvideo_names() -> Iterable[tuple[str, str]]:
    """Name of a tensor of pytorchvideo's ``create_slowfast`` and ours, for all tensors."""
    for place, pathway in enumerate(("slow", "fast")):
        stem = f"blocks.0.multipathway_blocks.{place}"
        yield from _pytorchvideo_layer(f"{stem}.conv", f"{stem}.norm", f"{pathway}.stem")
        for stage, block in _blocks():
            theirs = f"blocks.{stage + 1}.multipathway_blocks.{place}.res_blocks.{block}"
            ours = f"{pathway}.stages.{stage}.{block}"
            yield from _pytorchvideo_layer(f"{theirs}.branch1_conv", f"{theirs}.branch1_norm", f"{ours}.shortcut")
            for part in "abc":
                branch = f"{theirs}.branch2"
                yield from _pytorchvideo_layer(f"{branch}.conv_{part}", f"{branch}.norm_{part}", f"{ours}.{part}")
    for place in range(len(BLOCKS)):
        fusion = f"blocks.{place}.multipathway_fusion"
        yield from _pytorchvideo_layer(f"{fusion}.conv_fast_to_slow", f"{fusion}.norm", f"fusions.{place}")


def _pytorchvideo_layer(conv: str, norm: str, ours: str) -> Iterable[tuple[str, str]]:
    yield f"{conv}.weight", f"{ours}.conv.weight"
    for name in _NORM:
        yield f"{norm}.{name}", f"{ours}.norm.{name}"


def _blocks() -> Iterable[tuple[int, int]]:
    return ((stage, block) for stage, blocks in enumerate(BLOCKS) for block in range(blocks))
