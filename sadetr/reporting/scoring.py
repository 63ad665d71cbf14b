"""Scores the prediction files of a finished run and writes its ``metrics.parquet``."""

import json
from pathlib import Path
from typing import Any

from sadetr.data.annotations import read_annotations
from sadetr.errors import ResultsError
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.experiments import RunId, run_settings
from sadetr.layout import Layout
from sadetr.reporting.metrics import SYSTEM_COLUMNS, write_run_metrics


def score_run(run: RunId, layout: Layout) -> Path:
    """Score every checkpoint of ``run`` on every reported split; returns the path of ``metrics.parquet``.

    Raises:
        ResultsError: the run is not finished.
        DataError: a prediction file does not fit the annotations.
    """
    folder = layout.run(run)
    provenance = _read_provenance(folder.provenance)
    dataset = run_settings(run, layout.scale.reference).dataset
    annotations = layout.annotations(dataset)
    rows: list[dict[str, Any]] = []
    for split in dataset.report_splits:
        queries = read_annotations(annotations[split], dataset.clip_length)
        for checkpoint in dataset.checkpoints:
            predictions = read_predictions(folder.prediction(checkpoint, split), queries, dataset.highlights)
            metrics = evaluate(predictions, queries, highlights=dataset.highlights, clip_length=dataset.clip_length)
            shared = {
                "scale": layout.scale.name,
                "setting": run.setting,
                "method": run.method,
                "variant": run.variant,
                "seed": run.seed,
                "split": split,
                "checkpoint": checkpoint,
                "epoch": provenance["epochs"][checkpoint],
                "origin": "trained",
                "data": layout.scale.data,
                **{column: provenance[column] for column in SYSTEM_COLUMNS},
            }
            rows += [{**shared, "metric": name, "value": value} for name, value in metrics.items()]
    write_run_metrics(rows, folder.metrics)
    return folder.metrics


def _read_provenance(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ResultsError(
            f"{path}: not there, so this run is not trained; run `python -m sadetr train` first"
        ) from None
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete the run's folder and train it again") from error
