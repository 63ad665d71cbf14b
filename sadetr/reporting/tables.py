"""Tables as values: what stands in which cell, before any markup.

Laid out like the paper's tables, with our number beside the paper's in every cell. Nothing here knows a file format;
:mod:`sadetr.reporting.renderers` turns a table into CSV, Markdown, LaTeX and HTML.
"""

from dataclasses import dataclass, replace

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Row
from sadetr.reporting.metrics import ScaleResults, Score
from sadetr.reporting.paper import PaperTable, PaperValue

ABSENT = "\N{EN DASH}"
CHECK = "✓"
MARKS = ("*", "†", "‡", "§", "¶", "‖")

# The paper's headings: the group over the column and the column's own heading.
HEADINGS = {
    "R1@0.5": ("MR", "R1@0.5"),
    "R1@0.7": ("MR", "R1@0.7"),
    "mAP@0.5": ("MR", "mAP@0.5"),
    "mAP@0.75": ("MR", "mAP@0.75"),
    "mAP": ("MR", "mAP Avg."),
    "HD_mAP": ("HD", "mAP"),
    "HIT@1": ("HD", "HIT@1"),
}


@dataclass(frozen=True)
class Column:
    """A metric's column: ``group`` is MR (moment retrieval), HD (highlight detection) or empty."""

    metric: str
    group: str
    heading: str


@dataclass(frozen=True)
class Number:
    """A number as printed, or the words that stand in its place; ``mark`` refers to a footnote, "" = none."""

    text: str
    value: float | None = None
    std: float | None = None
    best: bool = False
    mark: str = ""


@dataclass(frozen=True)
class Cell:
    """Ours beside the paper's."""

    ours: Number
    paper: Number


@dataclass(frozen=True)
class TableRow:
    """One row: its labels, the footnote mark of the whole row, and one cell per column.

    ``status`` is "complete", "incomplete", "not run", or "paper only" for a method that is not trained here.
    """

    key: str
    labels: tuple[str, ...]
    mark: str
    cells: tuple[Cell, ...]
    status: str


