"""Parts of a training: which one is running, how long each took, what it computed and moved."""

import contextlib
import functools
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import torch
from torch.profiler import record_function
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from torch.utils.flop_counter import flop_registry


@dataclass
class Total:
    """What one part took, of all its calls together."""

    calls: int = 0
    seconds: float = 0.0
    flops: int = 0
    """Of matrix products and convolutions, without those of the parts in it."""
    moved: int = 0
    """Bytes that operators read and wrote, likewise: as if nothing stayed in a cache."""


class Parts:
    """A tree of named parts. Threads other than the one that made it have trees of their own, beside its root."""

    def __init__(self, device: torch.device) -> None:
        self.totals: dict[str, Total] = {}
        """Path (``training/step/backward``) -> totals."""
        self.tracing = False
        """Whether parts become ranges of a torch.profiler trace."""
        self._local = threading.local()
        self._main: list[str] = self._stack()
        self._wait: Callable[[], Any] = torch.cuda.synchronize if device.type == "cuda" else lambda: None

    @property
    def path(self) -> str:
        """The innermost part that runs in the main thread: backward of a GPU runs beside it, on behalf of it."""
        return "/".join(self._main)

    @property
    def names(self) -> tuple[str, ...]:
        """The parts that run in this thread, the outermost first."""
        return tuple(self._stack())

    def forget(self) -> None:
        """Start all totals anew."""
        self.totals = {}

    @contextlib.contextmanager
    def part(self, name: str) -> Iterator[None]:
        """Whatever runs inside belongs to the part ``name`` of the part that is running. A GPU is waited for."""
        stack = self._stack()
        stack.append(name)
        total = self.totals.setdefault("/".join(stack), Total())
        with record_function(name) if self.tracing else contextlib.nullcontext():
            self._wait()
            started = time.perf_counter()
            try:
                yield
            finally:
                self._wait()
                total.seconds += time.perf_counter() - started
                total.calls += 1
                stack.pop()

    def wrapped(self, function: Callable[..., Any], name: str) -> Callable[..., Any]:
        """The function, every call of which is the part ``name``; calls of each other under one name are one part."""

        @functools.wraps(function)
        def call(*args: Any, **kwargs: Any) -> Any:
            if self.names[-1:] == (name,):
                return function(*args, **kwargs)
            with self.part(name):
                return function(*args, **kwargs)

        return call

    def _stack(self) -> list[str]:
        if not hasattr(self._local, "stack"):
            self._local.stack = []
        return self._local.stack


class OperatorCounter(TorchDispatchMode):
    """Adds operations and bytes of every operator to the part that is running."""

    def __init__(self, parts: Parts) -> None:
        super().__init__()
        self._parts = parts

    def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Call the operator, then count."""
        kwargs = kwargs or {}
        result = function(*args, **kwargs)
        total = self._parts.totals.setdefault(self._parts.path, Total())
        packet = function._overloadpacket
        if packet in flop_registry:
            total.flops += flop_registry[packet](*args, **kwargs, out_val=result)
        if not _is_view(function):
            tensors = [leaf for leaf in tree_leaves((args, kwargs, result)) if isinstance(leaf, torch.Tensor)]
            total.moved += sum(tensor.numel() * tensor.element_size() for tensor in tensors)
        return result


def _is_view(function: Any) -> bool:
    """Whether an operator returns another look at its input and moves nothing."""
    aliases = [returned.alias_info for returned in function._schema.returns]
    return any(alias is not None and not alias.is_write for alias in aliases)
