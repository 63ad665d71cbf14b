"""The comparison with the paper as a document, and the words of it that are printed."""

from sadetr.documents.model import ABSENT, Cell, Column, Document, Paragraph, Row, Table, Tone
from sadetr.reporting.comparison import FAILING, ComparedCell, Comparison
from sadetr.reporting.metrics_document import decimal

TITLE = "Comparison with the paper"
HEADER = ("row", "metric", "ours", "paper", "difference", "tolerance", "verdict")


def printed(cell: ComparedCell) -> tuple[str, ...]:
    """The cell's columns under :data:`HEADER`, as text."""
    ours = decimal(cell.score.mean) or ABSENT
    if cell.score.std is not None:
        ours += f" ± {cell.score.std:.2f}"
    paper = decimal(cell.paper.value if cell.paper else None) or ABSENT
    difference = ABSENT if cell.difference is None else f"{cell.difference:+.2f}"
    tolerance = _tolerance(cell.tolerance) or ABSENT
    row = f"{cell.row} (rescored)" if cell.kind == "rescored" else cell.row
    return (row, cell.metric, ours, paper, difference, tolerance, cell.verdict_text)


def _tolerance(value: float | None) -> str:
    """Two decimals, or as many as it has."""
    return max(decimal(value), f"{value:g}", key=len) if value is not None else ""


def summary(comparison: Comparison) -> str:
    """One sentence: how many cells have which verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    return f"Scale {comparison.scale}, {len(comparison.cells)} cells: {counts or 'none'}."


def by_experiment(comparison: Comparison) -> dict[str, list[ComparedCell]]:
    """The cells of each table and figure."""
    names = dict.fromkeys(cell.experiment for cell in comparison.cells)
    return {name: [cell for cell in comparison.cells if cell.experiment == name] for name in names}


def comparison_document(comparison: Comparison) -> Document:
    """A document with one table per table or figure; its rows carry experiment, row, metric and verdict."""
    tables = (_table(name, cells) for name, cells in by_experiment(comparison).items())
    parts = (Paragraph(summary(comparison)), *tables)
    return Document("comparison", TITLE, comparison.banner, parts, _records(comparison))


def _table(name: str, cells: list[ComparedCell]) -> Table:
    return Table(
        name=f"comparison-{name}",
        title=f"{name} ({cells[0].split})",
        columns=tuple(Column(heading, left=place < 2) for place, heading in enumerate(HEADER)),
        rows=tuple(map(_row, cells)),
    )


def _row(cell: ComparedCell) -> Row:
    *texts, verdict = printed(cell)
    place = (("experiment", cell.experiment), ("row", cell.row), ("metric", cell.metric), ("verdict", cell.verdict))
    return Row((*map(Cell, texts), Cell(verdict, tone=_TONES.get(cell.verdict, ""))), place)


_TONES: dict[str, Tone] = {
    **dict.fromkeys(("above", "reached", "within tolerance"), "good"),
    **dict.fromkeys(FAILING, "bad"),
}


def _records(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """A header and one line per cell: two decimals, empty where there is no number."""
    header = ["experiment", "row", "kind", "label", "split", "metric", "ours", "ours_std", "seeds"]
    header += ["paper", "paper_std", "difference", "tolerance", "verdict", "reason", "note"]
    lines = [tuple(header)]
    for cell in comparison.cells:
        score, paper = cell.score, cell.paper
        line = [cell.experiment, cell.row, cell.kind, cell.label, cell.split, cell.metric]
        line += [decimal(score.mean), decimal(score.std), f"{score.found}/{score.wanted}"]
        line += [decimal(paper.value if paper else None), decimal(paper.std if paper else None)]
        line += [decimal(cell.difference), _tolerance(cell.tolerance), cell.verdict, cell.reason]
        lines.append((*line, paper.note if paper else ""))
    return tuple(lines)
