"""Annotations in the field's JSONL format: QVHighlights with saliency, other benchmarks with windows alone."""

import functools
import json
import sys
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from sadetr.clips import clips_per_label, misfit
from sadetr.data.clip_labels import MOST_CLIPS, clip_count, faults, find_clip_length, fitting_clip_length
from sadetr.data.jsonl import Row, RowError, read_rows
from sadetr.data.query import Query
from sadetr.data.time_units import FEWEST, doubt_annotations
from sadetr.files import atomic_write_text
from sadetr.settings import AnnotationRules, WindowOverrun

TOLERANCE = 1e-6
"""Seconds by which a window may exceed its video: rounding."""
MOST_RATIO = 20
"""How often one clip holds another at most; where more would fit, it is times that are wrong and not clips."""
SCORES = range(5)
"""Values of one annotator's saliency."""
ANNOTATORS = 3
INCONVERTIBLE = "labels cannot be converted to the features' clips"
"""Kind of the remark about them: a fault where they are needed."""


@dataclass(frozen=True, slots=True)
class ParsedRow:
    """One valid row, and what was done to it."""

    line: int
    """Number of its line in the file, 1-based."""
    query: Query
    overruns: tuple[float, ...] = ()
    """Seconds by which windows ended after the video, each of which was clamped."""


@dataclass(frozen=True, slots=True)
class Remark:
    """Something that only the whole file shows."""

    severity: Literal["error", "warning", "note"]
    line: int
    """Where it shows first, 1-based."""
    fault: str
    remedy: str
    what: str
    """Its kind, for reports that collect them."""


@functools.cache
def tell(message: str) -> None:
    """Say something about an input on standard error, where it disturbs no output; once, however often it is read."""
    print(message, file=sys.stderr, flush=True)


DEFAULT_RULES = AnnotationRules()


def read_annotations(
    path: Path | str, rules: AnnotationRules = DEFAULT_RULES, tell: Callable[[str], None] = tell
) -> list[Query]:
    """Read and validate an annotation file; fields that it does not know are ignored.

    Args:
        path: one JSON object per line.
        rules: of the setting: the clips of features and labels, and what happens to windows that leave their video.
        tell: takes notes about the file, such as how many windows were clamped.

    Raises:
        DataError: names the file, the line and what is wrong with it. Nothing is skipped.
    """
    path, parsed = Path(path), []
    lines: dict[int | str, int] = {}
    for row in read_rows(path):
        found = parse_row(row, rules)
        qid = found.query.qid
        if qid in lines:
            row.fail(f"qid {qid!r} was already used in line {lines[qid]}", "give every query its own qid")
        lines[qid] = row.number
        parsed.append(found)
    queries, remarks = examine(parsed, rules)
    for remark in remarks:
        if remark.severity == "error":
            raise RowError(path, remark.line, remark.fault, remark.remedy)
    for kind in dict.fromkeys(remark.what for remark in remarks):
        first, *others = (remark for remark in remarks if remark.what == kind)
        more = f" (and {len(others):,} more lines)" if others else ""
        tell(f"{first.severity}: {path}: line {first.line}: {first.fault}{more}; {first.remedy}")
    return queries


def write_annotations(path: Path | str, queries: Iterable[Query]) -> None:
    """Write ``queries`` with the official field names, in one step; the inverse of :func:`read_annotations`.

    Raises:
        ResultsError: the file cannot be written.
    """
    rows = []
    for query in queries:
        row: dict[str, Any] = {"qid": query.qid, "query": query.query, "duration": query.duration, "vid": query.vid}
        if query.relevant_clip_ids is not None and query.saliency is not None:
            row["relevant_clip_ids"] = query.relevant_clip_ids.tolist()
            row["saliency_scores"] = query.saliency.tolist()
        if query.windows is not None:
            row["relevant_windows"] = query.windows.tolist()
        rows.append(json.dumps(row, ensure_ascii=False) + "\n")
    atomic_write_text(path, "".join(rows))


