"""Who computes a fixture: for a component the adapter of its name, for a method what its file names as official."""

import importlib
import pkgutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

from sadetr.configuration import load_method
from sadetr.errors import DataError
from sadetr.layering import named_files
from sadetr.models.official import Values
from sadetr.models.weights import load_official
from sadetr.parity import adapters, methods
from sadetr.parity.fixture import Fixture


@dataclass(frozen=True)
class Computation:
    """How a fixture is recomputed."""

    compute: Callable[[Fixture], Values]
    """Our values under the fixture's names."""
    uncompared: Mapping[str, str]
    """Pattern of results that are not ours to reproduce -> why."""


def component_names() -> list[str]:
    """Components that can be computed."""
    return sorted(module.name for module in pkgutil.iter_modules(adapters.__path__))


def method_names() -> list[str]:
    """Methods that can be computed, those of extensions included."""
    return [name for name in named_files("methods") if load_method(name).official is not None]


def find_computation(fixture: Fixture) -> Computation:
    """How the component or method of a fixture is computed.

    Raises:
        DataError: nobody computes it.
        SettingsError: the method's official names cannot be imported.
    """
    subject = fixture.subject
    if subject in component_names():
        adapter = importlib.import_module(f"{adapters.__name__}.{subject}")
        return Computation(adapter.compute, getattr(adapter, "UNCOMPARED", {}))
    if subject in method_names():
        method = load_method(subject)
        return Computation(partial(methods.compute, method=method), load_official(method).uncompared)
    known = [*component_names(), *method_names()]
    raise DataError(
        f"{fixture.path}: no adapter computes {subject!r}; there are {', '.join(known)}. Add a component as "
        "sadetr/parity/adapters/<name>.py, a method by the key 'official' of its file (docs/parity.md)"
    )
