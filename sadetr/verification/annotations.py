"""Checks of annotation files: content, rows, statistics."""

import hashlib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

from sadetr.data.annotations import INCONVERTIBLE, ParsedRow, Query, Remark, examine, parse_row
from sadetr.data.jsonl import Row, RowError, read_lines
from sadetr.data.sources import AnnotationSource, ClipStatistics, Sources
from sadetr.disguise import JSON_LINES, disguise
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings
from sadetr.verification.findings import Place, Report, Severity
from sadetr.verification.labels import check_labels
from sadetr.verification.statistics import compare, measure, measure_clips, shown

OFFICIAL_AGAIN = "Download the file again; if the change is meant, results are not comparable with the paper."


@dataclass(frozen=True)
class Annotations:
    """What the feature checks need to know."""

    queries: list[Query]
    """Queries of all splits; rows with faults are left out, a qid counts once."""
    files: dict[str, str]
    """qid as text -> annotation file name."""
    complete: bool
    """Whether every row of every split was read."""

    @property
    def durations(self) -> dict[str, float]:
        """vid -> seconds, as its first row says."""
        durations: dict[str, float] = {}
        for query in self.queries:
            durations.setdefault(query.vid, query.duration)
        return durations


def check_annotations(report: Report, dataset: DatasetSettings, root: Path, sources: Sources | None) -> Annotations:
    """Check every split's file; what is known about official files is compared where ``sources`` are given."""
    folder = f"annotations/{dataset.annotations_in}"
    queries: dict[str, Query] = {}
    files: dict[str, str] = {}
    complete = True
    for split, name in dataset.annotations.items():
        place = f"{folder}/{name}"
        known = sources.annotations.get(name) if sources else None
        path = root / place
        if not path.is_file():
            found = disguise(path, JSON_LINES)
            what = f"annotation file of split {split!r} is missing"
            places = [Place(place, None, found.fault if found else "")]
            report.add("error", what, f"Run {report.refill}, or correct the data root.", places, _from(known))
            complete = False
            continue
        lines, faultless = _check_rows(report, dataset, path, place)
        rows = list(lines.values())
        complete &= faultless
        comparisons = []
        if rows:
            check_labels(report, dataset, split, place, lines)
            clips = _known_clips(report, dataset, sources, name)
            comparisons = compare(name, split, measure(rows), known.statistics if known else None)
            comparisons += compare(name, split, measure_clips(rows, dataset.clip_length), clips)
            report.statistics += comparisons
        if known is not None:
            differing = [entry for entry in comparisons if entry.agrees is False]
            _check_content(report, path, place, known, differing)
        _check_across(report, rows, place, queries, files)
        for query in rows:
            queries.setdefault(str(query.qid), query)
            files.setdefault(str(query.qid), name)
    _check_videos(report, folder, list(queries.values()), files)
    report.checked.append(f"annotations of {', '.join(dataset.annotations)}: {len(queries):,} queries, row by row")
    return Annotations(list(queries.values()), files, complete)


def _check_rows(report: Report, dataset: DatasetSettings, path: Path, place: str) -> tuple[dict[int, Query], bool]:
    """Line number -> row; the first fault of every line is reported, and every repeated qid."""
    try:
        lines = read_lines(path)
    except DataError as error:
        message = str(error).removeprefix(f"{path}: ")
        report.add("error", "annotation file cannot be read", "Download the file again.", [Place(place, None, message)])
        return {}, False
    rows: list[ParsedRow] = []
    faults: dict[str, list[Place]] = defaultdict(list)
    repeated: list[Place] = []
    used: dict[int | str, int] = {}
    last = max(lines)
    for number, line in lines.items():
        try:
            row = parse_row(Row(path, number, line, last=number == last), dataset.annotation_rules)
        except RowError as error:
            faults[error.remedy].append(Place(place, number, error.fault))
            continue
        qid = row.query.qid
        if qid in used:
            repeated.append(Place(place, number, f"qid {qid!r} was already used in line {used[qid]}"))
            continue
        used[qid] = number
        rows.append(row)
    for remedy, places in faults.items():
        report.add("error", "annotation rows are malformed", f"In these lines: {remedy}.", places)
    if repeated:
        report.add("error", "qids are used more than once", "Give every query its own qid.", repeated)
    queries, remarked = _check_units(report, dataset, rows, place)
    lines = {row.line: query for row, query in zip(rows, queries, strict=True)}
    return lines, not faults and not repeated and not remarked


