"""Parts of a report as documents: its summary, tables with their verdicts, every cell, and the paper's claims."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from sadetr.documents.model import ABSENT, Cell, Column, Document, Listing, Paragraph, Part, Row, Table
from sadetr.experiments import Experiment
from sadetr.reporting.comparison import FAILED, INCOMPLETE, ComparedCell, ComparedTable, Comparison, exit_code
from sadetr.reporting.comparison_pages import (
    HEADER,
    LEGEND,
    by_experiment,
    claims_table,
    printed,
    summary,
    table_sentence,
    tone,
)
from sadetr.reporting.judgement import JudgedClaim

MARKS = "Marks: ▲ above the paper by more than chance explains, ✓ reached, ▼ below it by more, ≠ differs."


def summary_document(experiments: Sequence[Experiment], comparison: Comparison, runs: Mapping[str, Any]) -> Document:
    """What came out as a whole, and how many cells of each table have which verdict.

    ``runs`` are those of :func:`sadetr.reporting.report_facts.report_facts`.
    """
    legend = (Paragraph(f"{LEGEND} {MARKS}"),) if comparison.comparable else ()
    opens = Paragraph("Numbers of ours open where they come from: runs, seeds, settings, checksums, device, curves.")
    outcome, bad = _outcome(comparison)
    parts: tuple[Part, ...] = (
        Paragraph(outcome, tone="bad" if bad else ""),
        Paragraph(summary(comparison)),
        *_runs(runs),
        *legend,
        opens,
        _overview(experiments, comparison),
    )
    return Document("summary", "Summary", "", parts)


def _outcome(comparison: Comparison) -> tuple[str, bool]:
    """What the exit code of the comparison says, and whether it is bad news."""
    code = exit_code(comparison)
    if code == FAILED:
        return "Not all that is required holds.", True
    if code == INCOMPLETE:
        return "Incomplete: runs are missing, and cells without them are not judged.", True
    if not any(cell.required for cell in comparison.cells):
        return "Nothing is required here: these numbers are not comparable with the paper's.", False
    return "All that is required holds.", False


def _runs(runs: Mapping[str, Any]) -> list[Part]:
    """How many runs there are, what they were made with, and which are missing."""
    facts = {name: dict(run["facts"]) for name, run in runs.items()}
    trained = [each for each in facts.values() if each["state"] == "trained"]
    made = [f"{heading} {_counted(each[name] for each in trained if name in each)}." for name, heading in MADE.items()]
    sentence = f"{len(trained)} of {len(facts)} runs are trained and evaluated."
    missing = tuple(f"{name}: {each['state']}" for name, each in facts.items() if each["state"] != "trained")
    folded = [Listing(missing, f"Runs that are missing: {len(missing)}", open=False)] if missing else []
    return [Paragraph(" ".join([sentence, *(made if trained else [])])), *folded]


MADE = {"commit": "Commit:", "device": "Device:", "versions": "With"}
"""Facts about runs that are summed up -> what introduces them."""


def _counted(values: Iterable[str]) -> str:
    counts = Counter(values)
    if len(counts) < 2:
        return next(iter(counts), ABSENT)
    return "; ".join(f"{value} ({count} runs)" for value, count in counts.most_common())


def _overview(experiments: Sequence[Experiment], comparison: Comparison) -> Table:
    wholes = {table.experiment: table for table in comparison.tables}
    cells = by_experiment(comparison)
    verdicts = list(comparison.counts)
    columns = [Column("table or figure", left=True), *map(Column, verdicts)]
    columns += [Column("as a whole"), Column("points from the paper")] if wholes else []
    return Table(
        name="overview",
        title="Tables and figures",
        columns=tuple(columns),
        rows=tuple(
            _overview_row(experiment, [cell.verdict for cell in cells.get(experiment.name, [])], verdicts, wholes)
            for experiment in experiments
        ),
        remarks=("Number of cells with each verdict.",),
    )


def _overview_row(
    experiment: Experiment, found: list[str], verdicts: list[str], wholes: Mapping[str, ComparedTable]
) -> Row:
    counts = [found.count(verdict) for verdict in verdicts]
    cells = [Cell(experiment.caption, link=experiment.name), *(Cell(str(count or ABSENT)) for count in counts)]
    if wholes and (whole := wholes.get(experiment.name)) is not None:
        cells += [Cell(whole.verdict, tone="bad" if whole.fails else "good"), Cell(f"{whole.shift:+.2f}")]
    elif wholes:
        cells += [Cell(ABSENT)] * 2
    return Row(tuple(cells))


def with_verdicts(document: Document, comparison: Comparison) -> Document:
    """A table's document whose cells of ours have their verdicts, with the sentence on the table as a whole."""
    cells = {(cell.row, cell.metric): cell for cell in by_experiment(comparison).get(document.name, ()) if _ours(cell)}
    sentences = tuple(table_sentence(table) for table in comparison.tables if table.experiment == document.name)
    parts = [_judged(part, cells) if isinstance(part, Table) else part for part in document.parts]
    whole = next(place for place, part in enumerate(parts) if isinstance(part, Table))
    parts[whole] = replace(parts[whole], remarks=(*parts[whole].remarks, *sentences))
    return replace(document, parts=tuple(parts))


def _ours(cell: ComparedCell) -> bool:
    return cell.kind == "trained"


def _judged(table: Table, cells: Mapping[tuple[str, str], ComparedCell]) -> Table:
    return replace(table, rows=tuple(_judged_row(row, cells) for row in table.rows))


def _judged_row(row: Row, cells: Mapping[tuple[str, str], ComparedCell]) -> Row:
    key, made, verdicts = dict(row.data).get("row"), [], []
    for cell in row.cells:
        judged = cells.get((key, dict(cell.data).get("metric")))
        if judged is not None:
            verdicts.append(judged.verdict)
            cell = replace(cell, tone=tone(judged), data=(*cell.data, ("verdict", judged.verdict)))
        made.append(cell)
    return replace(row, cells=tuple(made), data=(*row.data, joined_verdicts(verdicts)))


def joined_verdicts(verdicts: Iterable[str]) -> tuple[str, str]:
    """The attribute by which rows and figures are filtered."""
    return "verdicts", "|".join(dict.fromkeys(verdicts))


def cells_document(comparison: Comparison) -> Document:
    """One line per cell of all tables and figures."""
    table = Table(
        name="cells",
        title="Every cell",
        columns=(Column("table", left=True), *(Column(name, left=place < 2) for place, name in enumerate(HEADER))),
        rows=tuple(map(_cell_row, comparison.cells)),
    )
    return Document("cells", table.caption, "", (table,))


def _cell_row(cell: ComparedCell) -> Row:
    row, metric, ours, *others, verdict = printed(cell)
    place = (("experiment", cell.experiment), ("row", cell.row), ("metric", cell.metric))
    number = Cell(ours, role="ours", data=place) if _ours(cell) else Cell(ours, role="rescored")
    texts = (Cell(cell.experiment), Cell(row), Cell(metric), number, *map(Cell, others), Cell(verdict, tone=tone(cell)))
    return Row(texts, (*place, joined_verdicts([cell.verdict])))


def claims_document(claims: Sequence[JudgedClaim]) -> Document:
    """One line per claim of the paper."""
    table = claims_table(claims)
    return Document(table.name, table.caption, "", (table,))
