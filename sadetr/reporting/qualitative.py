"""What a figure of qualitative results shows: which queries, and what each predictor says about them. Free of torch.

The default queries are not picked by hand: they lie at fixed places in the order of the first predictor's top-1 IoU
over the whole split (docs/inspection.md).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.configuration import ScaleSettings, resolve_dataset
from sadetr.data.annotations import SCORES, Query, read_annotations
from sadetr.data.clip_labels import clip_count, clip_labels
from sadetr.errors import ResultsError, SettingsError
from sadetr.evaluation.moment_retrieval import FULL, hull_iou
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, align, read_predictions
from sadetr.evaluation.scorer import score
from sadetr.evaluation.units import read_foreign_predictions
from sadetr.experiments import Experiment, Row
from sadetr.reporting.queries import find_query
from sadetr.reporting.requirements import examined_setting
from sadetr.reporting.scores import ScaleResults
from sadetr.settings import DatasetSettings

QUANTILES = {"upper quartile": 0.75, "median": 0.5, "lowest": 0.0}
"""Places of the default queries in the ascending order of top-1 IoU; equal ones stand in file order."""
MAX_PANELS = 6
MAX_WINDOWS = 5
"""Windows of one predictor that fit below each other."""

Rows = list[Mapping[str, Any]]


@dataclass(frozen=True)
class Prediction:
    """What one predictor says about one query."""

    label: str
    windows: NDArray[np.float64] | None
    """(n, 2) seconds, best first, at most as many as there are ground-truth windows (one without labels); None = not
    run."""
    iou: float | None
    """IoU of the first window with its best ground-truth window; None without a window or without labels."""
    saliency: NDArray[np.float64] | None
    """(L,) scaled to [0, 1] within the video, one value per clip."""
    clip_length: float
    """Seconds per clip of ``saliency``."""


@dataclass(frozen=True)
class Panel:
    """One query with its ground truth and predictions."""

    query: Query
    reason: str
    """Why it is shown; empty where it was asked for."""
    clip_length: float
    """Seconds per clip of the features, and of ``saliency``."""
    saliency: NDArray[np.float64] | None
    """(L,) mean of the annotators as a share of their highest score, 0 outside the relevant clips."""
    predictions: tuple[Prediction, ...]


def panels(
    experiment: Experiment, scale: ScaleSettings, results: ScaleResults, qids: Sequence[str] = ()
) -> list[Panel]:
    """The queries to show, with the predictions of every row; the first row is the one that is examined.

    Args:
        experiment: its rows are the predictors: the first run of a row, or a published prediction file.
        scale: generated data have no published predictions; their rows are left out.
        results: where runs and annotations lie.
        qids: queries to show; none = the default ones.

    Raises:
        SettingsError: an unknown or repeated qid, too many of them, or rows that do not go together.
        ResultsError: the first row's run has no predictions.
        DataError: annotations or predictions are malformed, or do not belong together.
    """
    dataset = resolve_dataset(examined_setting(experiment), scale.reference)
    truth = results.layout.annotations(dataset)[experiment.split]
    queries = read_annotations(truth, dataset.annotation_rules)
    rows = {
        row.labels[experiment.label_columns[0]]: _read(
            row, prediction_file(row, experiment, results, dataset), queries, dataset
        )
        for row in experiment.rows
        if row.runs or scale.data != "generated"
    }
    label, first = next(iter(rows.items()))
    if first is None:
        raise ResultsError(
            f"{prediction_file(experiment.rows[0], experiment, results, dataset)}: not there, and {experiment.name} "
            f"is about {label}. Train it first: 'snakemake --cores 1 {experiment.name}'"
        )
    if qids:
        chosen = dict.fromkeys(_positions(qids, experiment, truth, dataset, queries), "")
    else:
        chosen = default_choice(first[0], queries, label)
    return [_panel(queries[index], index, reason, dataset, rows) for index, reason in chosen.items()]


def prediction_file(row: Row, experiment: Experiment, results: ScaleResults, dataset: DatasetSettings) -> Path:
    """Predictions of a row on the experiment's split: its first run's, or the published ones."""
    if row.runs:
        return results.layout.run(row.runs[0]).prediction(row.checkpoint, experiment.split)
    return results.layout.published / dataset.name / f"{row.rescored.name}.jsonl"


def _read(row: Row, path: Path, queries: Sequence[Query], dataset: DatasetSettings) -> tuple[Rows, float] | None:
    """Predictions in the order of ``queries``, and the seconds per clip of their saliency."""
    if not path.exists():
        return None
    if row.runs:
        return align(read_predictions(path, queries, highlights=False), queries), dataset.clip_length
    found = read_foreign_predictions(path, queries, dataset, highlights=False)
    return align(found.rows, queries), found.clip_length


def default_choice(predictions: Rows, queries: Sequence[Query], label: str) -> dict[int, str]:
    """Index of each default query -> why it is shown; ``predictions`` of ``label`` are in the order of ``queries``.

    Queries without labels have no IoU and are passed over; where none has labels, the places are those of the file's
    order. In a small split two places may fall on one query: it keeps the first.
    """
    scores = score(predictions, queries, highlights=False, clip_length=1.0).moments[FULL]
    labelled = len(scores.queries) > 0
    order = scores.queries[np.argsort(scores.iou, kind="stable")] if labelled else np.arange(len(queries))
    chosen: dict[int, str] = {}
    for name, quantile in QUANTILES.items():
        reason = f"{name} IoU of {label}" if labelled else "no labels"
        chosen.setdefault(int(order[round(quantile * (len(order) - 1))]), reason)
    return chosen


def _positions(
    qids: Sequence[str], experiment: Experiment, truth: Path, dataset: DatasetSettings, queries: Sequence[Query]
) -> list[int]:
    if len(qids) > MAX_PANELS or len(set(qids)) < len(qids):
        raise SettingsError(f"{experiment.name} shows 1 to {MAX_PANELS} different queries, not {', '.join(qids)}")
    positions = {query.qid: index for index, query in enumerate(queries)}
    found = [find_query(qid, {experiment.split: truth}, dataset.annotation_rules)[1] for qid in qids]
    return [positions[query.qid] for query in found]


def _panel(
    query: Query, index: int, reason: str, dataset: DatasetSettings, rows: Mapping[str, tuple[Rows, float] | None]
) -> Panel:
    predictions = [
        Prediction(label, None, None, None, dataset.clip_length)
        if found is None
        else _prediction(label, found[0][index], query, found[1])
        for label, found in rows.items()
    ]
    return Panel(query, reason, dataset.clip_length, mean_saliency(query, dataset.clip_length), tuple(predictions))


def _prediction(label: str, row: Mapping[str, Any], query: Query, clip_length: float) -> Prediction:
    shown = 1 if query.windows is None else min(len(query.windows), MAX_WINDOWS)
    windows = np.array(row[WINDOWS][:shown], dtype=np.float64).reshape(-1, 3)[:, :2]
    scored = len(windows) and query.windows is not None
    iou = float(hull_iou(windows[0], query.windows).max()) if scored else None
    saliency = np.array(row.get(SALIENCY, ()), dtype=np.float64)
    return Prediction(label, windows, iou, scaled(saliency) if len(saliency) else None, clip_length)


def mean_saliency(query: Query, clip_length: float) -> NDArray[np.float64] | None:
    """(L,) mean annotation as a share of the highest score, 0 outside the relevant clips; None without labels."""
    if query.saliency is None or query.relevant_clip_ids is None:
        return None
    clips, scores = clip_labels(query, clip_length)
    values = np.zeros(clip_count(query.duration, clip_length))
    values[clips] = scores.mean(1) / (SCORES.stop - 1)
    return values


def scaled(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """``values`` stretched to [0, 1]; constant ones become 0.5. Only the order of saliency scores has a meaning."""
    low, high = values.min(), values.max()
    return (values - low) / (high - low) if high > low else np.full_like(values, 0.5)
