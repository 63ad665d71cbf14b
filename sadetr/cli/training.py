"""Subcommands that train."""

from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Run, Scale, app, known_run, make_layout
from sadetr.experiments import run_settings

Gpus = Annotated[
    int,
    typer.Option(min=0, help="GPUs this job was given, as the workflow says; with any, no GPU in sight is an error."),
]


Gpus = Annotated[
    int,
    typer.Option(min=0, help="GPUs this job was given, as the workflow says; with any, no GPU in sight is an error."),
]


@app.command()
def train(
    run: Run, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None, gpus: Gpus = 0
) -> None:
    """Train one run and predict; continues where an interrupted training stopped."""
    from sadetr.training.run import train

    layout = make_layout(scale, results, data_root)
    run_id = known_run(run, scale)
    settings = run_settings(run_id, scale)
    store = layout.store(run_id.setting)
    train(settings, store, layout.annotations(settings.dataset), layout.run(run_id).path, gpus)
