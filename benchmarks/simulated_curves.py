"""Train a method at full size on simulated features and print its validation curve beside a published one.

    python -m sadetr prepare --setting qvhighlights --scale simulated --data-root DIR
    python benchmarks/simulated_curves.py --data-root DIR [--method qd_detr] [--epochs 10]

The first epochs of the scale's own training, not a shorter one: every schedule goes by the scale's number of epochs.
Prints a line of JSON per epoch as soon as it is finished; with ``--state`` an interrupted curve goes on behind its last
finished epoch. Where ``DIR/released_predictions/<setting>/convergence.csv``
holds a curve of the method, its values stand beside those of the same epoch; ``--published`` names another curve.
"""

import argparse
import contextlib
import itertools
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import report

from sadetr.configuration import load_method, load_scale, resolve, resolve_simulation
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.errors import SadetrError, SettingsError
from sadetr.layout import Layout
from sadetr.models.construction import make_method
from sadetr.provenance import fingerprint
from sadetr.randomness import Streams
from sadetr.reporting.published import LOGS, read_curves
from sadetr.settings import RunSettings
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer
from sadetr.training.prediction import predict
from sadetr.training.reproducibility import make_deterministic

METRICS = ("R1@0.5", "R1@0.7", "mAP")
"""Those of ``convergence.csv``."""

SPREAD_QUERIES = 320
"""Validation queries, the first ones, over which the spread of predicted spans is taken."""


def main() -> int:
    arguments = parse_arguments()
    try:
        settings = resolve(arguments.setting, arguments.method, arguments.variant, arguments.seed, arguments.scale)
        layout = Layout(load_scale(arguments.scale), arguments.results, arguments.data_root)
        published = published_curve(layout, settings, arguments.published)
        provenance = {"method": arguments.method, "variant": arguments.variant, "seed": arguments.seed}
        provenance |= {"simulation": strengths(arguments.setting, arguments.scale)}
        make_deterministic(settings.execution.threads)
        # Progress goes to standard error: standard output holds JSON alone.
        with contextlib.redirect_stdout(sys.stderr):
            for row in epochs(layout, settings, arguments.epochs, arguments.state):
                beside = {"published": published[row["epoch"]]} if row["epoch"] in published else {}
                line = {"setting": arguments.setting, **row, **beside, **provenance}
                report(line, command=command(arguments))
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--setting", default="qvhighlights")
    parser.add_argument("--scale", default="simulated")
    parser.add_argument("--results", type=Path, default=Path("results"), help="where `prepare` wrote the features")
    parser.add_argument("--method", default="qd_detr")
    parser.add_argument("--variant", default="full")
    parser.add_argument("--seed", type=int, default=2018)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--state", type=Path, help="file that keeps the last finished epoch, to go on from")
    parser.add_argument("--published", help="method of convergence.csv; default: the title of --method")
    return parser.parse_args()


def command(arguments: argparse.Namespace) -> str:
    """The command, without where things lie on this machine."""
    parts = [f"--{name} {getattr(arguments, name)}" for name in ("setting", "method", "variant", "seed", "epochs")]
    return " ".join(["python benchmarks/simulated_curves.py --data-root DIR", *parts])


def strengths(setting: str, scale: str) -> dict[str, Any]:
    """How hard the features are: the simulation's settings without the list of short videos."""
    return resolve_simulation(setting, scale).model_dump(mode="json", exclude={"short_features"})


def published_curve(layout: Layout, settings: RunSettings, name: str | None) -> dict[int, dict[str, float]]:
    """Epoch -> metric -> percent; empty without a published curve.

    Raises:
        DataError: the file is malformed.
    """
    file = layout.data_root / "released_predictions" / settings.setting / LOGS
    if not file.exists():
        return {}
    curves, points = read_curves(file, METRICS), {}
    for metric in METRICS:
        curve = curves.get((name or load_method(settings.method).title, metric))
        for epoch, value in zip(curve.epochs, curve.values, strict=True) if curve else ():
            points.setdefault(epoch, {})[metric] = value
    return points


def epochs(layout: Layout, settings: RunSettings, count: int, path: Path | None) -> Iterator[dict[str, Any]]:
    """Train on the CPU up to epoch ``count``, from the state at ``path`` if there is one.

    Yields per epoch what the history of a run holds, and the spread of the predicted spans.

    Raises:
        SadetrError: features or annotations are not usable, or the state belongs to another curve.
    """
    store = FeatureStore.open(layout.store(settings.setting))
    splits = {
        split: Split(read_annotations(file, settings.dataset.annotation_rules), store, settings.dataset)
        for split, file in layout.annotations(settings.dataset).items()
    }
    Streams(settings.seed).seed_global("initialisation", 0)
    model = make_method(settings)
    identity = fingerprint(settings.identity(), store.manifest["files"])
    state = TrainingState.load(path) if path and path.exists() else TrainingState(identity)
    if state.fingerprint != identity:
        raise SettingsError(f"{path}: belongs to other settings or features; remove it to train from the start")
    trainer = Trainer(model, settings, splits[settings.dataset.train_split], splits, state)
    dataset = settings.dataset
    selection = dataset.selection_splits[0]
    validation = splits[selection].queries[:SPREAD_QUERIES]
    shown = Split(validation, store, dataset)
    for reached in itertools.islice(trainer.epochs(), max(count - state.epoch, 0)):
        if path:
            reached.save(path)
        training = settings.training
        predictions = predict(model, shown, training.batch_size, torch.device("cpu"), ranking=training.ranking)
        rows = predictions.rows(shown.queries)
        values = {name: round(value, 4) for name, value in reached.history[-1].items() if value is not None}
        yield values | {"span_spread": span_spread(rows, shown)}


def span_spread(rows: list[dict[str, Any]], split: Split) -> float:
    """How far apart the first-ranked spans of different queries lie.

    Standard deviation over queries of centre and of width, relative to the video's duration; the mean of both. 0: the
    prediction does not depend on the input.
    """
    windows = np.array([row["pred_relevant_windows"][0][:2] for row in rows])
    windows /= np.array([[query.duration] for query in split.queries])
    return round(float((windows.mean(1).std() + (windows[:, 1] - windows[:, 0]).std()) / 2), 4)


if __name__ == "__main__":
    sys.exit(main())
