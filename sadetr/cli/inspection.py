"""Subcommands that explain what the pipeline does."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import Scale, app
from sadetr.errors import DataError, SettingsError
from sadetr.experiments import experiment_names, load_experiment


@app.command()
def runs(
    table: Annotated[int | None, typer.Option(help="Number of a table.")] = None,
    figure: Annotated[int | None, typer.Option(help="Number of a figure.")] = None,
    scale: Scale = "mini",
) -> None:
    """Print which run fills which row of a table or figure (default: of all)."""
    names = experiment_names()
    wanted = [f"{kind}{number}" for kind, number in (("table", table), ("figure", figure)) if number is not None]
    for name in wanted or names:
        if name not in names:
            raise SettingsError(f"no experiment {name!r}; known: {', '.join(names)}")
        experiment = load_experiment(name, scale)
        print(f"{name}: {experiment.title} ({experiment.split}, {experiment.checkpoint} checkpoint)")
        for row in experiment.rows:
            labels = " ".join(f"{column}={value or '-'}" for column, value in row.labels.items())
            print(f"  {row.key:<18} {labels:<32} {'  '.join(map(str, row.runs)) or '(paper only)'}")
        print(f"  {len(experiment.runs)} distinct runs")


@app.command()
def parity(
    files: Annotated[list[Path], typer.Argument(help="Fixtures: safetensors files of the authors' numbers.")],
    float64: Annotated[bool, typer.Option("--float64", help="Compute ours in double precision.")] = False,
    tolerance: Annotated[
        float | None, typer.Option(min=0, help="Relative tolerance of all tensors instead of the usual ones.")
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
