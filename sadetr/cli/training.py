"""Subcommands that train."""

from pathlib import Path
from typing import Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Run, Scale, app, known_run, make_layout
from sadetr.experiments import run_settings

Gpus = Annotated[
    int,
    typer.Option(min=0, help="GPUs this job was given, as the workflow says; with any, no GPU in sight is an error."),
]


@app.command()
def train(
    run: Run,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
    gpus: Gpus = 0,
    runs_per_gpu: Annotated[
        int, typer.Option(min=1, help="Trainings that share a GPU; all on this machine must be told the same.")
    ] = 1,
    gpu_memory: Annotated[
        int | None,
        typer.Option(
            min=1,
            help="MiB of GPU memory that must be free, without features. [default: as recorded, where GPUs are shared]",
        ),
    ] = None,
) -> None:
    """Train one run and predict; continues where an interrupted training stopped."""
    from sadetr.forecast.trainings import recorded_gpu_memory
    from sadetr.training.devices import RESERVE_MIB, Share
    from sadetr.training.run import train

    layout = make_layout(scale, results, data_root)
    run_id = known_run(run, scale)
    settings = run_settings(run_id, scale)
    store = layout.store(run_id.setting)
    recorded = None if settings.execution.device == "cpu" else recorded_gpu_memory(run_id, scale)
    need = recorded if gpu_memory is None and runs_per_gpu > 1 else gpu_memory
    share = Share(runs_per_gpu, need, reserve_mib=max(recorded or 0, RESERVE_MIB))
    train(settings, store, layout.annotations(settings.dataset), layout.run(run_id).path, gpus, share)


@app.command()
def profile(
    run: Annotated[str, typer.Argument(help="<setting>/<method>/<variant>/seed<k>, as `runs` prints them.")],
    steps: Annotated[int, typer.Option(min=1, help="Training steps that are timed, and as many traced.")] = 8,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder of profile.json and trace.json; default: <results>/<scale>/profiles/<run>."),
    ] = None,
    scale: Scale = "mini",
    results: Results = RESULTS,
    data_root: DataRoot = None,
) -> None:
    """Break a training step of a run down: time, operations and bytes per part, as a table and a Chrome trace."""
    from sadetr.profiling.command import profile_run

    layout = make_layout(scale, results, data_root)
    run_id = known_run(run, scale)
    settings = run_settings(run_id, scale)
    folder = layout.folder / "profiles" / run_id.folder if out is None else out
    profile_run(settings, layout.store(run_id.setting), layout.annotations(settings.dataset), steps, folder)
