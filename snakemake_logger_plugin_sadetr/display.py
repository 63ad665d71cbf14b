"""Two ways to show the board: lines in a log, and a part of the terminal that changes below them."""

import atexit
import contextlib
import threading
import time
from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from sadetr.progress import duration
from snakemake_logger_plugin_sadetr.board import COMPARISON, Board, Job, read_verdict, status

PACE = 60.0
"""Seconds between two looks at what runs, in a log: a job is told of again when it is in another epoch."""
SILENCE = 600.0
"""Seconds after which it is told of in any case."""


def make_display(board: Board, stream: TextIO, colourless: bool, with_logs: bool) -> "Display":
    """What suits the stream: a terminal is one that can move its cursor."""
    # Asked of the stream itself: variables such as FORCE_COLOR make rich take a log for a terminal.
    console = Console(file=stream, force_terminal=stream.isatty(), no_color=colourless or None, highlight=False)
    if console.is_terminal and not console.is_dumb_terminal:
        return Screen(board, console, with_logs)
    return Lines(board, stream, with_logs)


class Display:
    """What both have in common: which line follows from which event. Safe to call from several threads."""

    def __init__(self, board: Board, with_logs: bool) -> None:
        self.board = board
        self._with_logs = with_logs
        self._lock = threading.RLock()
        atexit.register(self.close)

    def planned(self, stats: Mapping[str, int]) -> None:
        """Snakemake has counted what is to be done."""
        with self._lock:
            self.say(self.board.planned(stats))

    def started(self, record: Any) -> None:
        """A job starts."""
        job = Job.of(record)
        with self._lock:
            self.board.started(job)
            self._changed()
            if job.is_training:
                self._begun(job)

    def finished(self, number: int) -> None:
        """A job is done."""
        with self._lock:
            job = self.board.running.get(number)
            line = self.board.finished(number)
            self._changed()
            if line is not None:
                self.say(line)
            if job is not None and job.rule == COMPARISON:
                self._judged(job)

    def counted(self, done: int, total: int) -> None:
        """Snakemake has counted its steps."""
        with self._lock:
            self.board.counted(done, total)

    def failed(self, number: int, record: Any) -> None:
        """A job has failed."""
        with self._lock:
            job = self.board.running.get(number) or self.board.broken.get(number) or Job.of(record)
            lines = self.board.failed(number, job, self._with_logs)
            self._changed()
            self.say("\n".join(lines), "red")

    def _judged(self, job: Job) -> None:
        verdicts = [read_verdict(path) for path in job.outputs if path.suffix == ".csv"]
        for verdict in filter(None, verdicts):
            self.say(f"verdict on {verdict}")

    def say(self, text: str, style: str = "") -> None:
        """Add lines of ours that stay."""
        raise NotImplementedError

    def repeat(self, text: str) -> None:
        """Add Snakemake's own words as they are."""
        raise NotImplementedError

    def close(self) -> None:
        """Stop; nothing follows."""
        atexit.unregister(self.close)

    def _begun(self, job: Job) -> None:
        """A training starts."""

    def _changed(self) -> None:
        """Other jobs run than before."""


class Lines(Display):
    """Plain lines with the time of day; of a job that runs at most one a minute."""

    def __init__(self, board: Board, stream: TextIO, with_logs: bool) -> None:
        super().__init__(board, with_logs)
        self._stream = stream
        self._told: dict[int, tuple[str, float]] = {}
        self._closed = threading.Event()
        threading.Thread(target=self._beat, daemon=True).start()

    def say(self, text: str, style: str = "") -> None:
        """Write lines; the first has the time of day."""
        self.repeat(f"{time.strftime('%H:%M:%S')} {text}")

    def repeat(self, text: str) -> None:
        """Write lines."""
        with self._lock:
            self._stream.write(f"{text}\n")
            self._stream.flush()

    def close(self) -> None:
        """End the thread."""
        super().close()
        self._closed.set()

    def _begun(self, job: Job) -> None:
        self.say(f"{job.name}: started")

    def _beat(self) -> None:
        while not self._closed.wait(PACE):
            # Where nobody reads any more, the work goes on.
            with self._lock, contextlib.suppress(OSError):
                for job in self.board.running.values():
                    self._tell(job)

    def _tell(self, job: Job) -> None:
        now, parts = time.monotonic(), status(job)
        epoch, since = self._told.get(job.number, ("", job.since))
        if job.works and (parts[0] != epoch or now - since >= SILENCE):
            self._told[job.number] = (parts[0], now)
            self.say(f"{job.name}: {', '.join(filter(None, parts))}")


class Screen(Display):
    """Lines that stay, and below them what runs."""

    def __init__(self, board: Board, console: Console, with_logs: bool) -> None:
        super().__init__(board, with_logs)
        self._console = console
        self._live: Live | None = None

    def say(self, text: str, style: str = "") -> None:
        """Print above what changes."""
        with self._lock:
            self._console.print(Text(text, style=style), soft_wrap=True)

    def repeat(self, text: str) -> None:
        """Print above what changes."""
        self.say(text)

    def close(self) -> None:
        """Take away what changes."""
        super().close()
        with self._lock:
            self._stop()

    def _changed(self) -> None:
        jobs = [job for job in self.board.running.values() if job.works]
        # A job that writes to the terminal itself would write into what changes.
        if not jobs or any(job.speaks for job in jobs):
            self._stop()
        elif self._live is None:
            self._live = Live(get_renderable=self._render, console=self._console, refresh_per_second=2, transient=True)
            self._live.start()

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _render(self) -> Group:
        # Not waited for: whoever holds the lock may wait for the thread that draws.
        board, jobs = self.board, [job for job in list(self.board.running.values()) if job.works]
        counts = Table.grid(padding=(0, 1))
        left = board.left()
        texts = [f"{board.done}/{board.total} steps"]
        texts += [f"{board.trained}/{board.trainings} trainings"] if board.trainings else []
        texts += [f"about {duration(left)} of training left"] if left and left >= 1 else []
        texts += [f"{len(board.broken)} failed"] if board.broken else []
        counts.add_row(ProgressBar(max(board.total, 1), board.done, width=24), Text(", ".join(texts), style="bold"))
        running = Table.grid(padding=(0, 1), expand=True)
        running.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for _ in range(3):
            running.add_column(no_wrap=True, justify="right")
        for job in jobs:
            running.add_row(Text(f"  {job.subject if job.is_training else job.name}"), *map(Text, status(job)))
        verdict = board.verdict()
        shown = [Text(f"  last verdict: {verdict}", style="dim", overflow="ellipsis", no_wrap=True)] if verdict else []
        return Group(counts, running, *shown)
