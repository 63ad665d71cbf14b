"""Table 9: the settings that runs were trained with, cell by cell beside the paper's."""

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr.configuration import ScaleSettings
from sadetr.documents.model import Cell, Column, Document, Table
from sadetr.documents.model import Row as Line
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment, Row, run_settings
from sadetr.layout import RunFolder
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.settings_columns import COLUMNS, load_paper_settings, paper_key


@dataclass(frozen=True)
class SettingsRow:
    """One benchmark: ours and the paper's by column, as text; ``source`` is "run" or "planned"."""

    key: str
    label: str
    source: str
    ours: dict[str, str]
    paper: dict[str, str]
    note: str

    def equal(self, column: str) -> bool:
        """Whether ours is the paper's: as numbers where both are some."""
        ours, paper = self.ours[column], self.paper[column]
        try:
            return math.isclose(float(ours), float(paper), rel_tol=1e-9)
        except ValueError:
            return ours == paper


def settings_rows(
    experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper_file: Path
) -> Iterator[SettingsRow]:
    """Ours beside the paper's for every row of the experiment.

    Raises:
        SettingsError: the paper's file lacks a row or column.
        ResultsError: a run's settings are unreadable.
    """
    paper = load_paper_settings(paper_file)
    for row in experiment.rows:
        key = paper_key(row, paper, paper_file)
        settings, source = _used(row, scale, results)
        ours = {column: _printed(read(settings)) for column, read in COLUMNS.items()}
        label = " ".join(row.labels.values())
        yield SettingsRow(row.key, label, source, ours, paper[key], paper[key]["note"])


def _used(row: Row, scale: ScaleSettings, results: ScaleResults) -> tuple[dict[str, Any], str]:
    """What the run wrote down; where it is not there, what it would be trained with."""
    (run,) = row.runs
    path = RunFolder(results.folder / "runs" / run.folder).config
    if not path.exists():
        return run_settings(run, scale.reference).model_dump(mode="json"), "planned"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        for read in COLUMNS.values():
            read(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{path}: not the settings of a run ({error!r}). Delete the folder and train again."
        ) from error
    return settings, "run"


def _printed(value: str | float) -> str:
    """Numbers as the paper prints them: 1e-4, 0.2, 10."""
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 1e-2:
        return f"{value:.10g}"
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def settings_document(
    experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper_file: Path
) -> Document:
    """Table 9 as a document.

    Raises:
        As :func:`settings_rows`.
    """
    rows = list(settings_rows(experiment, scale, results, paper_file))
    differing = sum(not row.equal(column) for row in rows for column in COLUMNS)
    headings = (*experiment.label_columns, "from", *COLUMNS)
    table = Table(
        name=experiment.name,
        title=experiment.title,
        number=experiment.number,
        columns=tuple(Column(heading, left=place == 0) for place, heading in enumerate(headings)),
        rows=tuple(_line(experiment, row) for row in rows),
        remarks=_remarks(rows, differing, scale),
    )
    header = ("row", *(name for column in COLUMNS for name in (column, f"{column}_paper", f"{column}_equal")))
    records = ((*header, "source", "note", "comparability"), *(_record(row, scale) for row in rows))
    return Document(experiment.name, experiment.caption, scale.label, (table,), records)


def _line(experiment: Experiment, row: SettingsRow) -> Line:
    place = (("experiment", experiment.name), ("row", row.key))
    cells = (Cell(_cell(row, column), data=(*place, ("metric", column))) for column in COLUMNS)
    return Line((Cell(row.label), Cell(row.source), *cells), place)


def _cell(row: SettingsRow, column: str) -> str:
    ours = row.ours[column]
    return f"= {ours}" if row.equal(column) else f"{ours} ≠ {row.paper[column]}"


def _record(row: SettingsRow, scale: ScaleSettings) -> tuple[str, ...]:
    cells = [(row.ours[column], row.paper[column], "yes" if row.equal(column) else "no") for column in COLUMNS]
    flat = (text for cell in cells for text in cell)
    return (row.key, *flat, row.source, row.note, scale.label or "comparable")


def _remarks(rows: list[SettingsRow], differing: int, scale: ScaleSettings) -> tuple[str, ...]:
    total = len(rows) * len(COLUMNS)
    count = f"{total - differing} of {total} cells are equal."
    if differing and not scale.comparable:
        count += f" The scale {scale.name!r} departs from the paper's settings on purpose."
    remarks = [f"= a: ours and the paper's; a ≠ b: ours is a, the paper's is b. {count}"]
    if any(row.source == "planned" for row in rows):
        remarks.append("planned: there is no run yet, the settings are those it would be trained with.")
    return (*remarks, *(f"{row.label} ({row.paper['Vid']}): {row.note}" for row in rows if row.note))
