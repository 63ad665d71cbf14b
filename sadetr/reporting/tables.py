"""Tables as values: what stands in which cell, before any markup.

Laid out like the paper's tables, with our number beside the paper's in every cell and, where other authors published
their predictions, what these score here. Nothing here knows a file format;
:mod:`sadetr.reporting.metrics_document` makes a document of a table.
"""

from dataclasses import dataclass, replace

from sadetr.configuration import ScaleSettings, resolve_dataset
from sadetr.data.labelling import FIELDS, part_of
from sadetr.documents.model import ABSENT
from sadetr.experiments import Experiment, Row
from sadetr.reporting.paper import PaperTable, PaperValue
from sadetr.reporting.scores import ScaleResults, Score
from sadetr.settings import DatasetSettings, Selection

CHECK = "✓"
MARKS = ("*", "†", "‡", "§", "¶", "‖")

# The paper's headings: the group over the column and the column's own heading.
HEADINGS = {
    "R1@0.3": ("MR", "R1@0.3"),
    "R1@0.5": ("MR", "R1@0.5"),
    "R1@0.7": ("MR", "R1@0.7"),
    "mAP@0.5": ("MR", "mAP@0.5"),
    "mAP@0.75": ("MR", "mAP@0.75"),
    "mAP": ("MR", "mAP Avg."),
    "mIoU": ("MR", "mIoU"),
    "HD_mAP": ("HD", "mAP"),
    "HIT@1": ("HD", "HIT@1"),
}


@dataclass(frozen=True)
class MetricsColumn:
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
class MetricsCell:
    """Ours beside the paper's, and what published predictions score."""

    ours: Number
    paper: Number
    rescored: Number = Number(ABSENT)

    def numbers(self, sides: tuple[str, ...]) -> list[Number]:
        """The cell's numbers, in the order of ``sides``."""
        return [getattr(self, side) for side in sides]


@dataclass(frozen=True)
class MetricsRow:
    """One row: its labels, the footnote mark of the whole row, and one cell per column.

    ``status`` is "complete", "incomplete" or "not run"; for a method that is not trained here "rescored" or
    "paper only". What has no labels, or not for all queries, follows.
    """

    key: str
    labels: tuple[str, ...]
    mark: str
    cells: tuple[MetricsCell, ...]
    status: str


@dataclass(frozen=True)
class MetricsTable:
    """A table of the paper, ready to be rendered.

    ``banner`` is empty where numbers may be compared; ``lettered`` tables show the row's letter before its labels.
    ``sides`` are the numbers of every cell: ours, rescored where a row of the table is, paper.
    """

    name: str
    number: int | None
    title: str
    banner: str
    lettered: bool
    label_headings: tuple[str, ...]
    columns: tuple[MetricsColumn, ...]
    rows: tuple[MetricsRow, ...]
    footnotes: tuple[tuple[str, str], ...]
    remarks: tuple[str, ...]
    sides: tuple[str, ...] = ("ours", "paper")

    @property
    def headings(self) -> tuple[str, ...]:
        """Headings of the columns that name a row."""
        return ("settings", *self.label_headings) if self.lettered else self.label_headings

    def names(self, row: MetricsRow) -> tuple[str, ...]:
        """What stands under :attr:`headings`."""
        return (f"({row.key})", *row.labels) if self.lettered else row.labels


