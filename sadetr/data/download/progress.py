"""Progress of a transfer: a bar on a terminal, a line per tenth in a log; both on standard error."""

import sys
from typing import Self

from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.progress import Progress as Bar


class Progress:
    """Bytes of one file; a context manager."""

    def __init__(self, name: str, total: int | None) -> None:
        self._name = name
        self._total = total
        self._done = 0
        self._tenths = 0
        console = Console(stderr=True)
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        self._bar = Bar(*columns, TimeRemainingColumn(), console=console) if console.is_terminal else None
        self._task = self._bar.add_task(name, total=total) if self._bar else None

    def __enter__(self) -> Self:
        if self._bar:
            self._bar.start()
        return self

    def __exit__(self, *exception: object) -> None:
        if self._bar:
            self._bar.stop()

    def start(self, done: int, total: int | None) -> None:
        """A request was answered: the transfer stands at ``done`` of ``total`` bytes."""
        self._done, self._total = done, total
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=done, total=total)

    def advance(self, count: int) -> None:
        """``count`` more bytes are there."""
        self._done += count
        if self._bar and self._task is not None:
            self._bar.update(self._task, completed=self._done)
        elif self._total and (tenths := 10 * self._done // self._total) > self._tenths:
            self._tenths = tenths
            print(f"{self._name}: {self._done:,} of {self._total:,} bytes", file=sys.stderr, flush=True)
