"""Subcommands that train."""

from sadetr.cli.options import RESULTS, DataRoot, Results, Run, Scale, app, known_run, make_layout
from sadetr.experiments import run_settings


@app.command()
def train(run: Run, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Train one run and predict; continues where an interrupted training stopped."""
    from sadetr.configuration import load_method
    from sadetr.training.run import train

    layout = make_layout(scale, results, data_root)
    run_id = known_run(run, scale)
    settings = run_settings(run_id, scale)
    module = load_method(run_id.method).module
    store = layout.store(run_id.setting)
    train(settings, module, store, layout.annotations(settings.dataset), layout.run(run_id).path)
