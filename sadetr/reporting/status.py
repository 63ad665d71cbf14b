"""How far the runs of a scale are, from what lies in their folders. Free of torch."""

import json
import platform
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq
from rich.console import Console
from rich.table import Table
from rich.text import Text

from sadetr import progress
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, experiment_names, load_experiment, run_settings
from sadetr.layout import Layout, RunFolder
from sadetr.progress import Progress, duration
from sadetr.settings import RunSettings, Selection

State = Literal["done", "running", "interrupted", "failed", "waiting"]
STYLES = {"done": "green", "running": "bold cyan", "interrupted": "yellow", "failed": "bold red", "waiting": "dim"}
PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""
QUIET = 3
"""A training on another machine counts as running for so many times an epoch after its last sign of life ..."""
PATIENCE = 600.0
"""... and at least so many seconds."""


@dataclass(frozen=True)
class RunStatus:
    """How far one run is."""

    run: RunId
    state: State
    epoch: int | None
    """Finished epochs; None where it is not known, for a run that has begun."""
    epochs: int
    metric: str
    """What its best epoch is selected by, with the split."""
    best: float | None
    """Highest value of it so far, in percent."""
    left: float | None
    """Seconds of training left; None where unknown."""
    seconds: float | None
    """That the finished epochs took."""
    device: str
    log: Path | None
    """Of a failed run: where the reason stands."""


def runs_of(layout: Layout) -> list[RunId]:
    """The runs that the target ``all`` needs, then others whose folder is there."""
    experiments = [load_experiment(name, layout.scale) for name in experiment_names()]
    wanted = [run for experiment in experiments if experiment.part_of_all for run in experiment.runs]
    return list(dict.fromkeys([*wanted, *runs_there(layout)]))


def runs_there(layout: Layout) -> list[RunId]:
    """Runs that have a folder, finished or not, by name."""
    root, found = layout.folder / "runs", []
    for folder in root.glob("*/*/*/seed*"):
        try:
            found.append(RunId.parse(str(folder.relative_to(root))))
        except SettingsError:
            # Somebody's copy, seed2018.old say.
            continue
    return sorted(found)


def status_of(run: RunId, layout: Layout) -> RunStatus:
    """Look at one run.

    Raises:
        SettingsError: its folder's name is of no known setting, method or variant.
    """
    folder, settings = layout.run(run), run_settings(run, layout.scale.reference)
    if (provenance := _provenance(folder)) is not None:
        return _done(run, folder, settings, provenance)
    reached, log = progress.read(folder.path), layout.folder / "logs" / "train" / f"{run.folder}.log"
    state = _state(folder, reached, log)
    epoch = reached.epoch if reached else 0 if state in ("waiting", "running") else None
    return RunStatus(
        run=run,
        state=state,
        epoch=epoch,
        epochs=reached.epochs if reached else settings.training.epochs,
        metric=reached.metric if reached else settings.dataset.selection.title,
        best=reached.best if reached else None,
        # Whoever does not train comes no nearer to the end.
        left=reached.left(None if state == "running" else reached.time) if reached else None,
        seconds=reached.seconds if reached else None,
        device=_place(reached) if reached else "",
        log=log if state == "failed" else None,
    )


def _done(run: RunId, folder: RunFolder, settings: RunSettings, provenance: dict[str, Any]) -> RunStatus:
    rule, epochs = settings.dataset.selection, provenance["epochs"]["last"]
    return RunStatus(
        run=run,
        state="done",
        epoch=epochs,
        epochs=epochs,
        metric=rule.title,
        best=_best(folder.history, rule, provenance["epochs"]["best"]),
        left=0.0,
        seconds=provenance["train_seconds"],
        device=provenance["device"],
        log=None,
    )


