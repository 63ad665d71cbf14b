"""The comparison with the paper as Markdown and HTML, and the words of it that are printed."""

from sadetr.markup import escape_html, escape_markdown, html_page, markdown_banner, markdown_grid
from sadetr.reporting.comparison import FAILING, ComparedCell, ComparedTable, Comparison
from sadetr.reporting.tables import ABSENT

HEADER = ("row", "metric", "ours", "paper", "judged by", "difference", "chance explains", "verdict")
LEGEND = (
    "Judged by: a mean over seeds that the paper prints for the same network, where it stands in for a single number. "
    "Chance explains: differences between two perfect reproductions reach this in one of forty comparisons, somewhere "
    "among all cells. A number marked ? is doubtful in the paper and never required."
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
    limit = ABSENT if cell.limit is None else f"± {max(f'{cell.limit:.2f}', f'{round(cell.limit, 3):g}', key=len)}"
    row = f"{cell.row} (rescored)" if cell.kind == "rescored" else cell.row
    return (row, cell.metric, ours, number, judged_by, difference, limit, cell.verdict_text)


def _decimal(value: float | None) -> str:
    return ABSENT if value is None else f"{value:.2f}"


def summary(comparison: Comparison) -> str:
    """How many cells have which verdict, and which tables lie below the paper as a whole."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    below = [table.experiment for table in comparison.tables if table.fails]
    words = f" Below the paper as a whole: {', '.join(below)}." if below else ""
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


def comparison_markdown(comparison: Comparison) -> str:
    """A document with one grid per table or figure."""
    parts = ["# Comparison with the paper", *markdown_banner(comparison.banner), escape_markdown(summary(comparison))]
    parts += [escape_markdown(LEGEND)] if comparison.comparable else []
    for name, cells in by_experiment(comparison).items():
        rows = [[escape_markdown(text) for text in printed(cell)] for cell in cells]
        parts += [f"## {escape_markdown(name)} ({cells[0].split})", markdown_grid(HEADER, rows, left=2)]
        parts += [escape_markdown(table_sentence(table)) for table in comparison.tables if table.experiment == name]
    return "\n\n".join(parts) + "\n"


_CLASSES = dict.fromkeys(("above", "reached"), "good") | dict.fromkeys(FAILING, "bad")


def comparison_html(comparison: Comparison) -> str:
    """A self-contained page."""
    body = ["<h1>Comparison with the paper</h1>", f"<p>{escape_html(summary(comparison))}</p>"]
    body += [f"<p>{escape_html(LEGEND)}</p>"] if comparison.comparable else []
    for name, cells in by_experiment(comparison).items():
        head = "".join(f"<th>{heading}</th>" for heading in HEADER)
        caption = f"<caption>{escape_html(name)} ({escape_html(cells[0].split)})</caption>"
        body += ['<div class="scroll"><table>', caption, f"<thead><tr>{head}</tr></thead>", "<tbody>"]
        for cell in cells:
            *texts, verdict = map(escape_html, printed(cell))
            style = _CLASSES.get(cell.verdict, "")
            row = "".join(f"<td>{text}</td>" for text in texts) + f'<td class="{style}">{verdict}</td>'
            body.append(f"<tr>{row}</tr>")
        body += ["</tbody>", "</table></div>"]
        body += [
            f"<p>{escape_html(table_sentence(table))}</p>" for table in comparison.tables if table.experiment == name
        ]
    return html_page("Comparison with the paper", comparison.banner, body)