def build_table(experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper: PaperTable) -> MetricsTable:
    """Fill the table's cells from the runs of one scale, from published predictions and from the paper.

    Raises:
        SettingsError: the paper's table lacks a row or metric of the experiment.
        ResultsError: metrics are unreadable or belong to another run.
    """
    columns = tuple(MetricsColumn(metric, *HEADINGS.get(metric, ("", metric))) for metric in experiment.metrics)
    printed = [[paper.of(row, metric) for metric in experiment.metrics] for row in experiment.rows]
    footnotes = _Footnotes()
    rows = []
    for row, values in zip(experiment.rows, printed, strict=True):
        scores = [results.score(row.runs, experiment.split, row.checkpoint, metric) for metric in experiment.metrics]
        shared = _shared_note(values)
        cells = tuple(
            MetricsCell(
                _ours(score),
                _paper(value, "" if shared else footnotes.mark(value.note)),
                _rescored(results, row, metric),
            )
            for score, value, metric in zip(scores, values, experiment.metrics, strict=True)
        )
        labels = tuple(CHECK if row.labels[name] == "x" else row.labels[name] for name in experiment.label_columns)
        rows.append(MetricsRow(row.key, labels, footnotes.mark(shared), cells, _status(experiment, row, scores, cells)))
    rescored = any(cell.rescored.value is not None for row in rows for cell in row.cells)
    sides = ("ours", "rescored", "paper") if rescored else ("ours", "paper")
    return MetricsTable(
        name=experiment.name,
        number=experiment.number,
        title=experiment.title,
        banner=scale.label,
        lettered=all(len(row.key) == 1 for row in rows),
        label_headings=experiment.label_columns,
        columns=columns,
        rows=tuple(_mark_best(rows, sides)),
        footnotes=tuple(footnotes.entries.items()),
        remarks=(*_remarks(experiment, scale, rows, sides), *_label_remarks(experiment, results)),
        sides=sides,
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


def _rescored(results: ScaleResults, row: Row, metric: str) -> Number:
    if row.rescored is None:
        return Number(ABSENT)
    score = results.rescored(row.rescored, metric)
    if score.mean is None:
        return Number(ABSENT if score.state == "no file" else score.state)
    return Number(f"{score.mean:.2f}", score.mean)


def _status(experiment: Experiment, row: Row, scores: list[Score], cells: tuple[MetricsCell, ...]) -> str:
    if not row.runs:
        return "rescored" if any(cell.rescored.value is not None for cell in cells) else "paper only"
    if not all(score.complete for score in scores):
        return "not run" if all(score.state == "not run" for score in scores) else "incomplete"
    unlabelled = [metric for metric, score in zip(experiment.metrics, scores, strict=True) if not score.labelled]
    partly = any(0 < score.labelled < 100 for score in scores)
    return "; ".join(
        [
            "complete",
            *([f"no labels for {', '.join(unlabelled)}"] if unlabelled else []),
            *(["labels of a part of the queries"] if partly else []),
        ]
    )


def _label_remarks(experiment: Experiment, results: ScaleResults) -> list[str]:
    """What of the split has no labels, and therefore no number."""
    scores = [
        (metric, score)
        for row in experiment.rows
        for metric in experiment.metrics
        for score in (
            *([results.score(row.runs, experiment.split, row.checkpoint, metric)] if row.runs else ()),
            *([results.rescored(row.rescored, metric)] if row.rescored else ()),
        )
    ]
    remarks = []
    if any(score.state == "no labels" for _, score in scores):
        remarks.append(f"No labels: no query of the {experiment.split} split has what this metric is scored on.")
    shares = {(FIELDS[part_of(metric)], score.labelled) for metric, score in scores if 0 < score.labelled < 100}
    for field, share in sorted(shares):
        remarks.append(
            f"Only {share:.2f} % of the queries of the {experiment.split} split have {field}; the others are left out."
        )
    return remarks


def _mark_best(rows: list[MetricsRow], sides: tuple[str, ...]) -> list[MetricsRow]:
    """Set ``best`` on the highest printed number of each column and side; ties share it.

    A column with a single number has no best: there is nothing that it is better than.
    """
    cells = [list(row.cells) for row in rows]
    for position in range(len(cells[0])):
        for side in sides:
            numbers = [getattr(row[position], side) for row in cells]
            values = [round(number.value, 2) for number in numbers if number.value is not None]
            for row, number in zip(cells, numbers, strict=True):
                if len(values) > 1 and number.value is not None and round(number.value, 2) == max(values):
                    row[position] = replace(row[position], **{side: replace(number, best=True)})
    return [replace(row, cells=tuple(marked)) for row, marked in zip(rows, cells, strict=True)]


def _remarks(
    experiment: Experiment, scale: ScaleSettings, rows: list[MetricsRow], sides: tuple[str, ...]
) -> tuple[str, ...]:
    """What a reader must know to read the cells."""
    remarks = [_ours_are(experiment, scale)]
    if "rescored" in sides:
        remarks.append("Rescored: predictions that the authors published, scored here on the real annotations.")
    remarks.append("Paper: as printed. Bold: best of the column.")
    if any(cell.ours.std is not None for row in rows for cell in row.cells):
        remarks.append("Mean ± sample standard deviation over seeds.")
    if any(number.text == ABSENT for row in rows for cell in row.cells for number in cell.numbers(sides)):
        unpublished = ", or not published" if "rescored" in sides else ""
        remarks.append(f"{ABSENT}: not reported, or not trained here{unpublished}.")
    remarks += _absent_predictions(experiment, scale, rows)
    if experiment.note:
        remarks.append(experiment.note)
    return tuple(remarks)


def _ours_are(experiment: Experiment, scale: ScaleSettings) -> str:
    """Split and epoch that our numbers are of: one sentence, and one per kind of row where they differ."""
    rules: dict[str, list[str]] = {}
    for row in experiment.rows:
        for setting in dict.fromkeys(run.setting for run in row.runs):
            rule = selected(row.checkpoint, resolve_dataset(setting, scale.reference), experiment.split)
            rules.setdefault(rule, []).append(row.labels[experiment.label_columns[0]] or row.key)
    if len(rules) < 2:
        return f"Ours: {', '.join([f'{experiment.split} split', *rules, 'in percent'])}."
    kinds = (f"{', '.join(dict.fromkeys(labels))}: {rule}." for rule, labels in rules.items())
    return " ".join([f"Ours: {experiment.split} split, in percent.", *kinds])


def selected(checkpoint: str, dataset: DatasetSettings, reported: str) -> str:
    """Which epoch a checkpoint is of, in words; ``reported`` is the split that is shown."""
    rule: Selection | None = dataset.checkpoints[checkpoint]
    if rule is None:
        return "last epoch, not selected"
    metrics = rule.metrics[0] if len(rule.metrics) == 1 else f"mean of {' and '.join(rule.metrics)}"
    text = f"epoch with the highest {metrics} on the {rule.split} split"
    return f"{text}, the one reported here" if rule.split == reported else text


def _absent_predictions(experiment: Experiment, scale: ScaleSettings, rows: list[MetricsRow]) -> list[str]:
    """Why rows that could be rescored are not."""
    absent = [
        f"{row.rescored.name}.jsonl"
        for row, shown in zip(experiment.rows, rows, strict=True)
        if row.rescored and all(cell.rescored.text == ABSENT for cell in shown.cells)
    ]
    if not absent:
        return []
    if scale.data == "generated":
        return ["Published predictions are of real queries and are not rescored on generated ones."]
    return [f"Published predictions that were not there to be rescored: {', '.join(absent)}."]
