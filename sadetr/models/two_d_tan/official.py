"""What 2D-TAN's authors call everything (microsoft/VideoX, folder 2D-TAN)."""

import re
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from sadetr.errors import SettingsError
from sadetr.models.interface import Batch
from sadetr.models.official import Given, Official, Tensors, Values, depth, one_moment_batch, size
from sadetr.models.two_d_tan.model import TwoDTANOutput, overlap_loss
from sadetr.models.two_d_tan.settings import TwoDTANSettings
from sadetr.nn.spans import cw_to_se, se_to_cw
from sadetr.shapes import TEMPORAL_FEATURES, FeatureShape

CANDIDATES = {"SparsePropMaxPool": "pooled", "SparsePropConv": "convolved"}
"""Their module -> our setting."""
MODULES = {"FRAME_MODULE": "FrameAvgPool", "FUSION_MODULE": "BaseFusion", "MAP_MODULE": "MapConv"}
"""Their modules that ours has only one form of."""


def option(given: Given, *path: str) -> Any:
    """An option below ``TAN``, checked to describe a network that ours can be.

    Raises:
        SettingsError: it does not.
    """
    options = given.option("TAN")
    _check(options)
    for name in path:
        options = options[name]
    return options


def _check(options: Any) -> None:
    frames, maps = (options[name]["PARAMS"] for name in ("FRAME_MODULE", "MAP_MODULE"))
    layers = len(maps["KERNEL_SIZES"])
    padding = sum(kernel // 2 for kernel in maps["KERNEL_SIZES"])
    demanded = {
        **{f"{name}.NAME": (options[name]["NAME"], value) for name, value in MODULES.items()},
        "FRAME_MODULE.PARAMS.STRIDE": (frames["STRIDE"], frames["KERNEL_SIZE"]),
        "MAP_MODULE.PARAMS.KERNEL_SIZES": (maps["KERNEL_SIZES"], maps["KERNEL_SIZES"][:1] * layers),
        "MAP_MODULE.PARAMS.HIDDEN_SIZES": (maps["HIDDEN_SIZES"], [maps["INPUT_SIZE"]] * layers),
        "MAP_MODULE.PARAMS.STRIDES": (maps["STRIDES"], [1] * layers),
        "MAP_MODULE.PARAMS.DILATIONS": (maps["DILATIONS"], [1] * layers),
        "MAP_MODULE.PARAMS.PADDINGS": (maps["PADDINGS"], [padding] + [0] * (layers - 1)),
    }
    for name, (found, wanted) in demanded.items():
        if found != wanted:
            raise SettingsError(f"TAN.{name} is {found!r}; ours has only {wanted!r}")


def candidates(given: Given) -> str:
    """Our name of how their candidates are made."""
    name = option(given, "PROP_MODULE", "NAME")
    if name not in CANDIDATES:
        raise SettingsError(f"TAN.PROP_MODULE.NAME is {name!r}; ours has {', '.join(map(repr, CANDIDATES))}")
    return CANDIDATES[name]


def targets(name: str) -> Callable[[Given], float]:
    """A reader of one number of their loss."""

    def read(given: Given) -> float:
        loss = given.option("LOSS")
        if loss["NAME"] != "bce_rescale_loss":
            raise SettingsError(f"LOSS.NAME is {loss['NAME']!r}; ours has only 'bce_rescale_loss'")
        return loss["PARAMS"][name]

    return read


def positions(given: Given) -> int:
    """Side of the map."""
    return given["input.visual_input"].shape[1] // option(given, "FRAME_MODULE", "PARAMS", "KERNEL_SIZE")


def convolved_scales(tensors: Tensors) -> Sequence[int] | None:
    """Lengths per scale where tensors show them, which pooling does not."""
    found = [re.fullmatch(r"prop_layer\.layers\.(\d+)\.\d+\.weight", name) for name in tensors]
    scales = [int(match[1]) for match in found if match]
    return [scales.count(scale) for scale in range(max(scales) + 1)] if scales else None


def text_layers(tensors: Tensors) -> int:
    """Layers of their recurrent network, of which each has a number behind its names' ``l``."""
    return sum(re.fullmatch(r"fusion_layer\.textual_encoder\.weight_ih_l\d+", name) is not None for name in tensors)


def is_bidirectional(tensors: Tensors) -> bool:
    """Whether there are weights of the other direction."""
    return any(name.endswith("_reverse") for name in tensors)


def feature_shape(tensors: Tensors, _: Given | None) -> FeatureShape:
    """Widths from the tensors; nothing depends on the clip length."""
    video, text = (
        size(name, 1)(tensors) for name in ("frame_layer.vis_conv.weight", "fusion_layer.textual_encoder.weight_ih_l0")
    )
    return FeatureShape(video + TEMPORAL_FEATURES, text, 1.0)


def batch(given: Given) -> Batch:
    """Inputs and targets: every video is as long as the positions, and has no temporal endpoint features."""
    video, text = given["input.visual_input"], given["input.textual_input"]
    cells = given["target.span_clips"]
    ends = (cells + cells.new_tensor([0, 1])).to(video.dtype) / positions(given)
    whole = torch.ones(video.shape[:2], dtype=torch.bool)
    return one_moment_batch(video, whole, text, given["input.textual_mask"].squeeze(-1).bool(), se_to_cw(ends))


def outputs(output: TwoDTANOutput, batch: Batch, settings: TwoDTANSettings) -> Values:
    """Maps of scores before and behind the sigmoid, 0 where there is no candidate, and where there is one."""
    first, behind = (cw_to_se(output.spans[0]) * settings.positions).round().long().unbind(1)

    def as_map(values: Tensor) -> Tensor:
        found = values.new_zeros(len(values), 1, settings.positions, settings.positions)
        found[:, 0, first, behind - 1] = values
        return found

    maps = {"scores": output.logits, "joint_prob": output.scores, "map_mask": torch.ones_like(output.logits)}
    return {name: as_map(values) for name, values in maps.items()}


OFFICIAL = Official(
    rules={
        "frame_layer.vis_conv.*": "clip_projection.*",
        "prop_layer.layers.*.*.*": "candidates.layers.*.*.*",
        "fusion_layer.textual_encoder.*": "words.*",
        "fusion_layer.tex_linear.*": "sentence_projection.*",
        "fusion_layer.vis_conv.*": "candidate_projection.*",
        "map_layer.convs.*.*": "map.*.convolution.*",
        "pred_layer.*": "score_head.*",
    },
    unused={},
    sizes={
        "hidden_width": size("frame_layer.vis_conv.weight", 0),
        "sentence_width": size("fusion_layer.tex_linear.weight", 1),
        "text_layers": text_layers,
        "bidirectional": is_bidirectional,
        "map_layers": depth("map_layer.convs.*.weight"),
        "map_kernel": size("map_layer.convs.0.weight", 2),
        "scales": convolved_scales,
        "candidates": lambda tensors: "convolved" if convolved_scales(tensors) else None,
    },
    shape=feature_shape,
    options={
        "sampled_clips": lambda given: given["input.visual_input"].shape[1],
        "positions": positions,
        "scales": lambda given: option(given, "PROP_MODULE", "PARAMS", "NUM_SCALE_LAYERS"),
        "candidates": candidates,
        "bidirectional": lambda given: option(given, "FUSION_MODULE", "PARAMS", "LSTM", "BIDIRECTIONAL"),
        "loss.lowest_iou": targets("MIN_IOU"),
        "loss.highest_iou": targets("MAX_IOU"),
        "loss.bias": targets("BIAS"),
    },
    fixed={},
    batch=batch,
    outputs=outputs,
    losses=lambda *given: {"loss.bce": overlap_loss(*given)},
    uncompared={},
)
