"""Small networks with random weights, in the files that the published ones come in."""

import gzip
import pickle
import warnings
from pathlib import Path

import torch
from torch import Tensor, nn

from sadetr.extraction.clip import ImageTower, TextTower
from sadetr.extraction.slowfast import SlowFast
from sadetr.extraction.weights import _caffe2_names

MERGES = ["t h", "th e</w>", "c a", "ca t</w>", "a n", "an d</w>", "i n", "in g</w>"]
"""Of a small vocabulary."""
VOCABULARY = 512 + len(MERGES) + 2
WIDTH, LAYERS, CONTEXT = 32, 2, 77


def randomise(network: nn.Module, seed: int = 0) -> nn.Module:
    """Random weights under which activations keep their size; batch norms with statistics of their own."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in network.state_dict().items():
        if name.endswith(("running_var", "norm.weight")) or ("ln_" in name and name.endswith("weight")):
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif value.is_floating_point():
            scale = value[0].numel() ** -0.5 if value.ndim > 1 else 0.1
            value.copy_(scale * torch.randn(value.shape, generator=generator))
    return network.eval().requires_grad_(False)


def image_tower(width: int = WIDTH, embedding: int = WIDTH, patch: int = 32) -> ImageTower:
    return randomise(ImageTower(width, LAYERS, patch, (224 // patch) ** 2, embedding), 1)


def text_tower(width: int = WIDTH, embedding: int = WIDTH, vocabulary: int = VOCABULARY) -> TextTower:
    return randomise(TextTower(vocabulary, CONTEXT, width, LAYERS, embedding), 2)


def slowfast(width: int = 8) -> SlowFast:
    return randomise(SlowFast(width), 3)


def clip_tensors() -> dict[str, Tensor]:
    """Both towers by OpenAI's names, and what else its file holds."""
    image = {f"visual.{name}": value for name, value in image_tower().state_dict().items()}
    return {**image, **text_tower().state_dict(), "logit_scale": torch.tensor(4.6), "context_length": torch.tensor(77)}


class Node(nn.Module):
    """A module that only holds tensors, some in modules below."""

    def __init__(self, tensors: dict[str, Tensor]):
        super().__init__()
        below: dict[str, dict[str, Tensor]] = {}
        for name, value in tensors.items():
            first, _, rest = name.partition(".")
            if rest:
                below.setdefault(first, {})[rest] = value
            elif value.is_floating_point():
                self.register_parameter(first, nn.Parameter(value, requires_grad=False))
            else:
                self.register_buffer(first, value)
        for name, inner in below.items():
            self.add_module(name, Node(inner))

    def forward(self, x: Tensor) -> Tensor:
        return x


def write_clip(path: Path, tensors: dict[str, Tensor] | None = None) -> Path:
    """A TorchScript archive in half precision, as OpenAI's."""
    node = Node({name: value.half() for name, value in (tensors or clip_tensors()).items()})
    with warnings.catch_warnings():
        # The format is frozen; that nothing new should be written in it does not matter.
        warnings.simplefilter("ignore", DeprecationWarning)
        torch.jit.save(torch.jit.trace(node, torch.zeros(1), check_trace=False), str(path))
    return path


def caffe2_blobs(network: SlowFast) -> dict:
    state = network.state_dict()
    blobs = {theirs: state[ours].numpy() for theirs, ours in _caffe2_names() if ours in state}
    return {
        "blobs": {**blobs, "conv1_w_momentum": blobs["conv1_w"], "lr": blobs["conv1_w"][0, 0, 0, 0, :1], "note": ""}
    }


def write_slowfast(path: Path, network: SlowFast | None = None) -> Path:
    """A pickle of Caffe2's blobs."""
    path.write_bytes(pickle.dumps(caffe2_blobs(network or slowfast()), protocol=2))
    return path


def write_vocabulary(path: Path) -> Path:
    """A small vocabulary in the published form."""
    path.write_bytes(gzip.compress("\n".join(["#version: 0.2", *MERGES, ""]).encode()))
    return path
