"""Checks of labels: rows and splits without any, and what training and scoring make of them."""

from collections.abc import Mapping
from pathlib import Path

from sadetr.data.annotations import Query
from sadetr.data.labelling import FIELDS, Needs, in_words, labelled_in, lacks, scored_parts, training_needs, unmet
from sadetr.settings import DatasetSettings
from sadetr.verification.findings import Place, Report


def check_labels(report: Report, dataset: DatasetSettings, split: str, place: str, lines: Mapping[int, Query]) -> None:
    """Add what is wrong, or worth knowing, about the labels of one split.

    Args:
        report: gets the findings.
        dataset: the setting: what it trains, selects and scores on.
        split: name of the split.
        place: its file, relative to the data root.
        lines: line number in the file -> query.
    """
    queries = list(lines.values())
    refused: set[str] = set()
    for requirement, _ in unmet(dataset, {split: Path(place)}, lambda _, needs: labelled_in(queries, needs)):
        what = f"split {split!r} has no {in_words(requirement.needs)}"
        remedy = f"As it is, {requirement.consequence}."
        report.add("error", what, remedy, [place])
        refused.update(requirement.needs)
    if split == dataset.train_split:
        needs = training_needs(dataset)
        places = _places(place, lines, needs)
        if places and refused.isdisjoint(needs):
            what = f"training rows without {in_words(needs, 'or')} ({len(places):,} of {len(lines):,})"
            report.add("warning", what, "Training leaves them out; add their labels to train on them.", places)
    else:
        for part in scored_parts(dataset.highlights):
            if part not in refused:
                _check_scored(report, split, place, lines, part)


def _check_scored(report: Report, split: str, place: str, lines: Mapping[int, Query], part: str) -> None:
    metrics = "moment metrics" if part == "windows" else "highlight metrics"
    places = _places(place, lines, (part,))
    if len(places) == len(lines):
        what = f"split {split!r} has no {FIELDS[part]}"
        remedy = f"It can be predicted; its {metrics} have no value, and tables say 'no labels'."
        report.add("note", what, remedy, [place])
    elif places:
        what = f"rows of split {split!r} without {FIELDS[part]} ({len(places):,} of {len(lines):,})"
        remedy = f"They are predicted, and left out of all {metrics}; add their labels to score them."
        report.add("warning", what, remedy, places)


def _places(place: str, lines: Mapping[int, Query], needs: Needs) -> list[Place]:
    return [
        Place(place, number, f"qid {query.qid!r} has no {in_words(missing, 'or')}")
        for number, query in lines.items()
        if (missing := lacks(query, needs))
    ]
