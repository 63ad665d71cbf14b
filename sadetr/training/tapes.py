"""Steps on tapes: the operators of a step, noted once per shape of batches and repeated on a processor.

A narrow network's step is thousands of operators on few numbers, and most of its time goes into finding out again, in
Python and in autograd, which ones. A tape calls the same operators on the same numbers, so bits are those of plain
steps; it has no views to make, no graph to build, and memory that it need not ask for.
"""

import gc
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch._ops import OpOverload
from torch.utils._python_dispatch import TorchDispatchMode

from sadetr.models.interface import Batch, Step
from sadetr.training.arena import Lifetime, placed
from sadetr.training.graphs import NotWorthwhileError, Replay
from sadetr.training.steps import Columns, PlainStep, StepKind

LARGEST = 256 << 20
"""Bytes of all that the operators of a taped step make. Beyond, time goes into numbers, and a tape's memory counts."""
EMPTY = frozenset({"empty", "empty_like", "empty_permuted", "empty_strided", "new_empty", "new_empty_strided"})
"""Operators that make memory with nothing in it."""
CONTAINERS = (list, tuple)
HOLDING = (Tensor, list, tuple, dict)
"""Types of what tensors may be in."""
INDEXING = frozenset({"index", "_unsafe_index"})
"""Operators whose results have as many numbers as there are indices, or as an index that is a mask is true at."""
MASKS = (torch.bool, torch.uint8)


