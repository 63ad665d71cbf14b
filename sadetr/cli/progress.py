"""Subcommands that look at runs: how far they are, and whether they are what they were."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, app, known_run, make_layout
from sadetr.errors import SettingsError


@app.command()
def status(
    scale: Scale = "mini",
    results: Results = RESULTS,
    json: Annotated[Path | None, typer.Option(help="Also write it to this file, for programs.")] = None,
) -> None:
    """Show every run of a scale: state, epochs, best metric so far, time left, device."""
    from json import dumps

    from sadetr.files import atomic_write_text
    from sadetr.reporting.status import as_json, print_status, runs_of, status_of

    # Data are not looked at, so a scale with real ones needs no data root here.
    layout = make_layout(scale, results)
    statuses = [status_of(run, layout) for run in runs_of(layout)]
    if json is not None:
        atomic_write_text(json, dumps(as_json(statuses), indent=1) + "\n")
    print_status(statuses, layout)


@app.command(name="verify-run")
def verify_run(
    runs: Annotated[
        list[str] | None, typer.Argument(metavar="RUN...", help="<setting>/<method>/<variant>/seed<k>, as `runs` says.")
    ] = None,
    all_runs: Annotated[bool, typer.Option("--all", help="Every run that has a folder.")] = False,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Score stored predictions again and check every checksum; the exit code is 1 if anything differs or is missing."""
    from sadetr.reporting.integrity import print_checks, verify_run
    from sadetr.reporting.status import runs_there

    layout = make_layout(scale, results, data_root)
    if bool(runs) == all_runs:
        raise SettingsError("say which runs to verify: RUN..., or --all")
    chosen = runs_there(layout) if all_runs else [known_run(run, scale) for run in runs or ()]
    if not chosen:
        raise SettingsError(f"{layout.folder / 'runs'}: holds no run")
    passed = print_checks({run: verify_run(run, layout) for run in chosen})
    raise typer.Exit(0 if passed else 1)
