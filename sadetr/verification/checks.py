"""All checks of one setting, in order; none stops at the first fault."""

from dataclasses import replace
from pathlib import Path

from sadetr.configuration import ScaleSettings
from sadetr.data import manifest
from sadetr.data.places import name_fault
from sadetr.data.sources import Sources
from sadetr.errors import DataError
from sadetr.evaluation.scorer import unknown_metrics
from sadetr.layering import find
from sadetr.settings import DatasetSettings, TokenFiles
from sadetr.verification.annotations import Annotations, check_annotations
from sadetr.verification.features import check_tokens, check_video
from sadetr.verification.findings import Place, Report
from sadetr.verification.lengths import check_lengths
from sadetr.verification.words import check_words


def check_data(
    dataset: DatasetSettings,
    scale: ScaleSettings,
    root: Path,
    sources: Sources | None = None,
    store: Path | None = None,
    quick: bool = False,
) -> Report:
    """Check everything that a preparation of ``dataset`` would read.

    Args:
        dataset: the setting as the scale sees it.
        scale: where the data come from; what is known about official files applies to official data only.
        root: holds ``annotations/`` and ``features/``.
        sources: what is known about the official files.
        store: prepared feature store whose inputs are looked at again, where there is one.
        quick: look at presence, sizes and headers only.
    """
    command = "generate" if scale.data == "generated" else "download"
    refill = f"`python -m sadetr {command} --setting {dataset.name}`"
    report = Report(dataset.name, dataset.title, scale.name, scale.label, refill)
    known = sources if scale.data != "generated" else None
    if scale.data == "generated":
        report.skipped.append("checksums and statistics of the official files: the data are generated")
    elif sources is None:
        report.skipped.append(f"checksums and statistics: there is no sources/{dataset.name}.yaml (docs/data.md)")
    for message in unknown_metrics(dataset):
        file = find("settings", f"{dataset.name}.yaml")
        report.add("error", message, "Correct the rule, or set highlights if they are meant.", [str(file)])
    annotations = check_annotations(report, dataset, root, known)
    if scale.data != "simulated":
        annotations = _without_misplaced(report, dataset, annotations)
    if scale.data == "simulated":
        unlabelled = [query for query in annotations.queries if query.windows is None]
        if unlabelled:
            folder, files = f"annotations/{dataset.annotations_in}", annotations.files
            places = [Place(f"{folder}/{files[str(query.qid)]}", None, f"qid {query.qid!r}") for query in unlabelled]
            what = f"queries without relevant_windows ({len(unlabelled):,}), whose videos cannot be simulated"
            report.add("error", what, "Use annotation files with labels for every split.", places)
        report.skipped.append("feature files: this scale simulates its features")
    elif not annotations.queries:
        report.skipped.append("feature files: there are no annotations to check them against")
    else:
        _check_features(report, dataset, root, annotations, known, quick)
    if store is not None:
        _check_prepared(report, dataset, root, annotations, store, quick)
    return report


def _without_misplaced(report: Report, dataset: DatasetSettings, annotations: Annotations) -> Annotations:
    """Report names that lead out of the feature folders; their queries are left out of what follows."""
    kept, places = [], []
    for query in annotations.queries:
        faults = [(name, fault) for name in (query.vid, str(query.qid)) if (fault := name_fault(name))]
        file = f"annotations/{dataset.annotations_in}/{annotations.files[str(query.qid)]}"
        places += [Place(file, None, f"qid {query.qid!r}: {name!r} {fault}") for name, fault in faults]
        kept += [] if faults else [query]
    if places:
        remedy = "Name videos and queries by the path of their files below the stream's folder."
        report.add("error", "names of videos or queries lead to no file in the feature folders", remedy, places)
    return replace(annotations, queries=kept, complete=annotations.complete and not places)


def _check_features(
    report: Report, dataset: DatasetSettings, root: Path, annotations: Annotations, known: Sources | None, quick: bool
) -> None:
    if quick:
        report.skipped.append("NaN and infinite rows, files of zeros, and checksums inside archives (--quick)")
    clips = check_video(report, dataset, root, annotations, known, quick)
    check_lengths(report, dataset, annotations, known, clips)
    stream = dataset.text_stream
    if isinstance(stream, TokenFiles):
        check_tokens(report, dataset, stream, root, annotations, known, quick)
    else:
        check_words(report, dataset, stream, root, annotations, known, quick)


def _check_prepared(
    report: Report, dataset: DatasetSettings, root: Path, annotations: Annotations, store: Path, quick: bool
) -> None:
    """Compare the inputs of an existing feature store with what they are now."""
    path = store / manifest.FILE
    if not path.exists():
        reason = "it keeps no record of its inputs" if store.exists() else "nothing is prepared yet"
        report.skipped.append(f"inputs since preparation: {reason}")
        return
    try:
        entries = manifest.read(path)
    except DataError as error:
        report.add("warning", "record of the prepared files is damaged", "Run `prepare` again.", [str(error)])
        return
    now = manifest.input_files(dataset, list(annotations.durations), [str(query.qid) for query in annotations.queries])
    changes = manifest.changed(entries, root, now, sizes_only=quick)
    if changes:
        places = [Place(change.file, None, change.kind) for change in changes]
        what = f"inputs changed since the feature store was prepared ({len(changes):,} files)"
        report.add("warning", what, "Run `prepare` again, then train again.", places)
    report.checked.append(f"inputs since preparation: {len(entries):,} files, {'sizes' if quick else 'checksums'}")
