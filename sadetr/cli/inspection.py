"""Subcommands that explain what the pipeline does."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import (
    RESULTS,
    DataRoot,
    Results,
    Scale,
    Seeds,
    app,
    chosen_scale,
    known_run,
    make_layout,
    print_paths,
)
from sadetr.configuration import PAPER_SEEDS, ScaleSettings, choose_seeds, seeds_text
from sadetr.errors import DataError, SettingsError
from sadetr.experiments import experiment_name, experiment_names, load_experiment, target_experiments


@app.command()
def runs(
    table: Annotated[str | None, typer.Option(help="Number of a table, or name of one of our own.")] = None,
    figure: Annotated[str | None, typer.Option(help="Number of a figure.")] = None,
    scale: Scale = "mini",
    seeds: Seeds = None,
) -> None:
    """Print which run fills which row of a table or figure (default: of all), and how many runs that is."""
    names, chosen = experiment_names(), chosen_scale(scale, seeds)
    wanted = [experiment_name(kind, name) for kind, name in (("table", table), ("figure", figure)) if name is not None]
    for name in wanted or names:
        if name not in names:
            raise SettingsError(f"no experiment {name!r}; known: {', '.join(names)}")
        experiment = load_experiment(name, chosen)
        scored = f" ({experiment.split}, {experiment.checkpoint} checkpoint)" if experiment.metrics else ""
        print(f"{name}: {experiment.title}{scored}")
        for row in experiment.rows:
            labels = " ".join(f"{column}={value or '-'}" for column, value in row.labels.items())
            print(f"  {row.key:<18} {labels:<32} {'  '.join(map(str, row.runs)) or '(paper only)'}")
        print(f"  {len(experiment.runs)} distinct runs")
    print(_run_counts(wanted, chosen))


def _run_counts(wanted: list[str], chosen: ScaleSettings) -> str:
    """How many trainings a target is, and what other seeds than the paper's add."""

    def count(scale: ScaleSettings) -> int:
        return len({run for experiment in target_experiments(wanted, scale) for run in experiment.runs})

    total, papers = count(chosen), count(choose_seeds(chosen, PAPER_SEEDS))
    target = " ".join(wanted) or "all"
    difference = f", {total - papers:+d} beside the {papers} with the paper's seeds" if total != papers else ""
    return f"{target}: {total} distinct runs with seeds={seeds_text(chosen)}{difference}"


@app.command()
def explain(
    table: Annotated[str | None, typer.Option(help="Number of a table.")] = None,
    figure: Annotated[str | None, typer.Option(help="Number of a figure.")] = None,
    row: Annotated[str | None, typer.Option(help="Row of that table or figure, as `runs` prints it.")] = None,
    run: Annotated[str | None, typer.Option(help="A run instead: <setting>/<method>/<variant>/seed<k>.")] = None,
    qid: Annotated[
        str | None, typer.Option(help="Show what the run (of a row: its first) computes for this query.")
    ] = None,
    checkpoint: Annotated[str, typer.Option(help="Weights that --qid looks into: best, clean or last.")] = "best",
    out: Annotated[
        Path | None, typer.Option(help="Folder of what --qid writes; default: <results>/<scale>/inspection/<run>.")
    ] = None,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Print what a row or run is made of and how it scores; with --qid, what its network computes for one query."""
    from sadetr.inspection.report import explain_row, explain_run
    from sadetr.inspection.runs import find_row

    kinds = {"table": table, "figure": figure}
    named = [experiment_name(kind, name) for kind, name in kinds.items() if name is not None]
    if len(named) == 1 and run is None and row is None:
        keys = ", ".join(each.key for each in load_experiment(named[0], scale).rows)
        raise SettingsError(f"{named[0]}: say which row, --row KEY; it has {keys}")
    if len(named) + (run is not None) != 1 or (row is None) == bool(named):
        raise SettingsError("say what to explain: --table N --row KEY, --figure N --row KEY, or --run RUN")
    layout = make_layout(scale, results, data_root)
    use = None if run is not None else find_row(named[0], str(row), scale)
    if qid is None:
        explain_row(use, layout) if use is not None else explain_run(known_run(str(run), scale), layout)
        return
    from sadetr.inspection.command import explain_query

    if use is not None and not use.row.runs:
        raise SettingsError(f"{named[0]} row {row} has no run of ours to look into")
    chosen = use.row.runs[0] if use is not None else known_run(str(run), scale)
    print_paths(explain_query(chosen, layout, qid, checkpoint, out))


@app.command()
def parity(
    files: Annotated[list[Path], typer.Argument(help="Fixtures: safetensors files of the authors' numbers.")],
    float64: Annotated[bool, typer.Option("--float64", help="Compute ours in double precision.")] = False,
    tolerance: Annotated[
        float | None,
        typer.Option(
            min=0, help="Relative tolerance of all tensors instead of the usual ones; absolute ones scale along."
        ),
    ] = None,
) -> None:
    """Recompute fixtures of the authors' code with ours; exit code 1 where they differ."""
    from sadetr.parity.comparison import compare
    from sadetr.parity.fixture import read_fixture

    agreeing = 0
    for file in files:
        try:
            fixture = read_fixture(file)
            comparison = compare(fixture.double() if float64 else fixture, tolerance)
        except DataError as error:
            # The other files are compared all the same.
            print(f"error: {error}", file=sys.stderr)
            continue
        print(comparison)
        agreeing += comparison.passed
    print(f"{agreeing} of {len(files)} fixtures agree")
    if agreeing < len(files):
        raise typer.Exit(1)
