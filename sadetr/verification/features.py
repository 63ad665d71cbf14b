"""Checks of feature folders: every file there, readable, of the right kind, and as long as its video."""

from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

from sadetr.data import arrays, extracted, manifest
from sadetr.data.arrays import ArrayCheck, check_array
from sadetr.data.parallel import in_parallel
from sadetr.data.places import present, spelled_otherwise
from sadetr.data.sources import Archive, Sources
from sadetr.disguise import is_companion
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, TokenFiles
from sadetr.verification.annotations import Annotations
from sadetr.verification.findings import Place, Report, Severity

AGAIN = "Unpack or download these files again."
KINDS = {
    arrays.UNREADABLE: ("feature files cannot be read (truncated or corrupt, or not what their name says)", AGAIN),
    arrays.NO_KEY: ("feature files lack the array that the setting names", "Correct the stream's key in the setting."),
    arrays.NOT_FLOAT: ("feature files hold no floating-point numbers", AGAIN),
    arrays.NOT_2D: ("feature files hold no table of rows", AGAIN),
    arrays.NOT_FINITE: ("feature files hold NaN or infinite rows", AGAIN),
    arrays.EMPTY: ("feature files have no rows (zero length)", AGAIN),
}
"""Kind of fault -> what is reported and its remedy."""


@dataclass(frozen=True)
class FeatureFolder:
    """One folder of feature files."""

    label: str
    place: str
    """Relative to the data root."""
    names: dict[str, str]
    """vid or qid -> file name."""
    key: str
    width: int
    source: str

    def file(self, name: str) -> str:
        """Path of the file of a vid or qid, relative to the data root."""
        return f"{self.place}/{self.names[name]}"


def check_video(
    report: Report,
    dataset: DatasetSettings,
    root: Path,
    annotations: Annotations,
    sources: Sources | None,
    headers_only: bool,
) -> dict[str, dict[str, int]]:
    """Check every video stream's files; returns stream -> vid -> clips of those that have a usable shape."""
    checks: dict[str, dict[str, ArrayCheck]] = {}
    folders: dict[str, FeatureFolder] = {}
    for stream in dataset.video_streams:
        names = {vid: f"{vid}{stream.suffix}" for vid in annotations.durations}
        folder = FeatureFolder(
            f"stream {stream.name!r}",
            f"features/{dataset.name}/{stream.directory}",
            names,
            stream.key,
            stream.width,
            where_from(dataset, sources, stream.directory),
        )
        folders[stream.name] = folder
        checks[stream.name] = check_folder(report, folder, root, headers_only, annotations.complete)
    widths = {stream.name: stream.width for stream in dataset.video_streams}
    for stream in dataset.video_streams:
        _check_width(report, stream.name, widths, checks, folders)
    return {name: {vid: check.rows for vid, check in found.items() if check.rows} for name, found in checks.items()}


def check_tokens(
    report: Report,
    dataset: DatasetSettings,
    stream: TokenFiles,
    root: Path,
    annotations: Annotations,
    sources: Sources | None,
    headers_only: bool,
) -> None:
    """Check the token features of every query."""
    names = {str(query.qid): f"{stream.prefix}{query.qid}.npz" for query in annotations.queries}
    place = f"features/{dataset.name}/{stream.directory}"
    source = where_from(dataset, sources, stream.directory)
    folder = FeatureFolder("text features", place, names, stream.key, stream.width, source)
    if _other_prefix(report, folder, root, stream.prefix):
        return
    checks = check_folder(report, folder, root, headers_only, annotations.complete, strangers="error")
    _check_width(report, folder.label, {folder.label: stream.width}, {folder.label: checks}, {folder.label: folder})


def check_folder(
    report: Report, folder: FeatureFolder, root: Path, headers_only: bool, complete: bool, strangers: Severity = "note"
) -> dict[str, ArrayCheck]:
    """Check that the expected files are there and readable; vid or qid -> what its file holds."""
    path = root / folder.place
    if not path.is_dir():
        report.add("error", f"folder of {folder.label} is missing", _put(report, folder), [folder.place], folder.source)
        return {}
    found_here = present(path, folder.names.values())
    _check_names(report, folder, found_here, complete, strangers)
    wanted = {name: path / file for name, file in folder.names.items() if file in found_here}
    found = in_parallel(lambda file: check_array(file, folder.key, headers_only), wanted.values(), folder.label)
    checks = dict(zip(wanted, found, strict=True))
    faults: dict[tuple[str, str], list[Place]] = defaultdict(list)
    for name, check in checks.items():
        if check.fault:
            faults[check.fault, check.remedy].append(Place(folder.file(name), check.bad_row, check.detail))
    for (kind, own), places in faults.items():
        what, remedy = KINDS[kind]
        own = own and f"{own[0].upper()}{own[1:]}."
        report.add("error", f"{folder.label}: {what}", own or remedy, places, folder.source)
    blank = [folder.file(name) for name, check in checks.items() if check.all_zero]
    if blank:
        report.add("warning", f"{folder.label}: feature files hold only zeros", "Check how they were extracted.", blank)
    _check_extraction(report, folder, path, wanted, headers_only)
    depth = "presence, size and header" if headers_only else "every number"
    report.checked.append(f"{folder.label}: {len(checks):,} of {len(folder.names):,} files, {depth}")
    return checks