class Parameter(NamedTuple):
    """Of an operator."""

    number: int
    name: str

    def of(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """What is given for it; None without."""
        return args[self.number] if self.number < len(args) else kwargs.get(self.name)


class Kind(NamedTuple):
    """What counts of an operator while steps are noted."""

    reads: bool
    """Numbers, for Python or the shape of its result."""
    indexes: bool
    """Whether it reads them where an index is a mask."""
    view: bool
    """Whether it returns what it is given, seen in another way."""
    written: list[Parameter]
    """What it writes to."""


@cache
def kind_of(operator: OpOverload) -> Kind:
    """That of an operator, by its schema."""
    parameters = [
        (Parameter(number, each.name), each.alias_info) for number, each in enumerate(operator._schema.arguments)
    ]
    written = [parameter for parameter, alias in parameters if alias is not None and alias.is_write]
    tags, indexes = operator.tags, name_of(operator) in INDEXING
    reads = torch.Tag.data_dependent_output in tags or (torch.Tag.dynamic_output_shape in tags and not indexes)
    return Kind(reads, indexes, operator.is_view or torch.Tag.inplace_view in tags, written)


class Call(NamedTuple):
    """An operator and what it was called with."""

    operator: OpOverload
    arguments: tuple[Any, ...]
    keywords: dict[str, Any]
    given: set[int]
    """Places of all that it was called with."""
    written: set[int]
    """Of those that it wrote to."""
    results: list[Tensor]
    made: set[int]
    """Places of results that lie in none of these."""


class Tape(TorchDispatchMode):
    """Notes operators, and what was in the memory from outside that they write to."""

    def __init__(self) -> None:
        super().__init__()
        self.calls: list[Call] = []
        self.made: dict[int, int] = {}
        """Bytes of all that was made, by place."""
        self._bytes = 0
        self._before: dict[int, tuple[Tensor, Tensor]] = {}

    def __torch_dispatch__(
        self, func: OpOverload, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs, kind = kwargs or {}, kind_of(func)
        if kind.reads or (kind.indexes and any(each.dtype in MASKS for each in tensors(args[1]))):
            raise RuntimeError(f"{func} reads numbers, by which Python, or the shape of its result, is decided")
        if kind.view:
            found = func(*args, **kwargs)
            # Views stay what they are, as memory stays where it is. Some, a reshaping say, are copies at times.
            if all(place(each) == place(args[0]) for each in tensors(found)):
                return found
        given: set[int] = set()

        def kept(value: Tensor) -> Tensor:
            # As it is now: Python may turn a tensor's dimensions round later, in place.
            given.add(place(value))
            return value.detach()

        arguments, keywords = mapped((args, kwargs), kept)
        written = {place(value): value for parameter in kind.written for value in tensors(parameter.of(args, kwargs))}
        self._keep(written)
        found = func(*args, **kwargs)
        results = [each.detach() for each in tensors(found)]
        made = {place(each): each.untyped_storage().nbytes() for each in results}
        made = {key: size for key, size in made.items() if size and key not in given}
        self.made |= made
        self._bytes += sum(made.values())
        if self._bytes > LARGEST:
            raise NotWorthwhileError(f"the operators of one make more than {LARGEST >> 20} MiB")
        if made or written:
            self.calls.append(Call(func, arguments, keywords, given, set(written), results, set(made)))
        return found

    def restore(self) -> None:
        """What was written to is as before."""
        for memory, before in self._before.values():
            memory.copy_(before)

    def contents(self) -> list[Tensor]:
        """Copies of what was written to, as it is now."""
        return [memory.clone() for memory, _ in self._before.values()]

    def _keep(self, written: dict[int, Tensor]) -> None:
        for key, value in written.items():
            if key not in self.made and key not in self._before:
                memory = torch.empty(0, dtype=torch.uint8).set_(value.untyped_storage())
                self._before[key] = (memory, memory.clone())


class Tapes:
    """Records steps on tapes. One runs at a time, so that all share one block of memory, the last one that sufficed."""

    kind: StepKind = "taped"
    most = 64
    # Noting a step takes as long as half a dozen plain ones, and some shapes come back rarely.
    warming = 8

    def __init__(self) -> None:
        self._block = torch.empty(0, dtype=torch.uint8)

    def running(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """Take the step, and take it back; likewise what was noted of it, which must have done the same.

        Raises:
            RuntimeError: operators do something else when they are called again.
        """
        tape, random = Tape(), torch.get_rng_state()
        collecting = gc.isenabled()
        # Thousands of new objects would have it look through all that the process has, again and again.
        gc.disable()
        try:
            with tape:
                columns = plain.take(batch, step)
            expected = [columns.values, torch.get_rng_state(), *tape.contents()]
            tape.restore()
            torch.set_rng_state(random)
            replay = self._replay(tape, columns)
            if not _same_bytes(expected, [replay().values, torch.get_rng_state(), *tape.contents()]):
                raise RuntimeError("its operators, called again, give other numbers")
        finally:
            tape.restore()
            torch.set_rng_state(random)
            if collecting:
                gc.enable()
        return replay

    def _replay(self, tape: Tape, columns: Columns) -> Replay:
        calls, constant = varying(tape.calls)
        move = self._mover(lifetimes(calls, tape.made, constant, place(columns.values)))
        operators = [repeatable(call, move) for call in calls]
        found = Columns(columns.names, move(columns.values))

        def replay() -> Columns:
            # None of these tensors needs a gradient, of which autograd would make sure each time.
            with torch.inference_mode():
                for operator in operators:
                    operator()
            return found

        return replay

    def _mover(self, needed: dict[int, Lifetime]) -> Callable[[Tensor], Tensor]:
        """What gives tensors whose places are ``needed`` memory of the block; others keep theirs."""
        offsets, total = placed(list(needed.values()))
        if total > len(self._block):
            self._block = torch.empty(total, dtype=torch.uint8)
        block, moved = self._block.untyped_storage(), dict(zip(needed, offsets, strict=True))

        def move(value: Tensor) -> Tensor:
            offset = moved.get(place(value))
            if offset is None:
                return value
            first = offset // value.itemsize + value.storage_offset()
            return torch.empty(0, dtype=value.dtype).set_(block, first, value.shape, value.stride())

        return move


def varying(calls: Sequence[Call]) -> tuple[list[Call], set[int]]:
    """The calls without those that make nothing new, and the places of what is the same in every step."""
    rewritten = {key for call in calls for key in call.written}
    constant: set[int] = set()
    found = []
    for call in calls:
        if name_of(call.operator) in EMPTY:
            continue
        drawn = torch.Tag.nondeterministic_seeded in call.operator.tags
        if drawn or call.written or call.made & rewritten or not call.given <= constant:
            found.append(call)
        else:
            constant |= call.made
    return found, constant


def lifetimes(calls: Sequence[Call], made: dict[int, int], constant: set[int], result: int) -> dict[int, Lifetime]:
    """When memory that is ``made`` (place -> bytes) and not ``constant`` is needed; the ``result`` is, to the end."""
    needed: dict[int, list[int]] = {}
    for number, call in enumerate(calls):
        for key in call.given | call.made:
            needed.setdefault(key, [number, number])[1] = number
    needed[result][1] = len(calls)
    return {key: Lifetime(made[key], *span) for key, span in needed.items() if key in made and key not in constant}


def _same_bytes(first: Sequence[Tensor], second: Sequence[Tensor]) -> bool:
    pairs = zip(first, second, strict=True)
    return all(torch.equal(one.view(torch.uint8), other.view(torch.uint8)) for one, other in pairs)


def repeatable(call: Call, move: Callable[[Tensor], Tensor]) -> Callable[[], object]:
    """What calls the operator again, on tensors that were moved, with the results where they are expected."""
    operator, results, made = call.operator, call.results, call.made
    arguments, keywords, targets = mapped((call.arguments, call.keywords, results), move)
    if not made:
        return partial(operator, *arguments, **keywords)
    writing = writing_form(operator)
    # An operator may leave results out.
    whole = writing is not None and len(writing.names) == len(targets)
    if whole and all(place(each) in made for each in results):
        return partial(writing.operator, *arguments, **keywords, **dict(zip(writing.names, targets, strict=True)))
    fresh = [(number, target) for number, target in enumerate(targets) if place(results[number]) in made]

    def again() -> None:
        # As in training, by which some decide what they return: an LSTM, for its backward pass.
        with torch.inference_mode(False):
            found = tensors(operator(*arguments, **keywords))
        for number, target in fresh:
            target.copy_(found[number])

    return again


class WritingForm(NamedTuple):
    """The overload of an operator that writes its results into tensors that it is given."""

    operator: OpOverload
    names: list[str]
    """Of the arguments for them."""


@cache
def writing_form(operator: OpOverload) -> WritingForm | None:
    """That of an operator, if it has one; a list of results counts as none."""
    packet = getattr(getattr(torch.ops, operator.namespace), name_of(operator))
    expected = [(each.name, str(each.type)) for each in operator._schema.arguments]
    results = [str(each.type) for each in operator._schema.returns]
    for overload in packet.overloads():
        other = getattr(packet, overload)
        outs = [each for each in other._schema.arguments if each.is_out]
        rest = [(each.name, str(each.type)) for each in other._schema.arguments if not each.is_out]
        # Not those that torch makes for operators without one: they copy.
        if torch.Tag.generated not in other.tags and rest == expected and results == ["Tensor"] * len(outs):
            return WritingForm(other, [each.name for each in outs])
    return None


def name_of(operator: OpOverload) -> str:
    """Without namespace and overload."""
    return operator._schema.name.partition("::")[2]


def mapped(values: Any, function: Callable[[Tensor], Tensor]) -> Any:
    """A nest of containers with ``function`` of its tensors; torch's own way is many times slower."""
    if isinstance(values, Tensor):
        return function(values)
    if isinstance(values, CONTAINERS):
        return type(values)([mapped(each, function) if isinstance(each, HOLDING) else each for each in values])
    if isinstance(values, dict):
        return {name: mapped(each, function) for name, each in values.items()} if values else values
    return values


def tensors(values: Any) -> list[Tensor]:
    """All in a nest of containers."""
    if isinstance(values, Tensor):
        return [values]
    found: list[Tensor] = []
    mapped(values, lambda value: found.append(value) or value)
    return found


def place(value: Tensor) -> int:
    """Where its memory is."""
    return value.untyped_storage().data_ptr()
