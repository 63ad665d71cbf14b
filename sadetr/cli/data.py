"""Subcommands that make, fetch, check and prepare data."""

import sys
from collections.abc import Callable
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from sadetr.cli.options import RESULTS, DataRoot, Results, Scale, Setting, app, make_layout
from sadetr.configuration import resolve_corpus, resolve_dataset
from sadetr.errors import SettingsError
from sadetr.layering import find
from sadetr.layout import Layout

if TYPE_CHECKING:
    from sadetr.data.store import FeatureStore


class Part(StrEnum):
    """What a download may be limited to."""

    annotations = "annotations"
    features = "features"


@app.command()
def generate(setting: Setting, scale: Scale = "mini", results: Results = RESULTS) -> None:
    """Write the generated corpus of a scale in the official on-disk layout."""
    from sadetr.data.corpus import generate
    from sadetr.files import atomic_write_text
    from sadetr.fingerprints import Fingerprints

    layout = make_layout(scale, results)
    if layout.scale.data != "generated":
        raise SettingsError(f"scale {scale!r} has {layout.scale.data} data: there is nothing to generate")
    generate(resolve_dataset(setting, scale), resolve_corpus(setting, scale), layout.data_root)
    atomic_write_text(layout.corpus(setting), f'{{"fingerprint": "{Fingerprints(layout).corpus(setting)}"}}\n')
    print(f"generated corpus of {setting}: {layout.data_root}")


@app.command()
def prepare(setting: Setting, scale: Scale = "mini", results: Results = RESULTS, data_root: DataRoot = None) -> None:
    """Check features and pack them into a memory-mapped store; the simulated scale makes them from the annotations."""
    layout = make_layout(scale, results, data_root)
    _prepare(setting, layout)
    print(f"feature store of {setting}: {layout.store(setting)}")


def _prepare(setting: str, layout: Layout) -> None:
    from sadetr.configuration import resolve_features, resolve_simulation
    from sadetr.data.inputs import Inputs, remember
    from sadetr.data.store import FeatureStore
    from sadetr.files import atomic_write_text
    from sadetr.fingerprints import Fingerprints, prepared_text
    from sadetr.provenance import code_fingerprint

    scale, out = layout.scale.reference, layout.store(setting)
    dataset, features = resolve_dataset(setting, scale), resolve_features(setting, scale)
    if layout.scale.data == "simulated":
        from sadetr.data.simulation import simulate

        simulation, code = resolve_simulation(setting, scale), code_fingerprint("sadetr.data.simulation")
        simulate(dataset, features, simulation, layout.annotations(dataset), out, code)
    else:
        from sadetr.data.preparation import prepare

        fingerprints = Fingerprints(layout)
        base, identity = fingerprints.inputs_base(setting), fingerprints.inputs(setting).identity
        code = code_fingerprint("sadetr.data.preparation")
        files = prepare(dataset, features, layout.data_root, out, code)
        remember(layout.inputs(setting), Inputs(base, identity, files))
    store = FeatureStore.open(out)
    atomic_write_text(layout.prepared(setting), prepared_text(store.manifest, store.digest))


def store_opener(setting: str, layout: Layout) -> "Callable[[], FeatureStore]":
    """Opens the feature store of a setting when it is called; prepares it first where it is not there, and says so."""

    def open_store() -> "FeatureStore":
        from sadetr.data.store import FeatureStore

        path = layout.store(setting)
        if not path.exists():
            print(f"{path}: the features of {setting} are not prepared yet; preparing them", file=sys.stderr)
            _prepare(setting, layout)
        return FeatureStore.open(path)

    return open_store


@app.command(name="check-data")
def check_data(
    setting: Setting,
    data_root: DataRoot = None,
    scale: Scale = "paper",
    results: Results = RESULTS,
    json: Annotated[Path | None, typer.Option(help="Write the full report to this file.")] = None,
    html: Annotated[Path | None, typer.Option(help="Write the report as a page to this file.")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="Look at presence, sizes and headers only.")] = False,
) -> None:
    """Check annotations and features; the exit code is 1 if there is any error."""
    from json import dumps

    from sadetr.configuration import load_scale
    from sadetr.data.sources import load_sources
    from sadetr.documents.rendering import render_html
    from sadetr.files import atomic_write_text
    from sadetr.verification.checks import check_data
    from sadetr.verification.rendering import print_report, report_document

    layout = make_layout(scale, results, data_root)
    dataset, root = resolve_dataset(setting, scale), layout.data_root
    report = check_data(dataset, load_scale(scale), root, load_sources(setting), layout.store(setting), quick)
    if json is not None:
        atomic_write_text(json, dumps(report.as_json(), indent=1, ensure_ascii=False) + "\n")
    if html is not None:
        atomic_write_text(html, render_html(report_document(report)))
    print_report(report)
    raise typer.Exit(0 if report.passed else 1)


@app.command()
def download(
    setting: Setting,
    data_root: Annotated[Path, typer.Option(help="Where annotations/ and features/ are to lie.")],
    only: Annotated[Part | None, typer.Option(help="Leave the other part out.")] = None,
    from_archive: Annotated[
        Path | None, typer.Option(help="Unpack this archive, which a browser fetched, instead of fetching anything.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Only say what would be fetched.")] = False,
) -> None:
    """Fetch the official files that have a public address; for the others, say what to do."""
    from sadetr.data.download.command import download_annotations, download_features, unpack_archive
    from sadetr.data.sources import load_sources

    dataset, sources = resolve_dataset(setting, "paper"), load_sources(setting)
    if sources is None:
        raise SettingsError(
            f"setting {setting!r}: no addresses are known; {find('sources', f'{setting}.yaml')} would name them"
        )
    if from_archive is not None:
        unpack_archive(dataset, sources, from_archive, data_root, print)
        return
    if only != Part.features:
        download_annotations(dataset, sources, data_root, dry_run, print)
    if only != Part.annotations:
        download_features(dataset, sources, data_root, dry_run, print)
    print(sources.licence)
