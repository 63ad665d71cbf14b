"""Looking into a network from outside: what its modules are called with, while a context is open."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from typing import Any

from torch import nn


@contextmanager
def recorded_calls(root: nn.Module, names: Iterable[str]) -> Iterator[dict[str, list[tuple[Any, ...]]]]:
    """Yield a mapping that fills with the positional arguments of every call of the submodules ``names`` of ``root``.

    The network computes what it computes without it: arguments are kept, not copied or changed, and the hooks are gone
    when the context ends. A module of the network that is called in place, on a value of interest (a dropout, say),
    makes that value visible.

    Raises:
        AttributeError: ``root`` has no such submodule.
    """
    calls: dict[str, list[tuple[Any, ...]]] = {name: [] for name in names}
    handles = []
    try:
        for name, found in calls.items():
            module = root.get_submodule(name)
            handles.append(module.register_forward_pre_hook(lambda _, arguments, found=found: found.append(arguments)))
        yield calls
    finally:
        for handle in handles:
            handle.remove()
