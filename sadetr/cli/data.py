"""Subcommands that make, check and prepare data."""

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, Setting, app, make_layout
from sadetr.configuration import resolve_dataset
from sadetr.errors import SettingsError


@app.command()
def generate(setting: Setting, scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write the generated corpus of a scale in the official on-disk layout."""
    from sadetr.data.corpus import generate

    layout = make_layout(scale, results)
    if layout.scale.data != "generated":
        raise SettingsError(f"scale {scale!r} has {layout.scale.data} data: there is nothing to generate")
    generate(resolve_dataset(setting, scale), layout.scale.corpus, layout.data_root)
    print(f"generated corpus of {setting}: {layout.data_root}")


@app.command()
def prepare(setting: Setting, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Check features and pack them into a memory-mapped store; the simulated scale makes them from the annotations."""
    from sadetr.configuration import resolve_features, resolve_simulation
    from sadetr.provenance import code_fingerprint

    layout = make_layout(scale, results, data_root)
    dataset, features = resolve_dataset(setting, scale), resolve_features(setting, scale)
    out = layout.store(setting)
    if layout.scale.data == "simulated":
        from sadetr.data.simulation import simulate

        simulation, code = resolve_simulation(setting, scale), code_fingerprint("sadetr.data.simulation")
        simulate(dataset, features, simulation, layout.annotations(dataset), out, code)
    else:
        from sadetr.data.preparation import prepare

        prepare(dataset, features, layout.data_root, out, code_fingerprint("sadetr.data.preparation"))
    print(f"feature store of {setting}: {out}")