def _check_extraction(
    report: Report, folder: FeatureFolder, path: Path, wanted: dict[str, Path], headers_only: bool
) -> None:
    """Whether a folder of extracted features holds nothing else; what made them is a note."""
    names = [folder.names[name] for name in wanted]
    try:
        record = extracted.check_listed(path, names)
        if record is not None and not headers_only:
            sums = in_parallel(lambda name: manifest.sha256(path / name), names, f"{folder.label}: checksums")
            extracted.check_unchanged(path, record, dict(zip(names, sums, strict=True)))
    except DataError as error:
        remedy = "Delete them and extract again, or move the folder away."
        what = f"{folder.label}: extracted and other feature files are mixed"
        report.add("error", what, remedy, [Place(folder.place, None, str(error))])
        return
    if record is not None:
        made_with = record.made_with.get("network", "an unknown network")
        report.add("note", f"{folder.label}: extracted here by {made_with}", "See extraction.json.", [folder.place])


def _check_names(report: Report, folder: FeatureFolder, found: set[str], complete: bool, strangers: Severity) -> None:
    missing = {folder.file(name): file for name, file in folder.names.items() if file not in found}
    if missing:
        suffix = next(iter(missing))[-4:]
        other = {".npz": ".npy", ".npy": ".npz"}[suffix]
        if all(f"{file.removesuffix(suffix)}{other}" in found for file in missing.values()):
            what = f"{folder.label}: files are {other}, the setting expects {suffix}"
            report.add("error", what, "Correct the stream's suffix in the setting.", [folder.place])
        else:
            what = f"{folder.label}: feature files are missing ({len(missing):,} of {len(folder.names):,})"
            remedy = _put(report, folder) + next(filter(None, map(spelled_otherwise, missing.values())), "")
            report.add("error", what, remedy, missing, folder.source)
    unknown = {name for name in found - set(folder.names.values()) if not is_companion(Path(name).name)}
    extra = [f"{folder.place}/{name}" for name in sorted(unknown) if name.endswith((".npz", ".npy"))]
    # Rows that could not be read own files that would look like strangers here.
    if extra and complete:
        what = f"{folder.label}: files of videos or queries that no annotation has ({len(extra):,})"
        remedy = "Annotations and features may not belong together; otherwise these files are of no harm."
        if strangers == "error":
            remedy = "Annotations and features do not belong together: add the missing annotation file or remove these."
        report.add(strangers, what, remedy, extra)


def _other_prefix(report: Report, folder: FeatureFolder, root: Path, prefix: str) -> bool:
    """Whether no expected file is there, but all under the other naming that official archives use."""
    other = "" if prefix else "qid"
    path = root / folder.place
    others = [f"{other}{qid}.npz" for qid in folder.names]
    found = present(path, [*others, *folder.names.values()]) if path.is_dir() else set()
    if found.isdisjoint(folder.names.values()) and found.issuperset(others):
        what = f"text features are named '{other}<qid>.npz', the setting expects '{prefix}<qid>.npz'"
        report.add("error", what, f"Set text_stream.prefix to '{other}' in the setting.", [folder.place])
        return True
    return False


def _check_width(
    report: Report,
    name: str,
    widths: dict[str, int],
    checks: dict[str, dict[str, ArrayCheck]],
    folders: dict[str, FeatureFolder],
) -> None:
    """Find wrong widths: of single files, of the whole folder, and streams that were swapped."""
    folder, expected = folders[name], widths[name]
    usual = {stream: _usual_width(found) for stream, found in checks.items()}
    twins = [other for other, width in widths.items() if other != name and width == usual[name]]
    if usual[name] not in (None, expected):
        what = f"{folder.label} is {usual[name]} wide throughout, the setting says {expected}"
        remedy = "Use the features that the setting names, or correct the stream's width."
        if twins:
            swapped = usual[twins[0]] == expected
            what = f"{folder.label} has the width of stream {twins[0]!r} ({usual[name]} instead of {expected})"
            what += ": the two folders are swapped" if swapped else ": its folder holds that stream's files"
            remedy = f"Exchange the content of {folder.place} and {folders[twins[0]].place}."
            remedy = remedy if swapped else f"Put the right files into {folder.place}."
        report.add("error", what, remedy, [folder.place], folder.source)
    else:
        odd = {vid: check.width for vid, check in checks[name].items() if check.width not in (None, expected)}
        places = [Place(folder.file(vid), None, f"{width} instead of {expected} wide") for vid, width in odd.items()]
        if places:
            report.add("error", f"{folder.label}: feature files have the wrong width", AGAIN, places, folder.source)


def _usual_width(checks: dict[str, ArrayCheck]) -> int | None:
    """The width of most files."""
    widths = Counter(check.width for check in checks.values() if check.width is not None)
    return widths.most_common(1)[0][0] if widths else None


def where_from(dataset: DatasetSettings, sources: Sources | None, place: str) -> str:
    """Say from which archive a folder or file below ``features/<setting>/`` comes, and where it belongs."""
    archive = sources.archive_of(place) if sources else None
    if archive is None:
        return ""
    return f"{_named(archive)}, into features/{dataset.name}/{place}"


def _named(archive: Archive) -> str:
    address = archive.url or (archive.pages[0] if archive.pages else "")
    return f"from {archive.file} ({archive.size}) at {address}"


def _put(report: Report, folder: FeatureFolder) -> str:
    return f"Put the files into {folder.place}, or run {report.refill}."