@dataclass(frozen=True)
class Table:
    """A table of the paper, ready to be rendered.

    ``banner`` is empty where numbers may be compared; ``lettered`` tables show the row's letter before its labels.
    """

    name: str
    number: int | None
    title: str
    banner: str
    lettered: bool
    label_headings: tuple[str, ...]
    columns: tuple[Column, ...]
    rows: tuple[TableRow, ...]
    footnotes: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]

    @property
    def caption(self) -> str:
        """Number, if it is one of the paper's, and title."""
        return self.title if self.number is None else f"Table {self.number}: {self.title}"

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the columns that name a row."""
        return ("settings", *self.label_headings) if self.lettered else self.label_headings

    def names(self, row: TableRow) -> tuple[str, ...]:
        """What stands under :attr:`headings`."""
        return (f"({row.key})", *row.labels) if self.lettered else row.labels

    @property
    def groups(self) -> list[tuple[str, int]]:
        """Runs of neighbouring columns with one group heading: (group, number of metrics)."""
        groups: list[tuple[str, int]] = []
        for column in self.columns:
            if groups and groups[-1][0] == column.group:
                groups[-1] = (column.group, groups[-1][1] + 1)
            else:
                groups.append((column.group, 1))
        return groups


def build_table(experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper: PaperTable) -> Table:
    """Fill the table's cells from the runs of one scale and from the paper.

    Raises:
        SettingsError: the paper's table lacks a row or metric of the experiment.
        ResultsError: a run's metrics are unreadable or belong to another run.
    """
    columns = tuple(Column(metric, *HEADINGS.get(metric, ("", metric))) for metric in experiment.metrics)
    printed = [[paper.of(row, metric) for metric in experiment.metrics] for row in experiment.rows]
    footnotes = _Footnotes()
    rows = []
    for row, values in zip(experiment.rows, printed, strict=True):
        scores = [results.score(experiment, row, metric) for metric in experiment.metrics]
        shared = _shared_note(values)
        cells = tuple(
            Cell(_ours(score), _paper(value, "" if shared else footnotes.mark(value.note)))
            for score, value in zip(scores, values, strict=True)
        )
        labels = tuple(CHECK if row.labels[name] == "x" else row.labels[name] for name in experiment.label_columns)
        rows.append(TableRow(row.key, labels, footnotes.mark(shared), cells, _status(row, scores)))
    return Table(
        name=experiment.name,
        number=experiment.number,
        title=experiment.title,
        banner=scale.label,
        lettered=all(len(row.key) == 1 for row in rows),
        label_headings=experiment.label_columns,
        columns=columns,
        rows=tuple(_mark_best(rows)),
        footnotes=tuple(footnotes.entries.items()),
        remarks=_remarks(experiment, rows),
    )


class _Footnotes:
    """Marks in order of first use; equal notes share a mark."""

    def __init__(self) -> None:
        self.entries: dict[str, str] = {}

    def mark(self, note: str) -> str:
        if not note:
            return ""
        for mark, known in self.entries.items():
            if known == note:
                return mark
        repeat, position = divmod(len(self.entries), len(MARKS))
        mark = MARKS[position] * (repeat + 1)
        self.entries[mark] = note
        return mark


def _shared_note(values: list[PaperValue]) -> str:
    """The note of a whole row: every number in it carries the same one."""
    notes = {value.note for value in values}
    return notes.pop() if len(notes) == 1 and len(values) > 1 else ""


def _ours(score: Score) -> Number:
    if score.wanted == 0:
        return Number(ABSENT)
    if score.mean is None:
        return Number(score.state)
    text = f"{score.mean:.2f}" if score.std is None else f"{score.mean:.2f} ± {score.std:.2f}"
    if not score.complete:
        text += f" ({score.found}/{score.wanted} seeds)"
    return Number(text, score.mean, score.std)


def _paper(value: PaperValue, mark: str) -> Number:
    if value.value is None:
        return Number(ABSENT, mark=mark)
    text = f"{value.value:.2f}" if value.std is None else f"{value.value:.2f} ± {value.std}"
    return Number(text, value.value, value.std, mark=mark)


def _status(row: Row, scores: list[Score]) -> str:
    if not row.runs:
        return "paper only"
    if all(score.complete for score in scores):
        return "complete"
    return "not run" if all(score.state == "not run" for score in scores) else "incomplete"


def _mark_best(rows: list[TableRow]) -> list[TableRow]:
    """Set ``best`` on the highest printed number of each column, ours and the paper's apart; ties share it.

    A column with a single number has no best: there is nothing that it is better than.
    """
    cells = [list(row.cells) for row in rows]
    for position in range(len(cells[0])):
        for side in ("ours", "paper"):
            numbers = [getattr(row[position], side) for row in cells]
            values = [round(number.value, 2) for number in numbers if number.value is not None]
            for row, number in zip(cells, numbers, strict=True):
                if len(values) > 1 and number.value is not None and round(number.value, 2) == max(values):
                    row[position] = replace(row[position], **{side: replace(number, best=True)})
    return [replace(row, cells=tuple(marked)) for row, marked in zip(rows, cells, strict=True)]


def _remarks(experiment: Experiment, rows: list[TableRow]) -> tuple[str, ...]:
    """What a reader must know to read the cells."""
    checkpoint = "checkpoint chosen on the selection split" if experiment.checkpoint == "best" else "last epoch"
    remarks = [
        f"Ours: {experiment.split} split, {checkpoint}, in percent. Paper: as printed. Bold: best of the column."
    ]
    if any(cell.ours.std is not None for row in rows for cell in row.cells):
        remarks.append("Mean ± sample standard deviation over seeds.")
    if any(number.text == ABSENT for row in rows for cell in row.cells for number in (cell.ours, cell.paper)):
        remarks.append(f"{ABSENT}: not reported, or not trained here.")
    if experiment.note:
        remarks.append(experiment.note)
    return tuple(remarks)
