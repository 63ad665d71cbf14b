"""What ``explain`` prints about a row or a run: tables on a terminal, plain columns in a pipe. Free of torch."""

import shlex
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from sadetr.differences import differences, full_model
from sadetr.experiments import RunId, run_settings
from sadetr.inspection.runs import MetricLine, Use, row_metrics, run_metrics, uses_of
from sadetr.layout import Layout
from sadetr.reporting.run_state import RunState, state_of
from sadetr.reporting.scores import ScaleResults, Score

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table

WIDTH = 200
"""Columns of plain output: long enough for every line, so that a pipe gets one line per row."""


def make_console() -> "Console":
    """Standard output; without a terminal it neither wraps nor colours."""
    from rich.console import Console

    console = Console(highlight=False)
    return console if console.is_terminal else Console(highlight=False, width=WIDTH)


def make_table(console: "Console", *columns: str, left: int = 1) -> "Table":
    """An empty table whose first ``left`` columns are words and whose others are numbers."""
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(box=SIMPLE if console.is_terminal else None, padding=(0, 2, 0, 0))
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index < left else "right", overflow="fold")
    return table


def explain_row(use: Use, layout: Layout) -> None:
    """Print a row of a table or figure: its runs, settings and metrics.

    Raises:
        ResultsError: a run's files are unreadable.
    """
    console = make_console()
    experiment, row = use.experiment, use.row
    labels = " ".join(f"{column}={value or '-'}" for column, value in row.labels.items())
    console.print(f"{experiment.name}, row {row.key} ({labels}): {experiment.title}", markup=False)
    if layout.scale.label:
        console.print(layout.scale.label, style="bold")
    if row.rescored is not None:
        console.print(f"published predictions: {row.rescored.name}.jsonl", markup=False)
    if not row.runs:
        console.print("no run of ours: the row shows published numbers alone")
    results = ScaleResults(layout.results, layout.scale, layout.given_data_root)
    for run in row.runs[:1]:
        _print_settings(console, run, layout)
        others = [each for each in uses_of(run, layout.scale.reference) if _name(each) != _name(use)]
        _print_uses(console, "also fills", others)
    _print_runs(console, row.runs, results, layout)
    _print_metrics(console, row_metrics(use, results, _checkpoints(use, layout)), row.checkpoint)


def explain_run(run: RunId, layout: Layout) -> None:
    """Print one run: settings, metrics on every reported split, and the rows that it fills.

    Raises:
        ResultsError: its files are unreadable.
    """
    console = make_console()
    results = ScaleResults(layout.results, layout.scale, layout.given_data_root)
    dataset = run_settings(run, layout.scale.reference).dataset
    uses = uses_of(run, layout.scale.reference)
    console.print(f"run {run} at scale {layout.scale.name}", markup=False)
    if layout.scale.label:
        console.print(layout.scale.label, style="bold")
    _print_uses(console, "fills", uses)
    _print_settings(console, run, layout)
    _print_runs(console, (run,), results, layout)
    _print_metrics(console, run_metrics(run, uses, results, dataset.report_splits, tuple(dataset.checkpoints)), "best")


def _name(use: Use) -> str:
    return f"{use.experiment.name} row {use.row.key}"


def _checkpoints(use: Use, layout: Layout) -> tuple[str, ...]:
    if not use.row.runs:
        return (use.row.checkpoint,) if use.row.rescored is not None else ()
    return tuple(run_settings(use.row.runs[0], layout.scale.reference).dataset.checkpoints)


def _print_uses(console: "Console", verb: str, uses: Sequence[Use]) -> None:
    if uses:
        console.print(f"{verb}: {', '.join(map(_name, uses))}", markup=False)


