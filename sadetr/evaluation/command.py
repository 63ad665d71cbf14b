"""What ``evaluate`` and ``submit`` do once the command line has been parsed."""

import csv
import io
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, Protocol

from sadetr.data.annotations import Query, read_annotations
from sadetr.data.labelling import labelled_in, left_out_of_scores, scored_parts
from sadetr.errors import DataError, SettingsError
from sadetr.evaluation.coverage import counted_queries, left_out
from sadetr.evaluation.formats import FORMATS, differences_table, metrics_tables
from sadetr.evaluation.scorer import Scores, metrics_of, score
from sadetr.evaluation.significance import (
    Contributions,
    confidence_intervals,
    contributions_of,
    paired_permutation_test,
)
from sadetr.evaluation.submission import MEMBERS, validate_submission, write_submission
from sadetr.evaluation.units import PredictionFile, check_windows_of, read_foreign_predictions
from sadetr.files import atomic_write_text
from sadetr.settings import DatasetSettings


class Predictor(Protocol):
    """What predicts queries without a prediction file: a network with weights, say."""

    @property
    def name(self) -> str:
        """Where the predictions come from, for readers."""

    def __call__(self, queries: Sequence[Query]) -> list[dict[str, Any]]:
        """Submission rows of ``queries``, in their order."""


def evaluate_command(
    dataset: DatasetSettings,
    annotations: Path,
    predictions: Path | None = None,
    baseline: str | None = None,
    train_annotations: Path | None = None,
    out: Path | None = None,
    *,
    predictor: Predictor | None = None,
    format: str = "flat",
    bootstrap: int | None = None,
    against: Path | None = None,
    seed: int = 0,
    queries: Path | None = None,
) -> None:
    """Score one prediction file, or a baseline, and print the metrics.

    Args:
        dataset: the benchmark setting.
        annotations: ground truth.
        predictions, baseline, predictor: exactly one of them: a file for the same split, a name from the baselines, or
            whatever else predicts the annotated queries.
        train_annotations: what a baseline may learn from.
        out: JSON file for all metrics; in the format "flat" with intervals and comparison where asked for.
        format: "flat" (unrounded), "moment-detr" or "cg-detr" (those evaluators' structure).
        bootstrap: resamples for confidence intervals, or None.
        against: predictions of the same queries for a paired test, or None.
        seed: of everything that is drawn.
        queries: CSV file for the contribution of every query to every metric, or None.

    Raises:
        SettingsError: the arguments do not go together.
        DataError: an input file is missing or malformed.
        ResultsError: an output cannot be written.
    """
    _check((predictions, baseline, predictor), out, format, bootstrap, compared=bool(bootstrap or against))
    truth = _read_truth(annotations, dataset)
    if predictor is not None:
        rows, clip_length = predictor(truth), dataset.clip_length
    elif predictions is not None:
        file = _read_predictions(predictions, truth, dataset)
        rows, clip_length = file.rows, file.clip_length
    else:
        from sadetr.evaluation.baselines import baseline_rows

        training = None if train_annotations is None else read_annotations(train_annotations, dataset.annotation_rules)
        clip_length = dataset.clip_length
        rows = baseline_rows(baseline, truth, training=training, clip_length=clip_length, seed=seed)
    scores = _score(rows, truth, dataset, clip_length)
    metrics = metrics_of(scores)
    counted = counted_queries(scores, list(metrics))
    report: dict[str, Any] = {
        "setting": dataset.name,
        "predictions": predictor.name if predictor is not None else baseline or str(predictions),
        "queries": len(truth),
        "metrics": metrics,
        "counted": counted,
    }
    contributions = contributions_of(scores) if bootstrap or against or queries else None
    intervals = confidence_intervals(contributions, bootstrap, seed) if bootstrap else None
    tables = metrics_tables(metrics, counted, intervals)
    incomplete = {report["predictions"]: left_out(scores, truth)}
    if intervals is not None:
        report["intervals"] = intervals
    if against is not None:
        file = _read_predictions(against, truth, dataset)
        other = _score(file.rows, truth, dataset, file.clip_length)
        incomplete[str(against)] = left_out(other, truth)
        differences = paired_permutation_test(contributions, contributions_of(other), seed)
        tables.append(differences_table(metrics, metrics_of(other), differences))
        report["against"] = str(against)
        report["differences"] = {
            name: None if found is None else {"difference": found.value, "p": found.p}
            for name, found in differences.items()
        }
    writer = FORMATS[format]
    if out is not None:
        atomic_write_text(out, json.dumps(writer(metrics) if writer else report, indent=2) + "\n")
    if queries is not None:
        atomic_write_text(queries, _contributions_csv(contributions, truth))
    _print(f"{report['predictions']}: {len(truth)} queries, {dataset.name}", tables)
    # Last, where it is read: some queries are missing from a mean that is compared with others'.
    for name, note in incomplete.items():
        if note:
            print(f"ATTENTION: {name}: {note}")


