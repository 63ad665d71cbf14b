"""What has been done, what runs and what failed, as text. Knows nothing of terminals."""

import csv
import time
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr import progress
from sadetr.progress import Progress, duration

TRAINING = "train"
"""Rule whose jobs are counted as trainings."""
COMPARISON = "comparison"
"""Rule that writes the verdicts."""
PROVENANCE = "provenance.json"
"""Output of a training that lies in its run folder."""
SHOWN_LINES = 20
"""Of the log of a job that failed."""


@dataclass(frozen=True)
class Job:
    """A job that has started."""

    number: int
    rule: str
    subject: str
    """Values of its wildcards: of a training, its run."""
    outputs: tuple[Path, ...]
    logs: tuple[Path, ...]
    works: bool
    """Whether it has a command; a mere target has none."""
    since: float
    """Seconds of the monotonic clock."""

    @classmethod
    def of(cls, record: Any) -> "Job":
        """The job of a record of Snakemake's."""
        return cls(
            number=record.jobid,
            rule=record.rule_name,
            subject=" ".join(map(str, record.wildcards.values())),
            outputs=tuple(map(Path, record.output)),
            logs=tuple(map(Path, record.log)),
            works=bool(record.shellcmd),
            since=time.monotonic(),
        )

    @property
    def name(self) -> str:
        """Rule and subject."""
        return f"{self.rule} {self.subject}".rstrip()

    @property
    def is_training(self) -> bool:
        """Whether it trains."""
        return self.rule == TRAINING

    @property
    def speaks(self) -> bool:
        """Whether it writes to the terminal itself, having no log."""
        return self.works and not self.logs

    def progress(self) -> Progress | None:
        """How far its training is; None for other jobs, and while nothing is known."""
        folders = [path.parent for path in self.outputs if path.name == PROVENANCE]
        return progress.read(folders[0]) if self.is_training and folders else None


class Board:
    """Counts of one call of Snakemake."""

    def __init__(self) -> None:
        self.running: dict[int, Job] = {}
        self.broken: dict[int, Job] = {}
        """Jobs that failed."""
        self.done = 0
        self.total = 0
        self.trainings = 0
        """To be done, those that are done included."""
        self.trained = 0
        self._durations: list[float] = []
        self._abreast = 1

    def planned(self, stats: Mapping[str, int]) -> str:
        """Take over Snakemake's count of jobs per rule."""
        self.trainings, self.total = stats.get(TRAINING, 0), stats.get("total", 0)
        trainings = f", {_plural(self.trainings, 'training')} among them" if self.trainings else ""
        return f"{_plural(self.total, 'step')} to do{trainings}"

    def started(self, job: Job) -> None:
        """A job has started, perhaps once more after it failed."""
        self.broken.pop(job.number, None)
        self.running[job.number] = job
        self._abreast = max(self._abreast, sum(each.is_training for each in self.running.values()))

    def counted(self, done: int, total: int) -> None:
        """Take over Snakemake's count of steps, which changes when prepared data turn out to be what they were."""
        self.done, self.total = done, total

    def finished(self, number: int) -> str | None:
        """One line on a job that is done; None where it was not seen to start."""
        job = self.running.pop(number, None)
        self.done += 1
        if job is None:
            return None
        if not job.works:
            return f"{self._counter} {job.name}: done"
        took = time.monotonic() - job.since
        line = f"{self._counter} {job.name}: done in {duration(took)}"
        if not job.is_training:
            return line
        self.trained += 1
        self._durations.append(took)
        left = self.left()
        rest = f", about {duration(left)} of training left" if left and left >= 1 else ""
        return f"{line}; {self.trained} of {_plural(max(self.trained, self.trainings), 'training')}{rest}"

    def failed(self, number: int, job: Job, with_log: bool) -> list[str]:
        """Lines on a job that failed; one line where it is known already, as Snakemake repeats them at the end."""
        self.running.pop(number, None)
        where = ", ".join(map(str, job.logs)) or "it has no log, its output stands above"
        if number in self.broken:
            return [f"failed: {job.name}: {where}"]
        self.broken[number] = job
        lines = [f"Error in rule {job.rule}: {job.subject}".rstrip(": "), f"    log: {where}"]
        for log in job.logs if with_log else ():
            lines += [f"    | {line}" for line in last_lines(log)]
        return lines

    @property
    def _counter(self) -> str:
        total = str(max(self.total, self.done))
        return f"[{self.done:>{len(total)}}/{total}]"

    def left(self) -> float | None:
        """Seconds of training left: what runs, and what waits at the mean of what is done; None where unknown."""
        running = [job for job in list(self.running.values()) if job.is_training]
        lefts = [(job, reached.left()) for job in running if (reached := job.progress())]
        known = [(time.monotonic() - job.since, left) for job, left in lefts if left is not None]
        lengths = self._durations or [elapsed + left for elapsed, left in known]
        if not lengths:
            return None
        mean = sum(lengths) / len(lengths)
        failed = sum(job.is_training for job in self.broken.values())
        waiting = max(0, self.trainings - self.trained - failed - len(running))
        unknown = len(running) - len(known)
        return (sum(left for _, left in known) + (waiting + unknown) * mean) / self._abreast

    def verdict(self) -> str | None:
        """The last verdict: counts of ``comparison.csv`` in the results that these jobs belong to."""
        logs = [log for job in (*list(self.running.values()), *self.broken.values()) for log in job.logs]
        folders = [parent.parent for log in logs for parent in log.parents if parent.name == "logs"]
        return read_verdict(folders[0] / "comparison.csv") if folders else None


def status(job: Job) -> tuple[str, str, str]:
    """How far a job is: epoch, time left, best metric; empty where unknown."""
    reached = job.progress()
    if reached is None:
        return "", f"{duration(time.monotonic() - job.since)} so far", ""
    best = "" if reached.best is None else f"{reached.metric} {reached.best:.2f}"
    if reached.epoch == reached.epochs:
        return f"{reached.epochs} epochs", "predicting", best
    left = reached.left()
    return f"epoch {reached.epoch + 1}/{reached.epochs}", "" if left is None else f"{duration(left)} left", best


def read_verdict(path: Path) -> str | None:
    """Cells per verdict of a comparison; None where there is none to read."""
    try:
        with open(path, encoding="utf-8", newline="") as file:
            verdicts = [row["verdict"] for row in csv.DictReader(file)]
    except (OSError, ValueError, KeyError):
        return None
    counts = ", ".join(f"{count} {verdict}" for verdict, count in Counter(verdicts).items())
    return f"{_plural(len(verdicts), 'cell')}: {counts}" if verdicts else None


def last_lines(log: Path) -> list[str]:
    """The end of a log, without what a terminal would overwrite; says so where there is nothing to read."""
    try:
        with open(log, encoding="utf-8", errors="replace") as file:
            lines = deque((line.rstrip() for line in file), SHOWN_LINES)
    except OSError as error:
        return [f"({error.strerror})"]
    return list(lines) or ["(empty)"]


def _plural(count: int, what: str) -> str:
    return f"{count} {what}{'' if count == 1 else 's'}"