def parse_row(row: Row, rules: AnnotationRules) -> ParsedRow:
    """Read and validate one row, as far as it shows by itself; the rest is for :func:`examine`.

    Raises:
        RowError: the first thing that is wrong with it.
    """
    duration = row.number_of("duration")
    if duration <= 0:
        row.fail(f"duration {duration} is not positive", "give the video's length in seconds")
    windows, overruns = _windows(row, duration, rules.window_overrun)
    clips, saliency = _saliency(row)
    qid = row.get("qid", (int, str))
    query = Query(qid, row.get("query", (str,)), row.get("vid", (str,)), duration, windows, clips, saliency)
    return ParsedRow(row.number, query, overruns)


def examine(rows: Sequence[ParsedRow], rules: AnnotationRules) -> tuple[list[Query], list[Remark]]:
    """Validate what rows show together: units, and clip ids against windows.

    Returns:
        The queries with the clip length that their ids count, and remarks in the order in which they should be read.
    """
    queries = [row.query for row in rows]
    remarks = []
    doubt = doubt_annotations(
        [query.windows for query in queries], [query.duration for query in queries], [query.vid for query in queries]
    )
    if doubt is not None:
        severity, what = "error" if doubt.certain else "warning", "windows and durations differ in their unit"
        remarks.append(Remark(severity, rows[doubt.index].line, doubt.fault, doubt.remedy, what))
        if doubt.certain:
            return queries, remarks
    if clamped := [row for row in rows if row.overruns]:
        remarks.append(_clamped(clamped, rules.window_overrun))
    labels = rules.label_clip_length or find_clip_length(queries, rules.clip_length)
    if rules.window_overrun.rule == "clamp":
        queries = [_without_overrun(query, labels, rules.window_overrun.tolerance) for query in queries]
    remarks += _contradictions(rows, queries, labels, rules)
    if labels != rules.clip_length:
        queries = [query if query.saliency is None else replace(query, label_clip_length=labels) for query in queries]
        remarks += _converted(rows, labels, rules)
    return queries, remarks


def _clamped(rows: Sequence[ParsedRow], overrun: WindowOverrun) -> Remark:
    count, most = sum(len(row.overruns) for row in rows), max(max(row.overruns) for row in rows)
    windows = "a window ends after its" if count == 1 else f"the first of {count:,} windows that end after their"
    fault = f"{windows} video, by {most:.3g} s at most"
    remedy = f"clamped to the duration (window_overrun: {{rule: clamp, tolerance: {overrun.tolerance:g}}})"
    return Remark("note", rows[0].line, fault, remedy, "windows that end after their video were clamped")


def _without_overrun(query: Query, clip_length: float, tolerance: float) -> Query:
    """``query`` without labels of clips that end after its video, by no more than a clamped window may."""
    ids = query.relevant_clip_ids
    if ids is None or not len(ids) or ids[-1] < clip_count(query.duration, clip_length):
        return query
    over = (ids >= clip_count(query.duration, clip_length)) & ((ids + 1) * clip_length <= query.duration + tolerance)
    return replace(query, relevant_clip_ids=ids[~over], saliency=query.saliency[~over])


def _contradictions(
    rows: Sequence[ParsedRow], queries: Sequence[Query], labels: float, rules: AnnotationRules
) -> list[Remark]:
    """Rows whose clip ids do not lie in their windows by clips of ``labels`` seconds.

    Windows that are labelled in part are allowed, as long as no other unit explains them.
    """
    found = faults(queries, labels)
    fitting = fitting_clip_length(queries, labels) if found else None
    certain = any(fault.certain for fault in found) or (fitting is not None and len(found) >= FEWEST)
    remedy = _other_unit(fitting, labels, rules)
    what = "relevant_clip_ids and relevant_windows contradict each other"
    if not certain:
        what = "windows hold clips without labels"
        remedy = f"such clips count as score 0: label every clip of a window{f', or {remedy}' if fitting else ''}"
    elif fitting is None:
        found = [fault for fault in found if fault.certain]
    severity = "error" if certain else "warning"
    return [Remark(severity, rows[fault.index].line, fault.text, remedy, what) for fault in found]


def _other_unit(fitting: float | None, labels: float, rules: AnnotationRules) -> str:
    """What to do about clip ids that contradict the windows: all of them in the unit ``fitting``, or some wrong."""
    if fitting is None:
        where = "label_clip_length" if rules.label_clip_length else "clip_length"
        return f"correct relevant_clip_ids or relevant_windows, or {where} ({labels:g} s) in the setting"
    if not labels / MOST_RATIO <= fitting <= labels * MOST_RATIO:
        return (
            "write durations and windows in seconds, not in milliseconds, frames or fractions of the video (clips of "
            f"{fitting:g} s would fit all rows)"
        )
    return f"set label_clip_length: {fitting:g} in the setting (clips of {fitting:g} s fit all rows)"


