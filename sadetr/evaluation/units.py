"""Finds the unit of a prediction file: seconds or not, and the clips of its saliency (docs/metrics.md, "Units").

Rules are about whole files. What no honest predictor writes in seconds is an error; what may be meant is a hint.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query, tell
from sadetr.data.clip_labels import GRID_SLACK
from sadetr.data.jsonl import RowError
from sadetr.data.time_units import FEWEST, fractions
from sadetr.evaluation.moment_retrieval import pairwise_iou
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, iterate_predictions
from sadetr.settings import DatasetSettings

BEHIND = 0.25
"""Share of lines with a window behind its video that no file in seconds reaches."""
GAIN, LIKELY_GAIN = 0.3, 0.15
"""Gain in IoU from reading windows in another unit that makes this certain, and one that makes it likely."""
BETTER, BETTER_OF_MANY = 0.9, 0.6
"""Share of lines that must not lose by it; of many lines, among which chance evens out, fewer."""
MANY = 20
FITTING = 0.9
"""Share of lines that a clip length must fit to be that of a file."""
FEWEST_SCORES = 8
"""Scores per line below which their number says nothing about a clip length."""
CLIP_LENGTH_TOLERANCE = 0.05
"""Share by which a clip length may differ and still be the same."""
SAME = 1e-3
"""Difference up to which windows, in seconds or fractions, are the same: files carry four decimals."""
FRAME_RATES = (24.0, 25.0, 29.97, 30.0)

Predictions = Sequence[Mapping[str, Any]]


@dataclass(frozen=True)
class PredictionFile:
    """Predictions of other people, ready to be scored."""

    rows: list[dict[str, Any]]
    clip_length: float
    """Seconds per clip of their saliency."""


def read_foreign_predictions(
    path: Path | str,
    queries: Sequence[Query],
    dataset: DatasetSettings,
    highlights: bool,
    tell: Callable[[str], None] = tell,
) -> PredictionFile:
    """Read a prediction file that need not come from here: its units are checked before anything is scored.

    Args:
        path: the file.
        queries: the annotations that it must cover.
        dataset: the clips of features and labels.
        highlights: whether saliency is required, and its clips must be the features' or the labels'.
        tell: takes hints about what may be wrong.

    Raises:
        DataError: the file is malformed, or not in seconds, or its saliency is of clips that are neither the features'
            nor the labels'; names the first line at fault.
    """
    path = Path(path)
    read = list(iterate_predictions(path, queries, highlights))
    lines, rows = [row.number for row, _ in read], [prediction for _, prediction in read]
    check_windows(path, lines, rows, queries, dataset, tell)
    clip_length = dataset.clip_length
    if all(SALIENCY in row for row in rows):
        clip_length = saliency_clip_length(path, lines, rows, queries, dataset, highlights, tell)
    return PredictionFile(rows, clip_length)


def check_windows_of(
    path: Path | str, queries: Sequence[Query], dataset: DatasetSettings, tell: Callable[[str], None] = tell
) -> None:
    """Read a prediction file and refuse it if its windows are not in seconds; errors as of :func:`check_windows`."""
    read = list(iterate_predictions(path, queries, highlights=False))
    lines, rows = [row.number for row, _ in read], [prediction for _, prediction in read]
    check_windows(Path(path), lines, rows, queries, dataset, tell)


def check_windows(
    path: Path,
    lines: Sequence[int],
    rows: Predictions,
    queries: Sequence[Query],
    dataset: DatasetSettings,
    tell: Callable[[str], None] = tell,
) -> None:
    """Refuse predicted windows that are not in seconds; ``lines`` are the rows' places in the file.

    Raises:
        DataError: fractions of the video, frames, milliseconds, clips or the like, with the first line that shows it.
    """
    by_qid = {query.qid: query for query in queries}
    used = [index for index, row in enumerate(rows) if row[WINDOWS]]
    if not used:
        return
    windows = [np.array(rows[index][WINDOWS], dtype=np.float64)[:, :2] for index in used]
    matched = [by_qid[rows[index]["qid"]] for index in used]
    doubt = _doubt(windows, matched, dataset)
    if doubt is None:
        return
    line, fault = lines[used[doubt.index]], doubt.fault
    if doubt.certain and len(used) >= FEWEST:
        raise RowError(path, line, fault, doubt.remedy)
    tell(f"warning: {path}: line {line}: {fault}; if that is so, {doubt.remedy}")


@dataclass(frozen=True)
class _Doubt:
    certain: bool
    index: int
    fault: str
    remedy: str


def _doubt(windows: Sequence[NDArray[np.float64]], queries: Sequence[Query], dataset: DatasetSettings) -> _Doubt | None:
    durations = np.array([query.duration for query in queries])
    ends = np.array([found.max() for found in windows])
    if fractions(ends, durations):
        fault = f"{_shown(windows, queries, 0)}; no window of the file ends after 1, as with fractions of the video"
        return _Doubt(True, 0, fault, "multiply start and end by the duration: windows are seconds")
    doubts = [_better_unit(windows, queries, dataset), _behind(windows, queries, durations)]
    found = [doubt for doubt in doubts if doubt is not None]
    return next((doubt for doubt in found if doubt.certain), found[0] if found else None)


def _behind(
    windows: Sequence[NDArray[np.float64]], queries: Sequence[Query], durations: NDArray[np.float64]
) -> _Doubt | None:
    """Windows that start when their video is over: they count something shorter than a second."""
    behind = np.array([found[:, 0].max() for found in windows]) >= durations
    if behind.mean() < BEHIND:
        return None
    index = int(np.argmax(behind))
    late = windows[index][:, 0].argmax()
    window, share = windows[index][late], f"{behind.sum():,} of the file's {len(behind):,} lines"
    fault = f"window [{window[0]:g}, {window[1]:g}] starts after the video of {durations[index]:g} s, as in {share}"
    return _Doubt(True, index, fault, "write start and end in seconds, not in milliseconds, frames or clips")


def _better_unit(
    windows: Sequence[NDArray[np.float64]], queries: Sequence[Query], dataset: DatasetSettings
) -> _Doubt | None:
    """Another unit in which the first windows lie much better on the annotated ones."""
    labelled = [index for index, query in enumerate(queries) if query.windows is not None]
    if not labelled:
        return None
    first = np.stack([windows[index][0] for index in labelled])
    chosen = [queries[index] for index in labelled]
    durations = np.array([query.duration for query in chosen])
    plain = _best_iou(first, chosen)
    # The same window for every query says nothing about its unit, however well it would fit.
    enough = len(first) >= FEWEST and not _constant(first) and not _constant(first / durations[:, None])
    better = BETTER if len(first) < MANY else BETTER_OF_MANY
    found = []
    for unit, seconds in _units(durations, dataset):
        read = _best_iou(first * seconds[:, None], chosen)
        gain = read.mean() - plain.mean()
        if gain >= LIKELY_GAIN and read.mean() >= 2 * plain.mean():
            certain = enough and gain >= GAIN and bool((read >= plain).mean() >= better)
            found.append((gain, certain, unit, read))
    if not found:
        return None
    _, certain, unit, read = max(found, key=lambda entry: entry[0])
    index = labelled[int(np.argmax(read > plain))]
    fault = (
        f"{_shown(windows, queries, index)}; read as {unit}, the file's first windows overlap the annotated ones by "
        f"{100 * read.mean():.0f} % on average, as seconds by {100 * plain.mean():.0f} %"
    )
    return _Doubt(certain, index, fault, f"convert start and end from {unit} to seconds")


def _units(durations: NDArray[np.float64], dataset: DatasetSettings) -> Iterator[tuple[str, NDArray[np.float64]]]:
    """Units that are met with, and the seconds of one of them in each video."""
    ones = np.ones_like(durations)
    yield "fractions of the video", durations
    yield "percent of the video", durations / 100
    yield "minutes", 60 * ones
    yield "milliseconds", ones / 1000
    for length in dict.fromkeys((dataset.clip_length, dataset.label_clip_length)):
        if length is not None and length != 1:
            yield f"indices of clips of {length:g} s", length * ones
    for rate in FRAME_RATES:
        yield f"frames ({rate:g} per second)", ones / rate


def _constant(windows: NDArray[np.float64]) -> bool:
    return bool(np.ptp(windows, axis=0).max() <= SAME)


def _best_iou(windows: NDArray[np.float64], queries: Sequence[Query]) -> NDArray[np.float64]:
    """(n,) IoU of each of the windows (n, 2) with the annotated window that it overlaps best."""
    sizes = np.array([len(query.windows) for query in queries])
    iou = pairwise_iou(np.repeat(windows, sizes, axis=0), np.concatenate([query.windows for query in queries]))
    return np.maximum.reduceat(iou, np.concatenate(([0], np.cumsum(sizes)[:-1])))


def _shown(windows: Sequence[NDArray[np.float64]], queries: Sequence[Query], index: int) -> str:
    start, end = windows[index][0]
    return f"window [{start:g}, {end:g}] of a video of {queries[index].duration:g} s"


def saliency_clip_length(
    path: Path,
    lines: Sequence[int],
    rows: Predictions,
    queries: Sequence[Query],
    dataset: DatasetSettings,
    highlights: bool = True,
    tell: Callable[[str], None] = tell,
) -> float:
    """Seconds per predicted saliency score: those of the features' clips, or of the labels'.

    Raises:
        DataError: with ``highlights``, the scores of the file fit clips of another length, so that they would be cut
            or filled up.
    """
    durations = _durations(rows, queries)
    counts = np.array([len(row[SALIENCY]) for row in rows])
    labels = dataset.label_clip_length or next((query.label_clip_length for query in queries), None)
    tolerance = max(1, dataset.length_tolerance)
    fitting = {dataset.clip_length: _fits(counts, durations, dataset.clip_length, tolerance, dataset.max_video_clips)}
    if labels is not None:
        fitting.setdefault(labels, _fits(counts, durations, labels, tolerance))
    best = max(fitting, key=lambda length: fitting[length].sum())
    misfits = ~fitting[best]
    if highlights and misfits.mean() > 0.5:
        _refuse_other_clips(path, lines, counts, durations, best, tolerance)
    if misfits.any():
        index = int(np.argmax(misfits))
        tell(
            f"warning: {path}: line {lines[index]}: {counts[index]} {SALIENCY} for a video of {durations[index]:g} s "
            f"in clips of {best:g} s, and other numbers than clips in {misfits.sum():,} of {len(rows):,} lines; "
            "surplus scores are cut and missing ones count as 0: give one per clip"
        )
    if best != dataset.clip_length:
        tell(
            f"note: {path}: {SALIENCY} come one per {best:g} s, as the labels, while the setting's clips last "
            f"{dataset.clip_length:g} s; highlight detection is scored in clips of {best:g} s"
        )
    return best


def _durations(rows: Predictions, queries: Sequence[Query]) -> NDArray[np.float64]:
    by_qid = {query.qid: query.duration for query in queries}
    return np.array([by_qid[row["qid"]] for row in rows])


def _fits(
    counts: NDArray[np.int64],
    durations: NDArray[np.float64],
    clip_length: float,
    tolerance: int,
    limit: int | None = None,
) -> NDArray[np.bool_]:
    """Whether each number of scores can be that of the clips: a begun one may count, features may be cut and short."""
    clips = durations / clip_length
    fewest = np.minimum(np.floor(clips + GRID_SLACK), np.inf if limit is None else limit) - tolerance
    return (fewest <= counts) & (counts <= np.ceil(clips - GRID_SLACK) + tolerance)


def _refuse_other_clips(
    path: Path,
    lines: Sequence[int],
    counts: NDArray[np.int64],
    durations: NDArray[np.float64],
    best: float,
    tolerance: int,
) -> None:
    """Raise DataError if one other clip length fits the file."""
    length = float(np.median(durations / counts))
    other = abs(length / best - 1) > CLIP_LENGTH_TOLERANCE
    enough = len(lines) >= FEWEST and np.median(counts) >= FEWEST_SCORES
    if other and enough and _fits(counts, durations, length, tolerance).mean() >= FITTING:
        _fail(path, lines[0], int(counts[0]), float(durations[0]), length, best)


def _fail(path: Path, line: int, count: int, duration: float, length: float, best: float) -> NoReturn:
    raise RowError(
        path,
        line,
        f"{count} {SALIENCY} for a video of {duration:g} s: the file has one per {length:.4g} s, where one per "
        f"{best:g} s is expected",
        f"score it with a scale that sets dataset: {{clip_length: {length:.4g}}}, or write one score per {best:g} s",
    )
