"""Checkpoints: safetensors files that appear whole or not at all."""

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor, nn

from sadetr.disguise import SAFETENSORS, disguise
from sadetr.errors import ResultsError
from sadetr.files import atomic_write_bytes

Weights = dict[str, Tensor]


@dataclass
class Chosen:
    """The best epoch of a selection rule: the first one with the highest value."""

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
    """Steps by the way that they went: plain, captured or compiled."""
    history: list[dict[str, Any]] = field(default_factory=list)
    weights: Weights = field(default_factory=dict)
    optimiser: Weights = field(default_factory=dict)
    chosen: dict[str, Chosen] = field(default_factory=dict)
    """Checkpoint -> the epoch that its selection rule prefers so far."""

    _VALUES = ("fingerprint", "epoch", "seconds", "steps", "history")

    def save(self, path: Path) -> None:
        """Write the state in one step."""
        parts = self._parts().items()
        tensors = {f"{part}.{name}": value for part, content in parts for name, value in content.items()}
        values = {name: getattr(self, name) for name in self._VALUES}
        chosen = {name: {"epoch": chosen.epoch, "value": chosen.value} for name, chosen in self.chosen.items()}
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
            state.chosen = {name: Chosen(**values) for name, values in json.loads(metadata["chosen"]).items()}
            parts = state._parts()
            for name, value in tensors.items():
                part, _, key = name.partition(".")
                parts[part][key] = value
        except (KeyError, TypeError, ValueError) as error:
            raise ResultsError(f"{path}: not a training state ({error})") from error
        return state

    def _parts(self) -> dict[str, Weights]:
        """The tensors by the prefix that they have in the file."""
        chosen = {f"chosen/{name}": chosen.weights for name, chosen in self.chosen.items()}
        return {"weights": self.weights, "optimiser": self.optimiser, **chosen}


def snapshot(module: nn.Module) -> Weights:
    """Copy of the weights on the CPU."""
    return {name: value.detach().cpu().clone() for name, value in module.state_dict().items()}


def optimiser_tensors(optimiser: torch.optim.Optimizer, module: nn.Module) -> Weights:
    """Optimiser state by parameter name: ``<parameter>/<quantity>``."""
    return {
        f"{name}/{key}": value.detach().cpu().clone()
        for name, parameter in module.named_parameters()
        for key, value in optimiser.state[parameter].items()
    }


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
    atomic_write_bytes(path, safetensors.torch.save(content, {"metadata": json.dumps(metadata, sort_keys=True)}))


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
