"""Fixtures: tensors computed by the authors' code, and what is known of how they were computed."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import safetensors
import torch
from torch import Tensor, nn

from sadetr.disguise import SAFETENSORS, disguise
from sadetr.errors import DataError

GIVEN = ("input", "target", "weight")
"""First parts of the names of tensors that are given; all others are results, also those of names unknown here."""


@dataclass(frozen=True)
class Fixture:
    """One file. Names are dotted; the first part says what a tensor is."""

    path: Path
    meta: dict[str, Any]
    tensors: dict[str, Tensor]

    @property
    def subject(self) -> str:
        """Method or, for a file of a single loss or block, component."""
        return self.meta["case"] if self.meta["method"] == "components" else self.meta["method"]

    @property
    def results(self) -> dict[str, Tensor]:
        """Tensors that have to be reproduced."""
        return {name: value for name, value in self.tensors.items() if name.split(".")[0] not in GIVEN}

    @property
    def variants(self) -> list[str]:
        """``v0``, ``v1`` ... of the inputs; a file without variants has none."""
        numbers = {part[1:] for name in self.tensors for part in name.split(".")[1:2] if part.startswith("v")}
        return [f"v{number}" for number in sorted(map(int, filter(str.isdecimal, numbers)))]

    def __getitem__(self, name: str) -> Tensor:
        try:
            return self.tensors[name]
        except KeyError:
            raise DataError(
                f"{self.path}: no tensor {name!r}, which a fixture of {self.subject!r} needs; it is incomplete "
                "or of another kind"
            ) from None

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def group(self, prefix: str) -> dict[str, Tensor]:
        """Tensors ``prefix.x`` by ``x``."""
        start = prefix + "."
        return {name.removeprefix(start): value for name, value in self.tensors.items() if name.startswith(start)}

    def option(self, name: str) -> Any:
        """An option of the authors' code."""
        try:
            return self.meta["config"][name]
        except KeyError:
            raise DataError(f"{self.path}: its meta has no config {name!r}, which {self.subject!r} needs") from None

    def dimension(self, name: str) -> int:
        """A size that no tensor shows, such as the number of heads ``H``."""
        try:
            return self.meta["dims"][name]
        except KeyError:
            raise DataError(f"{self.path}: its meta has no dims {name!r}, which {self.subject!r} needs") from None

    def load(self, module: nn.Module, prefix: str, rename: Callable[[str], str] = str) -> dict[str, Tensor]:
        """Load the weights ``prefix.x`` and take over their precision.

        Args:
            module: ours.
            prefix: of the authors' names.
            rename: the rest of an authors' name -> name of the parameter in ``module``.

        Returns:
            The parameters under the rest of the authors' names.
        """
        weights = self.group(prefix)
        for value in weights.values():
            module.to(value.dtype)
        try:
            ours = {name: rename(name) for name in weights}
            module.load_state_dict({ours[name]: value for name, value in weights.items()})
        except (KeyError, RuntimeError) as error:
            raise DataError(f"{self.path}: its weights {prefix}.* are not those of {self.subject!r}: {error}") from None
        parameters = dict(module.named_parameters())
        return {name: parameters[ours[name]] for name in weights}

    def leaf(self, name: str) -> Tensor:
        """A tensor to differentiate with respect to."""
        return self[name].detach().clone().requires_grad_()

    def double(self) -> "Fixture":
        """The same numbers in float64."""
        tensors = {name: value.double() if value.is_floating_point() else value for name, value in self.tensors.items()}
        return replace(self, tensors=tensors)


def read_fixture(path: Path) -> Fixture:
    """Read a safetensors file whose metadata has one key ``meta``, a JSON text that names method and case.

    Raises:
        DataError: the file is missing or something else.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            described = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, safetensors.SafetensorError) as error:
        found = disguise(Path(path), SAFETENSORS) or f"not a readable safetensors file: {error}"
        raise DataError(f"{path}: {found}") from None
    try:
        meta = json.loads(described["meta"])
    except (KeyError, ValueError):
        raise DataError(f"{path}: no JSON under the key 'meta' of its metadata; not a parity fixture") from None
    if not isinstance(meta, dict) or not all(isinstance(meta.get(key), str) for key in ("method", "case")):
        raise DataError(f"{path}: its meta lacks 'method' or 'case'; not a parity fixture")
    return Fixture(Path(path), meta, tensors)


def gradients(value: Tensor, leaves: dict[str, Tensor]) -> dict[str, Tensor]:
    """d(value)/d(leaf) under the names of the leaves; zero where the value does not depend on a leaf."""
    if not value.requires_grad:
        return {name: torch.zeros_like(leaf) for name, leaf in leaves.items()}
    found = torch.autograd.grad(value, list(leaves.values()), retain_graph=True, materialize_grads=True)
    return dict(zip(leaves, found, strict=True))


def gradient_norms(value: Tensor, parameters: dict[str, Tensor]) -> dict[str, Tensor]:
    """L2 norm of d(value)/d(parameter) under the names of the parameters; 0 where there is no dependence."""
    return {name: gradient.norm() for name, gradient in gradients(value, parameters).items()}


def named(prefix: str, values: dict[str, Tensor]) -> dict[str, Tensor]:
    """``x`` -> ``prefix.x``."""
    return {f"{prefix}.{name}": value for name, value in values.items()}