def _check_units(
    report: Report, dataset: DatasetSettings, rows: list[ParsedRow], place: str
) -> tuple[list[Query], bool]:
    """Report what rows show together; returns the queries, and whether there is an error among it."""
    queries, remarks = examine(rows, dataset.annotation_rules)
    kinds: dict[tuple[Severity, str, str], list[Place]] = defaultdict(list)
    for remark in remarks:
        kinds[_severity(remark, dataset), remark.what, remark.remedy].append(Place(place, remark.line, remark.fault))
    for (severity, what, remedy), places in kinds.items():
        report.add(severity, what, f"To mend: {remedy}." if severity != "note" else f"{remedy}.", places)
    return queries, any(remark.severity == "error" for remark in remarks)


def _known_clips(report: Report, dataset: DatasetSettings, sources: Sources | None, name: str) -> ClipStatistics | None:
    """Statistics in clips, where the setting's clips are those of the official features."""
    if sources is None or name not in sources.clips:
        return None
    if sources.clip_length not in (None, dataset.clip_length):
        report.skipped.append(
            f"clips per video of {name}: known for clips of {sources.clip_length:g} s, the setting's last "
            f"{dataset.clip_length:g} s"
        )
        return None
    return sources.clips[name]


def _severity(remark: Remark, dataset: DatasetSettings) -> Severity:
    """Labels that nobody needs may be of any clips; the others are refused when they are used."""
    return "error" if remark.what == INCONVERTIBLE and dataset.needs_clip_labels else remark.severity


def _check_content(report: Report, path: Path, place: str, known: AnnotationSource, differing: list) -> None:
    """Compare with the official file: the checksum decides, the statistics say what the difference amounts to."""
    with open(path, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    numbers = [
        Place(place, None, f"{entry.title}: {shown(entry.measured, entry.known)}, known {shown(entry.known)}")
        for entry in differing
    ]
    if found != known.sha256:
        sizes = f"{path.stat().st_size:,} bytes, official {known.bytes:,}"
        first = Place(place, None, f"sha256 {found}, official {known.sha256}; {sizes}")
        report.add("error", "annotation file is not the official one", OFFICIAL_AGAIN, [first, *numbers], _from(known))
    elif numbers:
        report.add("error", "statistics differ although the file is the official one", "Report this defect.", numbers)


def _check_across(
    report: Report, rows: list[Query], place: str, queries: dict[str, Query], files: dict[str, str]
) -> None:
    shared = [
        Place(place, None, f"qid {query.qid!r} also occurs in {files[str(query.qid)]}")
        for query in rows
        if str(query.qid) in queries
    ]
    if shared:
        report.add("error", "qids occur in two splits", "Give every query its own qid.", shared)


def _check_videos(report: Report, folder: str, queries: list[Query], files: dict[str, str]) -> None:
    durations: dict[str, set[float]] = defaultdict(set)
    splits: dict[str, set[str]] = defaultdict(set)
    for query in queries:
        durations[query.vid].add(query.duration)
        splits[query.vid].add(files[str(query.qid)])
    unequal = [
        Place(folder, None, f"video {vid!r} lasts {' and '.join(f'{value:g}' for value in sorted(values))} s")
        for vid, values in durations.items()
        if len(values) > 1
    ]
    if unequal:
        report.add("error", "one video has two durations", "Correct the duration.", unequal)
    leaked = [
        Place(folder, None, f"video {vid!r}: {', '.join(sorted(names))}")
        for vid, names in splits.items()
        if len(names) > 1
    ]
    if leaked:
        report.add("warning", "splits share videos", "Scores are too high where unseen videos are meant.", leaked)


def _from(known: AnnotationSource | None) -> str:
    return f"official copy: {known.urls[0]}" if known and known.urls else ""