def _converted(rows: Sequence[ParsedRow], labels: float, rules: AnnotationRules) -> list[Remark]:
    """A note where nobody has said that the labels count other clips than the features."""
    labelled = [row.line for row in rows if row.query.saliency is not None]
    if rules.label_clip_length is not None or not labelled:
        return []
    fault = f"relevant_clip_ids count clips of {labels:g} s, by the windows, and clip_length is {rules.clip_length:g} s"
    if clips_per_label(labels, rules.clip_length) is None:
        return [Remark("warning", labelled[0], fault, misfit(labels, rules.clip_length), INCONVERTIBLE)]
    remedy = f"labels are converted; say so by label_clip_length: {labels:g} in the setting"
    return [Remark("note", labelled[0], fault, remedy, "labels count other clips than the features")]


def _windows(row: Row, duration: float, overrun: WindowOverrun) -> tuple[NDArray[np.float64] | None, tuple[float, ...]]:
    """Windows within the video, and by how much those that were clamped left it."""
    if not row.has("relevant_windows"):
        return None, ()
    windows = row.table("relevant_windows", 2)
    if not windows:
        row.fail("field 'relevant_windows' is empty", "leave the field out where there are no labels")
    overruns = []
    for start, end in windows:
        if start >= end:
            row.fail(f"window [{start:g}, {end:g}] does not end after its start", "swap its ends or remove it")
        if start < -TOLERANCE or end > duration + TOLERANCE:
            fault = f"window [{start:g}, {end:g}] leaves the video of {duration:g} s"
            if start < -TOLERANCE or start >= duration - TOLERANCE:
                row.fail(fault, _correct(end, duration))
            if end - duration > overrun.tolerance + TOLERANCE:
                row.fail(fault, _overrun_remedy(end, duration, overrun))
            overruns.append(end - duration)
    array = np.array(windows, dtype=np.float64)
    if overruns:
        array[:, 1] = np.minimum(array[:, 1], duration)
    return array, tuple(overruns)


def _correct(end: float, duration: float) -> str:
    unit = ", not in frames or milliseconds" if end > 2 * duration else ""
    return f"correct the window or the duration, both in seconds{unit}"


def _overrun_remedy(end: float, duration: float, overrun: WindowOverrun) -> str:
    correct = _correct(end, duration)
    if overrun.rule == "refuse":
        choice = "window_overrun: {rule: clamp, tolerance: 1.0}"
        return f"{correct}; if durations were rounded, set {choice} in the setting"
    tolerance = f"window_overrun.tolerance in the setting, {overrun.tolerance:g} s"
    return f"{correct}; its {end - duration:.3g} s beyond the video are more than {tolerance}"


def _saliency(row: Row) -> tuple[NDArray[np.int64] | None, NDArray[np.int64] | None]:
    if not row.has("saliency_scores"):
        # Clip ids alone say no more than the windows do.
        return None, None
    ids = row.numbers("relevant_clip_ids", (int,))
    scores = row.table("saliency_scores", ANNOTATORS, (int,))
    if len(ids) != len(scores):
        row.fail(f"{len(ids)} relevant_clip_ids but {len(scores)} saliency_scores", "give one triple per clip")
    for clip in ids:
        if not 0 <= clip < MOST_CLIPS:
            row.fail(f"relevant clip {clip} is not one of the video's clips", "correct relevant_clip_ids")
    if any(later <= earlier for earlier, later in pairwise(ids)):
        row.fail("relevant_clip_ids are not ascending or repeat a clip", "sort them and remove repetitions")
    for index, triple in enumerate(scores):
        if min(triple) < SCORES.start or max(triple) >= SCORES.stop:
            row.fail(f"saliency_scores[{index}] is {triple}, outside 0 to 4", "correct the scores")
    return np.array(ids, dtype=np.int64), np.array(scores, dtype=np.int64).reshape(-1, ANNOTATORS)
