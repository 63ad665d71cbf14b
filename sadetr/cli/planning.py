"""The subcommand that says what a target would take."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, Seeds, app, chosen_scale
from sadetr.configuration import seeds_text
from sadetr.experiments import experiment_name
from sadetr.layout import Layout


@app.command()
def plan(
    table: Annotated[str | None, typer.Option(help="Only this table: its number, or name of one of our own.")] = None,
    figure: Annotated[str | None, typer.Option(help="Only this figure.")] = None,
    lines: Annotated[
        list[Path] | None,
        typer.Option(help="Folder of one's own benchmark lines, *.jsonl, which count before ours; may be repeated."),
    ] = None,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
    seeds: Seeds = None,
) -> None:
    """Print what a target (default: all) would take: runs, hours per device, memory, disk, from recorded lines."""
    from sadetr.forecast.lines import RECORDED
    from sadetr.forecast.report import report
    from sadetr.forecast.summary import make_forecast

    chosen = chosen_scale(scale, seeds)
    names = [experiment_name(kind, name) for kind, name in (("table", table), ("figure", figure)) if name is not None]
    forecast = make_forecast(Layout(chosen, results, data_root), [RECORDED, *(lines or [])], names)
    print("\n".join(report(forecast, " ".join(names) or "all", seeds_text(chosen))))
