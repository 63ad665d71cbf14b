"""Official checkpoints turned into ours: rename rules as data, applied strictly.

A method that has them lies beside a module ``weights`` with ``MAPPING`` and ``architecture``.
"""

import fnmatch
import pickle
import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sadetr.disguise import SAFETENSORS, TORCH, disguise
from sadetr.errors import ResultsError

Rules = Mapping[str, str]
"""Official name -> our name; ``*`` stands for one part of the name, the same on both sides."""

# The building blocks that DETR's descendants share, below the names that they have on either side.
LINEAR = {"weight": "weight", "bias": "bias"}
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


def below(official: str, ours: str, rules: Rules) -> dict[str, str]:
    """``rules`` with both sides prefixed."""
    return {f"{official}.{name}": f"{ours}.{target}" for name, target in rules.items()}


def perceptron(official: str, ours: str, layers: int) -> dict[str, str]:
    """An official MLP, whose list has no activations, as ours, whose sequence has."""
    return {f"{official}.layers.{index}.*": f"{ours}.{2 * index}.*" for index in range(layers)}


ENCODER_LAYER = below("self_attn", "attention", ATTENTION) | FEEDFORWARD | {"norm1.*": "norm1.*", "norm2.*": "norm2.*"}
DETECTION = {
    **below("input_vid_proj", "video_projection", PROJECTION),
    **below("input_txt_proj", "text_projection", PROJECTION),
    "txt_position_embed.position_embeddings.weight": "token_positions.table.weight",
    "txt_position_embed.LayerNorm.*": "token_positions.norm.*",
    **below("transformer.encoder.layers.*", "encoder.*", ENCODER_LAYER),
    "transformer.decoder.norm.*": "decoder.norm.*",
    "class_embed.*": "label_head.*",
    **perceptron("span_embed", "span_head", 3),
}
"""What Moment-DETR and its descendants have in common."""
DETECTION_UNUSED = {"txt_position_embed.*": "learned token positions are off, as in every published run"}


@dataclass(frozen=True)
class WeightMapping:
    """How the tensors of one method's official checkpoint become ours."""

    rules: Rules
    unused: Mapping[str, str] = field(default_factory=dict)
    """Pattern of official names that ours has no use for -> why. A rule whose target our model has goes first."""


@dataclass(frozen=True)
class Imported:
    """An imported checkpoint."""

    weights: dict[str, Tensor]
    """By our names."""
    sources: dict[str, str]
    """Our name -> official name."""
    unused: dict[str, str]
    """Official name -> why it is unused."""


def import_file(path: Path, weights: ModuleType) -> Imported:
    """Import an official checkpoint with the module ``weights`` of its method.

    Raises:
        ResultsError: the file is unreadable or not a checkpoint of this method.
    """
    tensors = read_official(path)
    try:
        return import_weights(tensors, weights.MAPPING, weights.architecture(tensors).state_dict())
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    # Sizes are read off tensors of any shape, before a name or shape could be compared.
    except (ValueError, LookupError, TypeError, RuntimeError, ArithmeticError) as error:
        raise ResultsError(
            f"{path}: no network of this method has tensors of these names and shapes; check --method"
        ) from error


def import_weights(tensors: Mapping[str, Tensor], mapping: WeightMapping, expected: Mapping[str, Tensor]) -> Imported:
    """Rename every tensor, or say why it is unused.

    Args:
        tensors: by official name.
        mapping: of the method.
        expected: our model's state, of which only names and shapes are read.

    Raises:
        ResultsError: a tensor is unknown, missing, or of another shape than ours.
    """
    weights: dict[str, Tensor] = {}
    sources: dict[str, str] = {}
    unused: dict[str, str] = {}
    for name, tensor in tensors.items():
        target = renamed(name, mapping.rules)
        reason = next((why for pattern, why in mapping.unused.items() if fnmatch.fnmatchcase(name, pattern)), None)
        if target in expected:
            if tensor.shape != expected[target].shape:
                raise ResultsError(
                    f"tensor {name!r} has shape {list(tensor.shape)}, ours ({target!r}) has "
                    f"{list(expected[target].shape)}: the checkpoint is of another architecture"
                )
            weights[target], sources[target] = tensor, name
        elif reason is not None:
            unused[name] = reason
        else:
            raise ResultsError(f"tensor {name!r} is unknown: the checkpoint is not one of this method")
    missing = [name for name in expected if name not in weights]
    if missing:
        raise ResultsError(f"the checkpoint has no tensor for {', '.join(map(repr, missing))}: it is incomplete")
    return Imported(weights, sources, unused)