def submit_command(
    dataset: DatasetSettings, val: Path, test: Path, val_annotations: Path, test_annotations: Path, out: Path
) -> None:
    """Validate two prediction files line by line and pack them into the zip that the evaluation server took.

    Args:
        dataset: the benchmark setting.
        val, test: prediction files.
        val_annotations, test_annotations: the splits that they must cover; labels are not needed.
        out: the zip.

    Raises:
        DataError: names the first line at fault; nothing is written then.
        ResultsError: the zip cannot be written.
    """
    checked = {}
    for split, path, annotations in (("val", val, val_annotations), ("test", test, test_annotations)):
        truth = read_annotations(annotations, dataset.annotation_rules)
        # The server counts the clips of the labels, whatever features there are.
        labels = dataset.label_clip_length or next((query.label_clip_length for query in truth), None)
        check_windows_of(path, truth, dataset)
        checked[split] = validate_submission(path, truth, labels or dataset.clip_length)
    write_submission(out, val, test)
    _print(f"{out}: " + ", ".join(f"{MEMBERS[split]} ({found.count} queries)" for split, found in checked.items()))
    for split, path in (("val", val), ("test", test)):
        for note in checked[split].notes:
            print(f"note: {path}: {note}")


def _read_truth(annotations: Path, dataset: DatasetSettings) -> list[Query]:
    """The queries, with a warning about those that count for nothing.

    Raises:
        DataError: nothing can be scored.
    """
    truth = read_annotations(annotations, dataset.annotation_rules)
    if not any(labelled_in(truth, (part,)) for part in scored_parts(dataset.highlights)):
        raise DataError(
            f"{annotations}: no query has relevant_windows, so there is nothing to score; name a split with labels "
            "(`predict` writes predictions of this one)"
        )
    for remark in left_out_of_scores(truth, dataset.highlights):
        print(f"warning: {annotations}: {remark}", file=sys.stderr)
    return truth


def _read_predictions(path: Path, truth: Sequence[Query], dataset: DatasetSettings) -> PredictionFile:
    return read_foreign_predictions(path, truth, dataset, dataset.highlights and labelled_in(truth, ("saliency",)))


def _check(
    sources: Sequence[object | None], out: Path | None, format: str, bootstrap: int | None, compared: bool
) -> None:
    if sum(source is not None for source in sources) != 1:
        raise SettingsError("give either a prediction file or a baseline, or a checkpoint: one of them")
    if format not in FORMATS:
        raise SettingsError(f"there is no format {format!r}; choose one of {', '.join(FORMATS)}")
    if FORMATS[format] is not None and out is None:
        raise SettingsError(f"--format {format} is of the file that --out names; give --out metrics.json")
    if FORMATS[format] is not None and compared:
        raise SettingsError(f"--format {format} has no place for intervals and tests; write them with --format flat")
    if bootstrap is not None and bootstrap < 1:
        raise SettingsError(f"{bootstrap} bootstrap resamples are too few; give a positive number, 1000 say")


def _score(
    rows: Sequence[dict[str, Any]], truth: Sequence[Query], dataset: DatasetSettings, clip_length: float
) -> Scores:
    return score(rows, truth, highlights=dataset.highlights, clip_length=clip_length)


def _contributions_csv(contributions: Contributions, truth: Sequence[Query]) -> str:
    """One row per query, percent per metric, an empty cell where the query does not count."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["qid", *contributions.names])
    for query, values, counted in zip(truth, contributions.values, contributions.counted, strict=True):
        cells = (value if counts else "" for value, counts in zip(values.tolist(), counted, strict=True))
        writer.writerow([query.qid, *cells])
    return text.getvalue()


def _print(title: str, tables: Iterable[Any] = ()) -> None:
    from rich.console import Console

    print(title)
    console = Console(highlight=False)
    for table in tables:
        console.print(table)
