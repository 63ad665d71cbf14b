"""Subcommands that explain what the pipeline does."""

from typing import Annotated

import typer

from sadetr.cli.options import Scale, app
from sadetr.errors import SettingsError
from sadetr.experiments import experiment_name, experiment_names, load_experiment


@app.command()
def runs(
    table: Annotated[str | None, typer.Option(help="Number of a table, or name of one of our own.")] = None,
    figure: Annotated[str | None, typer.Option(help="Number of a figure.")] = None,
    scale: Scale = "mini",
) -> None:
    """Print which run fills which row of a table or figure (default: of all)."""
    names = experiment_names()
    wanted = [experiment_name(kind, name) for kind, name in (("table", table), ("figure", figure)) if name is not None]
    for name in wanted or names:
        if name not in names:
            raise SettingsError(f"no experiment {name!r}; known: {', '.join(names)}")
        experiment = load_experiment(name, scale)
        scored = f" ({experiment.split}, {experiment.checkpoint} checkpoint)" if experiment.metrics else ""
        print(f"{name}: {experiment.title}{scored}")
        for row in experiment.rows:
            labels = " ".join(f"{column}={value or '-'}" for column, value in row.labels.items())
            print(f"  {row.key:<18} {labels:<32} {'  '.join(map(str, row.runs)) or '(paper only)'}")
        print(f"  {len(experiment.runs)} distinct runs")