def renamed(name: str, rules: Rules) -> str | None:
    """Our name of an official one by the first rule that fits; None where none does."""
    for pattern, target in rules.items():
        found = re.fullmatch(re.escape(pattern).replace(r"\*", r"([^.]+)"), name)
        if found:
            parts = iter(found.groups())
            return re.sub(r"\*", lambda _: next(parts), target)  # noqa: B023
    return None


def depth(tensors: Mapping[str, Tensor], pattern: str) -> int:
    """How many parts stand for the first ``*`` of ``pattern`` among the official names."""
    expression = re.escape(pattern).replace(r"\*", r"([^.]+)", 1).replace(r"\*", ".*")
    return len({found[1] for name in tensors if (found := re.fullmatch(expression, name))})


def shape(tensors: Mapping[str, Tensor], name: str) -> Sequence[int]:
    """Shape of an official tensor.

    Raises:
        ResultsError: there is none of this name.
    """
    if name not in tensors:
        raise ResultsError(f"no tensor {name!r}: the checkpoint is not one of this method")
    return tensors[name].shape


def detection_architecture(tensors: Mapping[str, Tensor]) -> tuple[dict[str, Any], int, int]:
    """What the tensors say of a DETR-style network: settings, d_v and d_t.

    The number of heads shows in none of them and is 1 here.
    """
    feedforward, width = shape(tensors, "transformer.encoder.layers.0.linear1.weight")
    settings = {
        "num_heads": 1,
        "hidden_width": width,
        "feedforward_width": feedforward,
        "projection_blocks": depth(tensors, "input_vid_proj.*.LayerNorm.weight"),
        "encoder_layers": depth(tensors, "transformer.encoder.layers.*.norm1.weight"),
        "decoder_layers": depth(tensors, "transformer.decoder.layers.*.norm1.weight"),
        "num_moment_queries": shape(tensors, "query_embed.weight")[0],
    }
    widths = [shape(tensors, f"input_{name}_proj.0.LayerNorm.weight")[0] for name in ("vid", "txt")]
    return settings, widths[0], widths[1]


def read_official(path: Path) -> dict[str, Tensor]:
    """Tensors of an official checkpoint: safetensors, or a state dict that torch loads without running code.

    A dictionary that holds the state under ``model`` beside an optimiser's and the like is unwrapped.

    Raises:
        ResultsError: unreadable, or it holds more than tensors and plain data.
    """
    try:
        if path.suffix == ".safetensors":
            content = safetensors.torch.load_file(path)
        else:
            content = torch.load(path, map_location="cpu", weights_only=True)
    # A malformed pickle makes torch raise whatever its bytes lead to.
    except Exception as error:
        if found := disguise(path, SAFETENSORS if path.suffix == ".safetensors" else TORCH):
            raise ResultsError(f"{path}: {found}") from error
        foreign = isinstance(error, pickle.UnpicklingError) and "GLOBAL" in str(error)
        # Torch's own text advises to unpickle the file after all.
        what = error.strerror if isinstance(error, OSError) and error.strerror else type(error).__name__
        unreadable = f"{path}: cannot be read as a checkpoint ({what}); correct the path or download the file again"
        raise ResultsError(_refusal(path) if foreign else unreadable) from error
    state = content.get("model", content) if isinstance(content, dict) else content
    named = isinstance(state, dict) and all(isinstance(name, str) for name in state)
    if not named or not all(isinstance(value, Tensor) for value in state.values()):
        raise ResultsError(f"{path}: holds no state dict (names and tensors), neither itself nor under 'model'")
    broken = [name for name, value in state.items() if not value.isfinite().all()]
    if broken:
        raise ResultsError(f"{path}: tensor {broken[0]!r} holds NaN or infinity; download the file again")
    return {name.removeprefix("module."): value for name, value in state.items()}


def _refusal(path: Path) -> str:
    """Why ``path`` is refused, with lines for a Python prompt or script that export its tensors.

    They run with any torch: before 1.13 ``torch.load`` takes no ``weights_only``, from 2.6 on it needs it. What they
    write holds tensors alone, which is all that is read here.
    """
    exported = path.with_name(f"{path.stem}.tensors.pt")
    return (
        f"{path}: holds Python objects beside tensors, which are never unpickled here. If you trust the file, run "
        "these lines of Python in the environment of the official code, whatever its version of torch:\n\n"
        "import inspect, torch\n"
        "old = 'weights_only' not in inspect.signature(torch.load).parameters\n"
        f"content = torch.load({str(path)!r}, map_location='cpu', **({{}} if old else {{'weights_only': False}}))\n"
        "state = content['model'] if 'model' in content else content\n"
        "tensors = {name: value.detach().cpu().clone() for name, value in state.items()}\n"
        f"torch.save({{'model': tensors}}, {str(exported)!r})\n\n"
        f"Then import what they write: python -m sadetr import-weights {shlex.quote(str(exported))} --method METHOD"
    )
