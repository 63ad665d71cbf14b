"""Subcommands that gather, render and compare results."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, app, print_paths
from sadetr.configuration import load_scale
from sadetr.experiments import experiment_name


@app.command()
def gather(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Join the metrics of all runs, and of rescored predictions, into metrics.parquet."""
    from sadetr.reporting.command import gather_command

    print_paths(gather_command(load_scale(scale), results))


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="Number of the table in the paper, or name of one of our own.")],
    scale: Scale = "mini",
    results: Results = RESULTS,
) -> None:
    """Render a table as CSV, Markdown, LaTeX and HTML."""
    from sadetr.reporting.command import table_command

    print_paths(table_command(experiment_name("table", name), load_scale(scale), results))


@app.command()
def figure(
    name: Annotated[str, typer.Argument(help="Number of the figure in the paper.")],
    qid: Annotated[list[str] | None, typer.Option(help="Figure 4: show this query; may be repeated.")] = None,
    videos: Annotated[
        Path | None, typer.Option(help="Figure 4: folder with <vid>.mp4 or frames <vid>/*.jpg, for strips of frames.")
    ] = None,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Draw a figure as PDF, SVG and PNG."""
    from sadetr.reporting.command import figure_command

    print_paths(
        figure_command(experiment_name("figure", name), load_scale(scale), results, data_root, qid or (), videos)
    )


@app.command()
def paper(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write paper.tex: all rendered tables and figures as one LaTeX document."""
    from sadetr.reporting.command import paper_command

    print_paths(paper_command(load_scale(scale), results))


@app.command()
def comparison(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write the verdict on every cell to comparison.csv, .md and .html."""
    from sadetr.reporting.command import comparison_command

    print_paths(comparison_command(load_scale(scale), results))


@app.command()
def compare(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Print the verdicts; the exit code is 0 if every cell is reached (or, for generated data, complete)."""
    from sadetr.reporting.command import compare_command

    raise typer.Exit(compare_command(load_scale(scale), results))