def _print_settings(console: "Console", run: RunId, layout: Layout) -> None:
    from rich.markup import escape

    full = full_model(run, layout.scale.reference)
    found = differences(run, layout.scale.reference)
    if not found:
        console.print(f"\nsettings: the full model's ({full.method}/{full.variant})", markup=False)
        return
    console.print(f"\nsettings that differ from the full model's ({full.method}/{full.variant}):", markup=False)
    for origin, full_origin in dict.fromkeys((item.origin, item.full_origin) for item in found):
        console.print(f"set by {origin}; in the full model by {full_origin}", markup=False, soft_wrap=True)
        table = make_table(console, "key", "this run", "full model", left=3)
        for item in found:
            if (item.origin, item.full_origin) == (origin, full_origin):
                table.add_row(item.key, escape(str(item.value)), escape(str(item.full)))
        console.print(table)


def _print_runs(console: "Console", runs: Sequence[RunId], results: ScaleResults, layout: Layout) -> None:
    """One column per run."""
    states = [state_of(run, results, layout.scale.reference) for run in runs]
    if not states:
        return
    names = [str(runs[0])] if len(runs) == 1 else [f"seed{run.seed}" for run in runs]
    console.print()
    table = make_table(
        console, "run" if len(runs) == 1 else str(runs[0]).rpartition("/")[0], *names, left=len(names) + 1
    )
    columns = [_properties(state) for state in states]
    for name in dict.fromkeys(name for column in columns for name in column):
        table.add_row(name, *(column.get(name, "") for column in columns))
    console.print(table)
    for state in states:
        _print_remedy(console, state, layout)


def _properties(state: RunState) -> dict[str, str]:
    made = state.provenance
    if not made:
        return {"state": state.state}
    return {
        "state": state.state,
        "selected epochs": ", ".join(f"{name} {epoch}" for name, epoch in made["epochs"].items()),
        "parameters": f"{made['parameters']:,}",
        "trained in": _duration(made["train_seconds"]),
        "device": made["device"],
        "commit": made["commit"],
    }


def _print_remedy(console: "Console", state: RunState, layout: Layout) -> None:
    """What to do about a run that is not as it should be."""
    command = _command("evaluate" if state.state == "not evaluated" else "train", state.run, layout)
    if state.state != "trained":
        verb = {"unfinished": "continue it", "not evaluated": "score it"}.get(state.state, "train it")
        console.print(f"{state.run} is {state.state}; {verb}: {command}", markup=False, soft_wrap=True)
    elif state.outdated:
        changed = " and ".join(state.outdated)
        console.print(
            f"{state.run} was trained with other {changed}; train it again: {command}", markup=False, soft_wrap=True
        )


def _command(name: str, run: RunId, layout: Layout) -> str:
    parts = ["python", "-m", "sadetr", name, "--run", str(run), "--scale", layout.scale.reference]
    parts += ["--results", str(layout.results)]
    parts += [] if layout.given_data_root is None else ["--data-root", str(layout.given_data_root)]
    return shlex.join(parts)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _print_metrics(console: "Console", lines: Sequence[MetricLine], reported: str) -> None:
    if not lines:
        return
    checkpoints = list(lines[0].scores)
    console.print(
        f"\nmetrics in percent (mean ± standard deviation over seeds); tables show the {reported} checkpoint:"
    )
    table = make_table(console, "split", "metric", "paper", *checkpoints, left=2)
    for line in lines:
        table.add_row(
            line.split, line.metric, _paper_cell(line), *(_score_cell(line.scores[name]) for name in checkpoints)
        )
    console.print(table)
    for note in dict.fromkeys(line.paper.note for line in lines if line.paper is not None and line.paper.note):
        console.print(f"note: {note}", markup=False, soft_wrap=True)


def _paper_cell(line: MetricLine) -> str:
    if line.paper is None:
        return "-"
    return _number(line.paper.value, line.paper.std)


def _score_cell(score: Score) -> str:
    if score.mean is None:
        return score.state
    seeds = "" if score.complete else f" ({score.found} of {score.wanted} seeds)"
    return _number(score.mean, score.std) + seeds


def _number(value: Any, std: float | None) -> str:
    return f"{value:.2f}" + ("" if std is None else f" ± {std:.2f}")
