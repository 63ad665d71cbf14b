"""Official checkpoints turned into ours, strictly: files of the authors, read without running code from them."""

import importlib
import pickle
import shlex
from pathlib import Path
from typing import Any

import safetensors.torch
import torch
from torch import Tensor

from sadetr.configuration import MethodSettings
from sadetr.disguise import SAFETENSORS, TORCH, disguise
from sadetr.errors import ResultsError, SettingsError
from sadetr.models.interface import Method
from sadetr.models.official import Given, Imported, Official, Tensors, import_weights
from sadetr.settings import Record

WRAPPERS = ("model", "model_state")
"""Keys under which checkpoints keep their network's state."""


def import_file(path: Path, method: MethodSettings) -> Imported:
    """Import an official checkpoint of ``method``.

    Raises:
        ResultsError: the file is unreadable or not a checkpoint of this method.
        SettingsError: the method has no official names.
    """
    official, tensors = load_official(method), read_official(path)
    try:
        network, _ = official_network(method, tensors)
        return import_weights(tensors, official, network.state_dict())
    except ResultsError as error:
        raise ResultsError(f"{path}: {error}") from None
    # Sizes are read off tensors of any shape, before a name or shape could be compared.
    except (ValueError, LookupError, TypeError, RuntimeError, ArithmeticError) as error:
        raise ResultsError(
            f"{path}: no network of this method has tensors of these names and shapes; check --method"
        ) from error


def load_official(method: MethodSettings) -> Official:
    """What the file of a method names under ``official``.

    Raises:
        SettingsError: it names nothing, or nothing of this kind.
    """
    if method.official is None:
        raise SettingsError(f"method {method.name!r} has no official names of tensors (key 'official' of its file)")
    try:
        return importlib.import_module(method.official).OFFICIAL
    except (ImportError, AttributeError) as error:
        raise SettingsError(
            f"method {method.name!r}: official: {method.official!r} has no OFFICIAL to import ({error})"
        ) from error


def official_network(method: MethodSettings, tensors: Tensors, given: Given | None = None) -> tuple[Method, Record]:
    """The network that the tensors belong to, and its settings.

    Args:
        method: of which the tensors are.
        tensors: a state of the authors' network.
        given: the fixture that they are from. Without one, settings that no tensor shows (heads, losses) are those
            under which the network has the right tensors.

    Raises:
        ResultsError: the tensors are not this method's.
        SettingsError: the fixture has an option that ours does not have.
    """
    official = load_official(method)
    values: dict[str, Any] = {}
    for setting, read in official.sizes.items():
        _put(values, setting, read(tensors))
    if given is not None:
        for name, value in official.fixed.items():
            if given.option(name) != value:
                raise SettingsError(f"{name} is {given.option(name)!r}; ours has only {value!r}")
        for setting, option in official.options.items():
            _put(values, setting, given.option(option) if isinstance(option, str) else option(given))
    settings = method.settings_type().model_validate(values)
    return method.network_type()(settings, official.shape(tensors, given)), settings


def _put(values: dict[str, Any], setting: str, value: Any) -> None:
    *outer, last = setting.split(".")
    for part in outer:
        values = values.setdefault(part, {})
    if value is not None:
        values[last] = value


def read_official(path: Path) -> dict[str, Tensor]:
    """Tensors of an official checkpoint: safetensors, or a state dict that torch loads without running code.

    A dictionary that holds the state under one of :data:`WRAPPERS` beside an optimiser's and the like is unwrapped.

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
    wrapped = [key for key in WRAPPERS if isinstance(content, dict) and key in content]
    state = content[wrapped[0]] if wrapped else content
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
