"""Steps that are recorded once per shape of batches and repeated: captured as CUDA graphs, taped, or compiled.

A graph repeats what a step did to certain tensors. So batches are copied into tensors that stay where they are, as is
what a method drew for the step; the learning rate is a tensor; and what Python decided while the step was recorded is
part of the key under which it is found again. :mod:`sadetr.training.recorders` makes the recordings.
"""

from collections import Counter
from collections.abc import Callable, Hashable
from contextlib import AbstractContextManager
from dataclasses import fields, replace
from typing import Any, Protocol

from torch import Tensor

from sadetr.models.interface import Batch, Step
from sadetr.training.steps import Columns, PlainStep, StepKind

Replay = Callable[[], Columns]
NEW_LINE = "\n"
TIME = ("epoch", "epochs", "generator")
"""What a step says of where training is: Python decides by it, and a graph would keep the decision."""


class NotWorthwhileError(RuntimeError):
    """The plain way is as good for such steps."""


class Recorder(Protocol):
    """Makes something of a step that can be repeated."""

    kind: StepKind
    most: int
    """Recordings that are kept; further shapes go the plain way."""
    warming: int
    """Plain steps of a shape before one is recorded, at least 1."""

    def running(self) -> AbstractContextManager[object]:
        """What all steps run in, plain ones too."""

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """What takes the step again, with whatever ``batch`` and ``step.drawn`` then hold.

        Recording itself leaves weights, optimiser and generators as they are, and so does a failure.

        Raises:
            RuntimeError: this step cannot be recorded.
        """


class RecordedStep:
    """Updates that are repeated from recordings, one for each shape of batches.

    The first step of a shape is a plain one: it warms up whatever is made at first use (libraries, kernels, moments),
    and shows whether the method asks where training is. The next one is recorded, or a later one where shapes must
    first show that they come back. As all of them are steps of the training, warming up changes no result.
    """

    def __init__(self, plain: PlainStep, recorder: Recorder) -> None:
        self.kind = recorder.kind
        self.optimiser = plain.optimiser
        self.counts: Counter[str] = Counter()
        self._plain = plain
        self._recorder = recorder
        self._buffers = Buffers()
        self._recordings: dict[tuple[Hashable, Hashable], Recording] = {}
        self._warm: Counter[Hashable] = Counter()
        self._phase: Hashable = None
        self._closed = False

    @property
    def graphs(self) -> int:
        """Shapes that have been recorded."""
        return len(self._recordings)

    def __call__(self, batch: Batch, step: Step, diagnosis: dict[str, Any] | None = None) -> Columns:
        """One update; fills ``diagnosis`` if there is one, which needs a plain step."""
        shapes = shapes_of(batch, step)
        with self._recorder.running():
            recording = None if diagnosis is not None else self._recording(shapes, batch, step)
            if recording is not None:
                self.counts[self.kind] += 1
                return recording(batch, step)
            self.counts["plain"] += 1
            observed = ObservedStep(step.epoch, step.epochs, step.generator, step.drawn)
            columns = self._plain.take(batch, observed, diagnosis)
            if "generator" in observed.asked:
                self._refuse("the method draws from step.generator in `forward`; it may draw in `prepared` instead")
            else:
                self._warm[shapes, self._plain.model.phase(step) if observed.asked else None] += 1
            return columns

    def _recording(self, shapes: Hashable, batch: Batch, step: Step) -> "Recording | None":
        """The recording of such a step; made if another one was taken and there is room."""
        phase = self._plain.model.phase(step)
        if phase != self._phase:
            # Training does not come back to an earlier phase.
            self._recordings = {key: each for key, each in self._recordings.items() if key[1] is None}
            self._phase = phase
        # A step that asked for no time is the same at all times.
        for key in ((shapes, None), (shapes, phase)):
            warm = self._warm[key] >= self._recorder.warming
            if warm and key not in self._recordings and not self._closed:
                self._record(key, batch, step)
            if key in self._recordings:
                return self._recordings[key]
        return None

    def _record(self, key: tuple[Hashable, Hashable], batch: Batch, step: Step) -> None:
        if len(self._recordings) >= self._recorder.most:
            return
        self.optimiser.zero_grad(set_to_none=True)
        inputs, drawn = self._buffers.batch(batch), self._buffers.like("drawn", step.drawn)
        try:
            replay = self._recorder.record(self._plain, inputs, replace(step, drawn=drawn))
        except NotWorthwhileError as error:
            self._close(f"steps go the plain way: {error}")
        except RuntimeError as error:
            self._refuse(f"{type(error).__name__}: {str(error).strip().partition(NEW_LINE)[0]}")
        else:
            self._recordings[key] = Recording(inputs, drawn, replay)
        finally:
            # Gradients of a graph are memory that other graphs use too.
            self.optimiser.zero_grad(set_to_none=True)

    def _refuse(self, reason: str) -> None:
        self._close(f"warning: a step cannot be {self.kind}, so it goes the plain way: {reason}")

    def _close(self, line: str) -> None:
        """Record nothing more, and say why, once."""
        if not self._closed:
            print(line, flush=True)
        self._closed = True


class Recording:
    """A recorded step and the tensors that it reads."""

    def __init__(self, inputs: Batch, drawn: Tensor | None, replay: Replay) -> None:
        self._inputs = inputs
        self._drawn = drawn
        self._replay = replay

    def __call__(self, batch: Batch, step: Step) -> Columns:
        """Take the step with the numbers of ``batch`` and ``step.drawn``."""
        for part in fields(batch):
            getattr(self._inputs, part.name).copy_(getattr(batch, part.name), non_blocking=True)
        if self._drawn is not None:
            self._drawn.copy_(step.drawn, non_blocking=True)
        return self._replay()


class Buffers:
    """Tensors that stay where they are; one piece of memory per name holds all shapes, one at a time."""

    def __init__(self) -> None:
        self._memory: dict[Hashable, Tensor] = {}

    def like(self, name: str, value: Tensor | None) -> Tensor | None:
        """A tensor like ``value``. Where memory is too small, later ones share more, and earlier ones keep theirs."""
        if value is None:
            return None
        memory = self._memory.get((name, value.dtype))
        if memory is None or memory.numel() < value.numel():
            memory = self._memory[name, value.dtype] = value.new_empty(value.numel())
        return memory[: value.numel()].view(value.shape).copy_(value)

    def batch(self, batch: Batch) -> Batch:
        """A batch like ``batch``."""
        return Batch(**{part.name: self.like(part.name, getattr(batch, part.name)) for part in fields(batch)})


class ObservedStep(Step):
    """A step that knows what was read of it."""

    def __getattribute__(self, name: str) -> Any:
        if name in TIME:
            self.__dict__.setdefault("read", set()).add(name)
        return super().__getattribute__(name)

    @property
    def asked(self) -> frozenset[str]:
        """Which of :data:`TIME` were read."""
        return frozenset(self.__dict__.get("read", ()))


def shapes_of(batch: Batch, step: Step) -> Hashable:
    """What must be equal for a recorded step to fit."""
    values = [getattr(batch, part.name) for part in fields(batch)]
    values += [] if step.drawn is None else [step.drawn]
    return tuple((value.shape, value.dtype) for value in values)
