"""Writes the resumable state of a training while its next epoch goes on."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from sadetr.training.checkpoint import TrainingState


class BackgroundSaver:
    """A thread that writes states to one file: in their order, one at a time, each in one step.

    A context, which is left when the last state has been written. What goes wrong with one state is raised where the
    next one is handed over, or at the end.
    """

    def __init__(self, path: Path, saved: Callable[[TrainingState], None]) -> None:
        """``saved`` is called with every state that lies at ``path``, in the thread that wrote it."""
        self._path = path
        self._saved = saved
        self._executor = ThreadPoolExecutor(1, thread_name_prefix="saving")
        self._pending: Future[None] | None = None

    def save(self, state: TrainingState) -> None:
        """Have ``state`` written, once the one before it is.

        Raises:
            ResultsError: the one before it could not be written.
        """
        self._wait()
        self._pending = self._executor.submit(self._write, state.frozen())

    def _write(self, state: TrainingState) -> None:
        state.save(self._path)
        self._saved(state)

    def _wait(self) -> None:
        pending, self._pending = self._pending, None
        if pending is not None:
            pending.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._wait()
        except Exception as failure:
            if error is None:
                raise
            # The training ends with its own error; which state is left should be known all the same.
            print(f"saving the last state failed: {type(failure).__name__}: {failure}", flush=True)
        finally:
            self._executor.shutdown()
