"""Which adapter computes a fixture: the module of the same name."""

import importlib
import pkgutil
from types import ModuleType

from sadetr.errors import DataError
from sadetr.parity import adapters
from sadetr.parity.fixture import Fixture


def adapter_names() -> list[str]:
    """Components and methods that can be computed."""
    return sorted(module.name for module in pkgutil.iter_modules(adapters.__path__))


def find_adapter(fixture: Fixture) -> ModuleType:
    """Import the adapter of a fixture's component or method."""
    known = adapter_names()
    if fixture.subject not in known:
        raise DataError(
            f"{fixture.path}: no adapter computes {fixture.subject!r}; there are {', '.join(known)}. "
            "Add sadetr/parity/adapters/<name>.py (docs/parity.md)"
        )
    return importlib.import_module(f"{adapters.__name__}.{fixture.subject}")
