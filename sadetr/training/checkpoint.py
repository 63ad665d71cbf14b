"""Checkpoints: safetensors files that appear whole or not at all."""

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Self

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sadetr.disguise import SAFETENSORS, disguise
from sadetr.errors import ResultsError
from sadetr.files import atomic_path, synchronise

Weights = dict[str, Tensor]


@dataclass
class Chosen:
    """The best epoch of a selection rule: the first one with the highest value.

    Several rules, and the last epoch, may have the same weights: one dictionary, of which there is one copy.
    """

    epoch: int
    value: float
    weights: Weights = field(default_factory=dict)


@dataclass
class TrainingState:
    """Everything that a training needs to go on after ``epoch`` finished epochs; random streams derive from it."""

    fingerprint: str
    """Says which code, settings and features it is of: a state of another training is not continued."""
    epoch: int = 0
    seconds: float = 0.0
    steps: dict[str, int] = field(default_factory=dict)
    """Steps by the way that they went: plain, taped, captured or compiled."""
    history: list[dict[str, Any]] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    optimiser: Weights = field(default_factory=dict)
    chosen: dict[str, Chosen] = field(default_factory=dict)
    """Checkpoint -> the epoch that its selection rule prefers so far."""

    _VALUES = ("fingerprint", "epoch", "seconds", "steps", "history")

    def save(self, path: Path) -> None:
        """Write the state in one step."""
        # By identity: what several have in common is written once, under the name of the first.
        parts = self._parts()
        shared = {id(content): part for part, content in reversed(parts.items())}
        tensors = {
            f"{part}.{name}": value
            for part, content in parts.items()
            if shared[id(content)] == part
            for name, value in content.items()
        }
        values = {name: getattr(self, name) for name in self._VALUES}
        chosen = {
            name: {"epoch": chosen.epoch, "value": chosen.value, "weights": shared[id(chosen.weights)]}
            for name, chosen in self.chosen.items()
        }
        write_tensors(path, tensors, {"state": json.dumps(values), "chosen": json.dumps(chosen)})

    @classmethod
    def load(cls, path: Path) -> "TrainingState":
        """Read a state.

        Raises:
            ResultsError: the file is not a training state.
        """
        tensors, metadata = read_tensors(path)
        try:
            state = cls(**json.loads(metadata["state"]))
            chosen = json.loads(metadata["chosen"])
            state.chosen = {name: Chosen(values["epoch"], values["value"]) for name, values in chosen.items()}
            parts = state._parts()
            for name, value in tensors.items():
                part, _, key = name.partition(".")
                parts[part][key] = value
            for name, values in chosen.items():
                state.chosen[name].weights = parts[values["weights"]]
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{path}: not a training state ({error})") from error
        return state

    def frozen(self) -> Self:
        """The state as it is now, whatever the training does to its own; tensors are replaced and never written to."""
        return replace(self, history=[*self.history], chosen=dict(self.chosen))

    def _parts(self) -> dict[str, Weights]:
        """The tensors by the prefix that they have in the file."""
        chosen = {f"chosen/{name}": chosen.weights for name, chosen in self.chosen.items()}
        return {"weights": self.weights, "optimiser": self.optimiser, **chosen}


def snapshot(module: nn.Module) -> Weights:
    """Copy of the weights on the CPU."""
    return _copied(module.state_dict())


def optimiser_tensors(optimiser: torch.optim.Optimizer, module: nn.Module) -> Weights:
    """Optimiser state by parameter name: ``<parameter>/<quantity>``."""
    return _copied(
        {
            f"{name}/{key}": value
            for name, parameter in module.named_parameters()
            for key, value in optimiser.state[parameter].items()
        }
    )


def _copied(tensors: Mapping[str, Tensor]) -> Weights:
    """Copies on the CPU, whole when this returns; a GPU sends all of them to pinned memory before it is waited for."""
    copies = {}
    for name, value in tensors.items():
        copy = torch.empty_like(value, device="cpu", requires_grad=False, pin_memory=value.is_cuda)
        copies[name] = copy.copy_(value.detach(), non_blocking=True)
    if any(value.is_cuda for value in tensors.values()):
        torch.cuda.synchronize()
    return copies


def restore_optimiser(optimiser: torch.optim.Optimizer, module: nn.Module, tensors: Weights) -> None:
    """Inverse of :func:`optimiser_tensors`."""
    parameters = dict(module.named_parameters())
    for name, value in tensors.items():
        parameter, _, key = name.rpartition("/")
        target = parameters[parameter]
        # Step counters stay where a fresh optimiser keeps them; moments live beside their parameter.
        optimiser.state[target][key] = value.to(target.device)


def write_tensors(path: Path, tensors: Weights, metadata: dict[str, str]) -> None:
    """Write a safetensors file in one step."""
    content = {name: value.contiguous() for name, value in tensors.items()}
    # One entry, as the format does not keep the order of several: equal content, equal bytes.
    entry = {"metadata": json.dumps(metadata, sort_keys=True)}
    with atomic_path(path) as temporary, _folder_beside(path) as folder:
        # The tensors go from where they are to the file. The library may write to a name of its own in its folder, and
        # gives the file a mode of its own.
        written = Path(folder) / path.name
        temporary.touch()
        try:
            safetensors.torch.save_file(content, written, entry)
        except safetensors.SafetensorError as error:
            raise OSError(str(error)) from error
        written.chmod(temporary.stat().st_mode)
        synchronise(written)
        os.replace(written, temporary)


def _folder_beside(path: Path) -> tempfile.TemporaryDirectory[str]:
    return tempfile.TemporaryDirectory(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)


def read_tensors(path: Path) -> tuple[Weights, dict[str, str]]:
    """Read a safetensors file and its metadata.

    Raises:
        ResultsError: missing, truncated or not a safetensors file.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            return tensors, json.loads((file.metadata() or {}).get("metadata", "{}"))
    except (OSError, safetensors.SafetensorError) as error:
        found = disguise(Path(path), SAFETENSORS) or f"cannot be read as a checkpoint ({error})"
        raise ResultsError(f"{path}: {found}") from error


def digest(weights: Weights) -> str:
    """SHA-256 of all weights: equal digests are equal bits."""
    sha = hashlib.sha256()
    for name in sorted(weights):
        sha.update(name.encode())
        sha.update(weights[name].contiguous().view(torch.uint8).numpy().tobytes())
    return sha.hexdigest()
