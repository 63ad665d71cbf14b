"""What other authors published, in the optional folder ``<data root>/released_predictions/<setting>/``.

Prediction files are named ``<method>_<split>.jsonl``; ``convergence.csv`` holds the validation curves of their logs.
"""

import csv
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from sadetr.data.jsonl import read_text
from sadetr.disguise import CSV, is_companion
from sadetr.errors import DataError
from sadetr.experiments import Predictions
from sadetr.layering import CONFIG, named_files
from sadetr.settings import DatasetSettings

LOGS = "convergence.csv"


def check_published(root: Path | None, config: Path = CONFIG) -> None:
    """Refuse files of ``released_predictions`` that no setting would ever read.

    Raises:
        DataError: names the first one and where it belongs.
    """
    settings = named_files("settings", config)
    for path in _visible(root):
        if path.is_dir() and path.name not in settings:
            raise DataError(f"{path}: no such benchmark setting; rename the folder to one of {', '.join(settings)}")
        if path.suffix == ".jsonl":
            raise DataError(f"{path}: belongs into the folder of its benchmark setting, {path.parent}/<setting>/")


def published_predictions(root: Path | None, dataset: DatasetSettings) -> dict[Predictions, Path]:
    """Published prediction files of a benchmark setting, by name.

    Raises:
        DataError: a ``.jsonl`` file is not named ``<method>_<split>.jsonl``.
    """
    files = {}
    for path in _visible(root and root / dataset.name):
        if path.suffix != ".jsonl":
            continue
        method, _, split = path.stem.rpartition("_")
        if not method or split not in dataset.annotations:
            known = ", ".join(f"<method>_{split}.jsonl" for split in dataset.annotations)
            raise DataError(f"{path}: the name does not say what is predicted; rename it to one of {known}")
        files[Predictions(dataset.name, method, split)] = path
    return files


def left_aside(root: Path | None, setting: str) -> list[Path]:
    """Files of a benchmark setting that are neither predictions nor logs."""
    return [path for path in _visible(root and root / setting) if path.suffix != ".jsonl" and path.name != LOGS]


def _visible(folder: Path | None) -> list[Path]:
    if folder is None or not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if not is_companion(path.name))


@dataclass(frozen=True)
class Curve:
    """One metric of one method's published log."""

    epochs: tuple[int, ...]
    """Finished epochs, from 1, ascending."""
    values: tuple[float, ...]
    """Percent."""


def read_curves(path: Path, metrics: Sequence[str]) -> dict[tuple[str, str], Curve]:
    """Read ``convergence.csv``: columns method, epoch (from 1) and one per metric, in percent; others are ignored.

    Returns:
        (method, metric) -> curve.

    Raises:
        DataError: names file, line and what is wrong with it.
    """
    reader = csv.DictReader(io.StringIO(read_text(path, CSV), newline=""), strict=True)
    points: dict[tuple[str, str], dict[int, float]] = {}
    try:
        header = reader.fieldnames or []
        if missing := [name for name in ("method", "epoch", *metrics) if name not in header]:
            found = ", ".join(header) or "none"
            raise DataError(f"{path}: line 1: no column {missing[0]!r}; columns found: {found}")
        for record in reader:
            _add_points(points, record, metrics, f"{path}: line {reader.line_num}")
    except csv.Error as error:
        line = reader.reader.line_num  # the line that failed; the other counts the last one that did not
        raise DataError(f"{path}: line {line}: is not CSV ({error}); download or write it again") from error
    return {key: Curve(*zip(*sorted(curve.items()), strict=True)) for key, curve in points.items()}


def _add_points(
    points: dict[tuple[str, str], dict[int, float]], record: dict[str, str], metrics: Sequence[str], place: str
) -> None:
    if None in record or None in record.values():
        raise DataError(f"{place}: another number of cells than in the first line; correct the line")
    epoch = int(_number(record, "epoch", place, 1, math.inf))
    for metric in metrics:
        curve = points.setdefault((record["method"], metric), {})
        if epoch in curve:
            raise DataError(f"{place}: {record['method']!r} has epoch {epoch} twice; give every run its own method")
        curve[epoch] = _number(record, metric, place, 0, 100)


def _number(record: dict[str, str], column: str, place: str, low: float, high: float) -> float:
    try:
        value = float(record[column])
    except ValueError:
        value = math.nan
    whole = column != "epoch" or value.is_integer()
    if not (math.isfinite(value) and low <= value <= high and whole):
        expected = "a whole number from 1" if column == "epoch" else "percent, 0 to 100"
        raise DataError(f"{place}: {column} is {record[column]!r}; expected {expected}")
    return value
