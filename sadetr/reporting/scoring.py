"""Scores prediction files, of a finished run or published by other authors, and writes their metrics.

Of a run, each query's part in them is written as well.
"""

import hashlib
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.labelling import labelled_in, labelled_share, left_out_of_scores, scored_parts
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.coverage import left_out
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import Scores, metrics_of, score
from sadetr.evaluation.significance import Contributions, contributions_of
from sadetr.evaluation.units import PredictionFile, read_foreign_predictions
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout
from sadetr.reporting.metrics import RELEASED, SYSTEM_COLUMNS, TRAINED, TRAINING_COLUMNS, write_run_metrics
from sadetr.reporting.published import check_published, published_predictions
from sadetr.reporting.query_scores import write_query_scores
from sadetr.reporting.scores import LABELLED
from sadetr.settings import DatasetSettings


def score_run(run: RunId, layout: Layout) -> Path:
    """Score every checkpoint of ``run`` on every reported split; returns the path of ``metrics.parquet``.

    Beside it goes ``query_scores.parquet``. What has no labels has no value, and is said.

    Raises:
        ResultsError: the run is not finished.
        DataError: a prediction file does not fit the annotations.
    """
    folder, scored = layout.run(run), scored_run(run, layout)
    write_query_scores(scored.queries, folder.query_scores)
    # Last: a run that has metrics is evaluated.
    write_run_metrics(scored.rows, folder.metrics)
    return folder.metrics


class ScoredRun(NamedTuple):
    """What :func:`score_run` writes."""

    rows: list[dict[str, Any]]
    """One per metric."""
    queries: dict[tuple[str, str], tuple[list[Query], Contributions]]
    """Checkpoint and split -> what every query adds."""


def scored_run(run: RunId, layout: Layout) -> ScoredRun:
    """Score the predictions of a run.

    Raises:
        As :func:`score_run`.
    """
    folder = layout.run(run)
    provenance = read_provenance(folder.provenance)
    dataset = run_settings(run, layout.scale.reference).dataset
    annotations = layout.annotations(dataset)
    rows: list[dict[str, Any]] = []
    scored = {}
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
            scores, metrics = _score(path, predictions, queries, dataset, shared)
            scored[checkpoint, split] = queries, contributions_of(scores)
            rows += metrics
    return ScoredRun(rows, scored)


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
        rows += _score(path, read_foreign_predictions(path, truth, dataset, highlights), truth, dataset, shared)[1]
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
) -> tuple[Scores, list[dict[str, Any]]]:
    """The scores of one prediction file, and a row per metric, with the share of labelled queries where it is not all.

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
    return scores, [{**shared, "metric": name, "value": value} for name, value in metrics.items()]


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
