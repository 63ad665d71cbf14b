"""A stand-in for CUDA graphs on the CPU: operators are noted, and repeated on the tensors that they were called with.

As with a graph, what Python decided is kept, numbers are constants, results appear where they appeared before, and
recording changes nothing. Only random draws are new each time, as a graph's are.
"""

from contextlib import AbstractContextManager, nullcontext
from typing import Any

import torch
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves, tree_map_only

from sadetr.models.interface import Batch, Step
from sadetr.training.graphs import Replay
from sadetr.training.steps import Columns, PlainStep


class Tape(TorchDispatchMode):
    """Notes operators, and the memory from outside that they write to."""

    def __init__(self) -> None:
        super().__init__()
        self._calls: list[tuple[bool, Any, tuple[Any, ...], dict[str, Any], list[Tensor | None]]] = []
        self._made: set[int] = set()
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        for value in written(func, args, kwargs):
            self._keep(value)
        # Kept as they are now: Python may turn a tensor's dimensions round later, in place.
        given = tree_map_only(Tensor, Tensor.detach, (args, kwargs))
        found = func(*args, **kwargs)
        theirs = {place(each) for each in tensors(given)}
        # What is no view of an argument has memory of its own, into which replaying copies.
        results = [None if place(each) in theirs else each.detach() for each in tensors(found)]
        self._made |= {place(each) for each in results if each is not None}
        if torch.Tag.inplace_view not in func.tags:
            self._calls.append((torch.is_inference_mode_enabled(), func, *given, results))
        return found

    def restore(self) -> None:
        """What was written to is as before."""
        # In which tensors of either kind may be written to.
        with torch.inference_mode():
            for memory, content in self._before.values():
                memory.copy_(content)

    def replay(self) -> None:
        """All operators again. None of the tensors needs a gradient, but what LSTMs return depends on the mode."""
        for inference, func, args, kwargs, results in self._calls:
            # Without inference, gradients are enabled.
            with torch.inference_mode(inference):
                found = func(*args, **kwargs)
                for old, new in zip(results, [found] if isinstance(found, Tensor) else tensors(found), strict=True):
                    if old is not None:
                        old.copy_(new)

    def _keep(self, value: Tensor) -> None:
        key = place(value)
        if key not in self._made and key not in self._before:
            memory = torch.empty(0, dtype=torch.uint8).set_(value.untyped_storage())
            self._before[key] = (memory, memory.clone())


def tensors(values: Any) -> list[Tensor]:
    """All in a nest of containers."""
    return [each for each in tree_leaves(values) if isinstance(each, Tensor)]


def written(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> list[Tensor]:
    """Arguments that an operator writes to."""
    arguments = func._schema.arguments
    named = dict(zip((argument.name for argument in arguments), args, strict=False)) | kwargs
    names = [each.name for each in arguments if each.alias_info is not None and each.alias_info.is_write]
    return tensors([named[name] for name in names if name in named])


def place(value: Tensor) -> int:
    """Where its memory is."""
    return value.untyped_storage().data_ptr()


class TapeRecorder:
    """Records steps on tapes."""

    kind = "captured"

    def __init__(self, most: int = 64) -> None:
        self.most = most

    def running(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """Take the step, and take it back."""
        tape, random = Tape(), torch.get_rng_state()
        with tape:
            columns = plain.take(batch, step)
        tape.restore()
        torch.set_rng_state(random)

        def replay() -> Columns:
            tape.replay()
            return columns

        return replay
