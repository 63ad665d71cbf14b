"""Subcommands that gather, render and compare results."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, Seeds, app, chosen_scale, print_paths
from sadetr.errors import SadetrError
from sadetr.experiments import experiment_name


@app.command()
def gather(scale: Scale = "mini", results: Results = RESULTS, seeds: Seeds = None) -> None:
    """Join the metrics of all runs, and of rescored predictions, into metrics.parquet."""
    from sadetr.reporting.command import gather_command

    print_paths(gather_command(chosen_scale(scale, seeds), results))


@app.command()
def table(
    name: Annotated[str, typer.Argument(help="Number of the table in the paper, or name of one of our own.")],
    scale: Scale = "mini",
    results: Results = RESULTS,
    seeds: Seeds = None,
) -> None:
    """Render a table as CSV, Markdown, LaTeX and HTML."""
    from sadetr.reporting.command import table_command

    print_paths(table_command(experiment_name("table", name), chosen_scale(scale, seeds), results))


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
    seeds: Seeds = None,
) -> None:
    """Draw a figure as PDF, SVG and PNG."""
    from sadetr.reporting.command import figure_command

    chosen = chosen_scale(scale, seeds)
    print_paths(figure_command(experiment_name("figure", name), chosen, results, data_root, qid or (), videos))


@app.command()
def paper(scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write paper.tex: all rendered tables and figures as one LaTeX document."""
    from sadetr.reporting.command import paper_command

    print_paths(paper_command(chosen_scale(scale, None), results))


@app.command()
def comparison(scale: Scale = "mini", results: Results = RESULTS, seeds: Seeds = None) -> None:
    """Write the verdict on every cell and table to comparison.csv, .json, .md, .html and .xml (JUnit)."""
    from sadetr.reporting.comparison_command import comparison_command

    print_paths(comparison_command(chosen_scale(scale, seeds), results))


@app.command()
def report(scale: Scale = "mini", results: Results = RESULTS, seeds: Seeds = None) -> None:
    """Write report.html: all tables, figures and verdicts as one page that needs no other file."""
    from sadetr.reporting.report_command import report_command

    print_paths(report_command(chosen_scale(scale, seeds), results))


OutFile = Annotated[Path | None, typer.Option(metavar="FILE", help="Write the verdicts there as well.")]
UNUSABLE = 3
"""Exit code of a comparison that could not be made."""


@app.command()
def compare(
    metrics: Annotated[
        Path | None, typer.Argument(help="A metrics.parquet from anywhere; without it, the run folders in --results.")
    ] = None,
    scale: Annotated[str | None, typer.Option(help="Name or file of the scale. [default: the file's, or mini]")] = None,
    results: Results = RESULTS,
    seeds: Seeds = None,
    reference: Annotated[
        Path | None, typer.Option(help="Compare with another metrics.parquet instead of the paper.")
    ] = None,
    exact: Annotated[bool, typer.Option("--exact", help="With --reference: every number must be equal.")] = False,
    markdown: OutFile = None,
    json: OutFile = None,
    junit: OutFile = None,
    html: OutFile = None,
    csv: OutFile = None,
) -> None:
    """Print the verdicts. Exit code: 0 all that is required holds, 1 not all, 2 incomplete, 3 unusable input."""
    from sadetr.reporting.comparison_command import compare_command, reference_command

    outputs = {"md": markdown, "json": json, "xml": junit, "html": html, "csv": csv}
    wanted = {kind: path for kind, path in outputs.items() if path is not None}
    try:
        if reference is not None:
            code = reference_command(metrics, reference, exact, wanted)
        else:
            code = compare_command(metrics, scale, results, seeds, exact, wanted)
    except SadetrError as error:
        print(f"error: {error}", file=sys.stderr)
        code = UNUSABLE
    raise typer.Exit(code)
