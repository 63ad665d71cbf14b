"""Scores prediction files, of a finished run or published by other authors, and writes their metrics."""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.labelling import labelled_in, labelled_share, left_out_of_scores, scored_parts
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.coverage import left_out
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import metrics_of, score
from sadetr.evaluation.units import PredictionFile, read_foreign_predictions
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout
from sadetr.reporting.metrics import LABELLED, RELEASED, SYSTEM_COLUMNS, TRAINED, TRAINING_COLUMNS, write_run_metrics
from sadetr.reporting.published import check_published, published_predictions
from sadetr.settings import DatasetSettings


def score_run(run: RunId, layout: Layout) -> Path:
    """Score every checkpoint of ``run`` on every reported split; returns the path of ``metrics.parquet``.

    What has no labels has no value, and is said.

    Raises:
        ResultsError: the run is not finished.
        DataError: a prediction file does not fit the annotations.
    """
    path = layout.run(run).metrics
    write_run_metrics(run_rows(run, layout), path)
    return path


def run_rows(run: RunId, layout: Layout) -> list[dict[str, Any]]:
    """What :func:`score_run` writes, one row per metric.

    Raises:
        As :func:`score_run`.
    """
    folder = layout.run(run)
    provenance = read_provenance(folder.provenance)
    dataset = run_settings(run, layout.scale.reference).dataset
    annotations = layout.annotations(dataset)
    rows: list[dict[str, Any]] = []
    for split in dataset.report_splits:
        queries = _read(annotations[split], dataset)
        highlights = dataset.highlights and labelled_in(queries, ("saliency",))
        for checkpoint in dataset.checkpoints:
            shared = {
                "scale": layout.scale.name,
                "setting": run.setting,
                "method": run.method,
                "variant": run.variant,
                "seed": run.seed,
                "split": split,
                "checkpoint": checkpoint,
                "epoch": provenance["epochs"][checkpoint],
                "origin": TRAINED,
                "data": layout.scale.data,
                **{column: provenance[column] for column in SYSTEM_COLUMNS},
            }
            path = folder.prediction(checkpoint, split)
            predictions = PredictionFile(read_predictions(path, queries, highlights), dataset.clip_length)
            rows += _score(path, predictions, queries, dataset, shared)
    return rows


def rescore(setting: str, layout: Layout) -> Path:
    """Score all published predictions of a benchmark setting; returns the path of their metrics.

    Without published predictions the file has no rows.

    Raises:
        SettingsError: the scale's queries are generated, or no data root was given.
        DataError: a prediction file is in the wrong place, or does not fit the annotations.
    """
    if layout.scale.data == "generated":
        raise SettingsError(
            f"scale {layout.scale.name!r} has generated queries: there are no published predictions of them"
        )
    dataset = resolve_dataset(setting, layout.scale.reference)
    annotations = layout.annotations(dataset)
    check_published(layout.published)
    files = published_predictions(layout.published, dataset)
    queries = {split: _read(annotations[split], dataset) for split in dict.fromkeys(file.split for file in files)}
    rows: list[dict[str, Any]] = []
    for predictions, path in files.items():
        shared = {
            "scale": layout.scale.name,
            "setting": setting,
            "method": predictions.method,
            "split": predictions.split,
            "origin": RELEASED,
            "data": "official",
            **dict.fromkeys(TRAINING_COLUMNS),
        }
        truth = queries[predictions.split]
        highlights = dataset.highlights and labelled_in(truth, ("saliency",))
        rows += _score(path, read_foreign_predictions(path, truth, dataset, highlights), truth, dataset, shared)
    out = layout.rescored(setting)
    write_run_metrics(rows, out)
    return out


def _read(path: Path, dataset: DatasetSettings) -> list[Query]:
    """The queries of a split, with a warning where labels are missing."""
    queries = read_annotations(path, dataset.annotation_rules)
    for remark in left_out_of_scores(queries, dataset.highlights):
        print(f"warning: {path}: {remark}")
    return queries


def _score(
    path: Path,
    predictions: PredictionFile,
    queries: Sequence[Query],
    dataset: DatasetSettings,
    shared: dict[str, Any],
) -> list[dict[str, Any]]:
    """One row per metric of one prediction file, and the share of labelled queries where it is not all.

    Queries that a metric leaves out are said on standard error.
    """
    scores = score(predictions.rows, queries, highlights=dataset.highlights, clip_length=predictions.clip_length)
    if note := left_out(scores, queries):
        print(f"ATTENTION: {path}: {note}", file=sys.stderr)
    metrics = metrics_of(scores)
    for part in scored_parts(dataset.highlights):
        share = labelled_share(queries, part)
        metrics |= {LABELLED[part]: share} if share < 100 else {}
    shared = {**shared, "predictions_sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
    return [{**shared, "metric": name, "value": value} for name, value in metrics.items()]


def read_provenance(path: Path) -> dict[str, Any]:
    """What a finished run says of itself.

    Raises:
        ResultsError: the run is not finished, or the file is unreadable.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: not there, so this run is not trained; run `python -m sadetr train` first"
        ) from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete the run's folder and train it again") from error
