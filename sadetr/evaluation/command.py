"""Scoring a prediction file, or a trivial predictor, by hand."""

import json
from pathlib import Path

from sadetr.data.annotations import read_annotations
from sadetr.errors import DataError
from sadetr.evaluation.baselines import baseline_predictions
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.files import atomic_write_text
from sadetr.settings import DatasetSettings


def evaluate_command(
    dataset: DatasetSettings,
    annotations: Path,
    predictions: Path | None = None,
    baseline: str | None = None,
    train_annotations: Path | None = None,
    out: Path | None = None,
) -> dict[str, float | None]:
    """Print every metric of a prediction file or trivial predictor, and write them to ``out`` as JSON.

    Raises:
        DataError: files that are missing or malformed, or neither predictions nor a baseline.
    """
    queries = read_annotations(annotations, dataset.clip_length)
    if (predictions is None) == (baseline is None):
        raise DataError("say what to score: either --predictions FILE or --baseline NAME")
    if predictions is not None:
        rows = read_predictions(predictions, queries, dataset.highlights)
    else:
        train = read_annotations(train_annotations, dataset.clip_length) if train_annotations else []
        rows = baseline_predictions(baseline or "", queries, train, dataset.clip_length)
    metrics = evaluate(rows, queries, highlights=dataset.highlights, clip_length=dataset.clip_length)
    _print(metrics, len(queries))
    if out is not None:
        rounded = {name: None if value is None else round(value, 2) for name, value in metrics.items()}
        atomic_write_text(out, json.dumps(rounded, indent=2) + "\n")
    return metrics


def _print(metrics: dict[str, float | None], queries: int) -> None:
    """One line per metric, two decimals; length ranges beside the full range."""
    ranges = ("", "short/", "middle/", "long/")
    print(f"{queries} queries; percent")
    print(f"{'metric':<18}{'full':>9}{'short':>9}{'middle':>9}{'long':>9}")
    for name in metrics:
        if "/" not in name:
            cells = (_cell(metrics, prefix + name) for prefix in ranges)
            print(f"{name:<18}{''.join(f'{cell:>9}' for cell in cells)}".rstrip())


def _cell(metrics: dict[str, float | None], name: str) -> str:
    if name not in metrics:
        return ""
    value = metrics[name]
    return "none" if value is None else f"{value:.2f}"
