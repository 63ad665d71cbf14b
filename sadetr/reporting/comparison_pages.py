"""The comparison with the paper as a document, and the words of it that are printed."""

from collections.abc import Sequence

from sadetr.documents.model import ABSENT, Cell, Column, Document, Paragraph, Row, Table, Tone
from sadetr.reporting.comparison import ComparedCell, ComparedTable, Comparison
from sadetr.reporting.comparison_records import comparison_records
from sadetr.reporting.judgement import CLAIM_HEADER, CLAIM_VERDICTS, JudgedClaim, printed_claim

TITLE = "Comparison with the paper"
HEADER = ("row", "metric", "ours", "paper", "judged by", "difference", "chance explains", "verdict")
LEGEND = (
    "Judged by: a mean over seeds that the paper prints for the same network, where it stands in for a single number. "
    "Chance explains: differences between two perfect reproductions reach this in one of forty comparisons, somewhere "
    "among all cells. A number marked ? is doubtful in the paper and never required."
)

CLAIMS_LEGEND = (
    "Statements are in other words than the paper's. Paper and ours: the difference that decides, in percentage "
    "points. A test over queries asks whether these trained networks differ, not whether other seeds' would; p is "
    "corrected for the number of claims. Required is what the paper's own numbers bear out; it fails only where the "
    "opposite is shown."
)


def printed(cell: ComparedCell) -> tuple[str, ...]:
    """The cell's columns under :data:`HEADER`, as text."""
    ours = _decimal(cell.score.mean)
    if cell.score.std is not None:
        ours += f" ± {cell.score.std:.2f}"
    paper, reference = cell.paper, cell.reference
    number = _decimal(paper.value if paper else None) + (" ?" if paper and paper.doubtful else "")
    elsewhere = reference is not None and reference.origin != cell.experiment
    judged_by = f"{reference.value:.2f} ({reference.origin}, {reference.seeds} seeds)" if elsewhere else ABSENT
    difference = ABSENT if cell.difference is None else f"{cell.difference:+.2f}"
    # The limit of published predictions is half of the last digit printed.
    limit = ABSENT if cell.limit is None else f"± {cell.limit:.2f}" if cell.limit >= 0.01 else f"± {cell.limit:g}"
    row = f"{cell.row} (rescored)" if cell.kind == "rescored" else cell.row
    return (row, cell.metric, ours, number, judged_by, difference, limit, cell.verdict_text)


def _decimal(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def summary(comparison: Comparison) -> str:
    """How many cells have which verdict, and which tables lie below the paper as a whole."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    below = [table.experiment for table in comparison.tables if table.fails]
    words = f" Below the paper as a whole: {', '.join(below)}." if below else ""
    found = [claim.verdict for claim in comparison.claims]
    claims = ", ".join(f"{found.count(verdict)} {verdict}" for verdict in CLAIM_VERDICTS if verdict in found)
    words += f" {len(found)} claims: {claims}." if found else ""
    return f"Scale {comparison.scale}, {len(comparison.cells)} cells: {counts or 'none'}.{words}"


def table_sentence(table: ComparedTable) -> str:
    """The verdict on a table as a whole."""
    return (
        f"{table.experiment} as a whole: {table.verdict}. {table.cells} required cells lie {table.shift:+.2f} points "
        f"from the paper on average, {table.statistic:+.2f} standard deviations; the limit is {-table.limit:+.2f}. "
        f"A loss of {table.detectable:.2f} points in every cell would be found in four of five comparisons."
    )


def by_experiment(comparison: Comparison) -> dict[str, list[ComparedCell]]:
    """The cells of each table and figure."""
    names = dict.fromkeys(cell.experiment for cell in comparison.cells)
    return {name: [cell for cell in comparison.cells if cell.experiment == name] for name in names}


def comparison_document(comparison: Comparison) -> Document:
    """A document with one table per table or figure; its rows carry experiment, row, metric and verdict."""
    legend = (Paragraph(LEGEND),) if comparison.comparable else ()
    tables = (_table(comparison, name, cells) for name, cells in by_experiment(comparison).items())
    claims = (claims_table(comparison.claims),) if comparison.claims else ()
    parts = (Paragraph(summary(comparison)), *legend, *tables, *claims)
    return Document("comparison", TITLE, comparison.banner, parts, comparison_records(comparison))


def _table(comparison: Comparison, name: str, cells: list[ComparedCell]) -> Table:
    return Table(
        name=f"comparison-{name}",
        title=f"{name} ({cells[0].split})",
        columns=tuple(Column(heading, left=place < 2) for place, heading in enumerate(HEADER)),
        rows=tuple(map(_row, cells)),
        remarks=tuple(table_sentence(table) for table in comparison.tables if table.experiment == name),
    )


def claims_table(claims: Sequence[JudgedClaim]) -> Table:
    """Every claim with its verdict; rows carry claim, experiment and verdict."""
    *headings, last = CLAIM_HEADER
    return Table(
        name="claims",
        title="What the paper says of its tables and figures",
        columns=(*(Column(heading, left=place < 3) for place, heading in enumerate(headings)), Column(last, left=True)),
        rows=tuple(map(_row_of_claim, claims)),
        remarks=(CLAIMS_LEGEND,),
    )


def _row_of_claim(judged: JudgedClaim) -> Row:
    *texts, verdict = printed_claim(judged)
    tone: Tone = "bad" if judged.fails or judged.verdict == "missing" else "good" if judged.verdict == "holds" else ""
    place = (
        ("claim", judged.claim.name),
        ("experiment", judged.claim.experiment.name),
        ("verdict", judged.verdict),
    )
    return Row((*map(Cell, texts), Cell(verdict, tone=tone)), place)


def _row(cell: ComparedCell) -> Row:
    *texts, verdict = printed(cell)
    place = (("experiment", cell.experiment), ("row", cell.row), ("metric", cell.metric), ("verdict", cell.verdict))
    return Row((*map(Cell, texts), Cell(verdict, tone=tone(cell))), place)


def tone(cell: ComparedCell) -> Tone:
    """Whether the verdict is good or bad news."""
    if cell.fails or cell.verdict == "missing":
        return "bad"
    return "good" if cell.verdict in ("above", "reached") else ""