def _provenance(folder: RunFolder) -> dict[str, Any] | None:
    try:
        return json.loads(folder.provenance.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


def _state(folder: RunFolder, reached: Progress | None, log: Path) -> State:
    if progress.is_alive(folder.path) or (reached is not None and _is_elsewhere(reached)):
        return "running"
    if _failure(log):
        return "failed"
    return "interrupted" if reached is not None or folder.state.exists() else "waiting"


def _is_elsewhere(reached: Progress) -> bool:
    """Whether another machine, whose lock cannot be seen, has given a sign of life lately."""
    silence = time.time() - reached.time
    mean = reached.seconds / reached.epoch if reached.epoch else 0.0
    return reached.machine != platform.node() and silence < max(PATIENCE, QUIET * mean)


def _failure(log: Path) -> bool:
    """Whether a log ends with an error, and not with the end of a process that somebody stopped."""
    try:
        lines = [line for line in log.read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    except OSError:
        return False
    traceback = any(line.startswith("Traceback (most recent call last)") for line in lines)
    return (
        bool(lines) and not lines[-1].startswith("KeyboardInterrupt") and (traceback or lines[-1].startswith("error: "))
    )


def _best(history: Path, rule: Selection, epoch: int) -> float | None:
    """Value of a selection rule in an epoch, from 1; None where it cannot be read."""
    try:
        with pq.ParquetFile(history) as file:
            table = file.read([f"{rule.split}/{metric}" for metric in rule.metrics])
        values = [column[epoch - 1].as_py() for column in table.columns]
        return sum(values) / len(rule.metrics)
    except (OSError, pa.ArrowException, IndexError, TypeError):
        return None


def _place(reached: Progress) -> str:
    return reached.device if reached.machine == platform.node() else f"{reached.device} on {reached.machine}"


def total(statuses: Sequence[RunStatus]) -> str:
    """One line over all runs, with the time left at the present number of trainings at once."""
    counts = Counter(status.state for status in statuses)
    states = ", ".join(f"{counts[state]} {state}" for state in STYLES if counts[state])
    left = time_left(statuses)
    abreast = max(1, counts["running"])
    if left is None:
        return f"{len(statuses)} runs: {states}; how long the rest takes is not known yet"
    rest = f"; about {duration(left)} of training left, {abreast} at a time" if left else ""
    return f"{len(statuses)} runs: {states}{rest}"


def time_left(statuses: Sequence[RunStatus]) -> float | None:
    """Seconds until all runs are trained, as many at once as now; None where no run says how long one takes.

    A run of which nothing is known counts as the mean of its setting and method, or else of all.
    """
    rates = [(status, status.seconds / status.epoch) for status in statuses if status.seconds and status.epoch]
    total = 0.0
    for status in statuses:
        left = status.left
        if left is None:
            kin = [rate for other, rate in rates if (other.run.setting, other.run.method) == _kind(status)]
            known = kin or [rate for _, rate in rates]
            if not known:
                return None
            left = (status.epochs - (status.epoch or 0)) * sum(known) / len(known)
        total += left
    return total / max(1, sum(status.state == "running" for status in statuses))


def _kind(status: RunStatus) -> tuple[str, str]:
    return status.run.setting, status.run.method


def as_json(statuses: Sequence[RunStatus]) -> list[dict[str, Any]]:
    """Plain data: times in seconds, metrics in percent."""
    return [asdict(each) | {"run": str(each.run), "log": each.log and str(each.log)} for each in statuses]


def print_status(statuses: Sequence[RunStatus], layout: Layout, console: Console | None = None) -> None:
    """A table per benchmark setting, the logs of failed runs, and the total."""
    console = console or Console(highlight=False)
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH, highlight=False)
    console.print(Text(f"{layout.folder}: {layout.scale.label}" if layout.scale.label else str(layout.folder)))
    for setting in dict.fromkeys(status.run.setting for status in statuses):
        console.print(_table([status for status in statuses if status.run.setting == setting]))
    for status in statuses:
        if status.log is not None:
            console.print(Text(f"failed: {status.run}: {status.log}", style=STYLES["failed"]), soft_wrap=True)
    console.print(Text(total(statuses), style="bold"))


def _table(statuses: Sequence[RunStatus]) -> Table:
    table = Table(box=None, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(statuses[0].run.setting, no_wrap=True, overflow="ellipsis")
    for name in ("state", "epoch", statuses[0].metric, "left"):
        table.add_column(name, justify="left" if name == "state" else "right", min_width=5)
    table.add_column("device", overflow="fold", max_width=28)
    for status in statuses:
        table.add_row(*_cells(status))
    return table


def _cells(status: RunStatus) -> Iterator[Text]:
    yield Text(str(status.run).removeprefix(f"{status.run.setting}/"))
    yield Text(status.state, style=STYLES[status.state])
    yield Text(f"{'?' if status.epoch is None else status.epoch}/{status.epochs}")
    yield Text("" if status.best is None else f"{status.best:.2f}")
    yield Text(duration(status.left) if status.left else "")
    yield Text(status.device)
