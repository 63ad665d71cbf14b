"""The comparison with the paper as CSV, Markdown and HTML, and the words of it that are printed."""

from sadetr.markup import csv_text, escape_html, escape_markdown, html_page, markdown_banner, markdown_grid
from sadetr.reporting.comparison import FAILING, ComparedCell, Comparison
from sadetr.reporting.tables import ABSENT


def comparison_csv(comparison: Comparison) -> str:
    """One line per cell, for programs: two decimals, empty where there is no number."""
    header = ["experiment", "row", "kind", "label", "split", "metric", "ours", "ours_std", "seeds"]
    header += ["paper", "paper_std", "difference", "tolerance", "verdict", "reason", "note"]
    lines = [header]
    for cell in comparison.cells:
        score, paper = cell.score, cell.paper
        line = [cell.experiment, cell.row, cell.kind, cell.label, cell.split, cell.metric]
        line += [_decimal(score.mean), _decimal(score.std), f"{score.found}/{score.wanted}"]
        line += [_decimal(paper.value if paper else None), _decimal(paper.std if paper else None)]
        line += [_decimal(cell.difference), _tolerance(cell.tolerance), cell.verdict, cell.reason]
        lines.append([*line, paper.note if paper else ""])
    return csv_text(lines)


HEADER = ("row", "metric", "ours", "paper", "difference", "tolerance", "verdict")


def printed(cell: ComparedCell) -> tuple[str, ...]:
    """The cell's columns under :data:`HEADER`, as text."""
    ours = _decimal(cell.score.mean) or ABSENT
    if cell.score.std is not None:
        ours += f" ± {cell.score.std:.2f}"
    paper = _decimal(cell.paper.value if cell.paper else None) or ABSENT
    difference = ABSENT if cell.difference is None else f"{cell.difference:+.2f}"
    tolerance = _tolerance(cell.tolerance) or ABSENT
    row = f"{cell.row} (rescored)" if cell.kind == "rescored" else cell.row
    return (row, cell.metric, ours, paper, difference, tolerance, cell.verdict_text)


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _tolerance(value: float | None) -> str:
    """Two decimals, or as many as it has."""
    return max(_decimal(value), f"{value:g}", key=len) if value is not None else ""


def summary(comparison: Comparison) -> str:
    """One sentence: how many cells have which verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    return f"Scale {comparison.scale}, {len(comparison.cells)} cells: {counts or 'none'}."


def by_experiment(comparison: Comparison) -> dict[str, list[ComparedCell]]:
    """The cells of each table and figure."""
    names = dict.fromkeys(cell.experiment for cell in comparison.cells)
    return {name: [cell for cell in comparison.cells if cell.experiment == name] for name in names}


def comparison_markdown(comparison: Comparison) -> str:
    """A document with one grid per table or figure."""
    parts = ["# Comparison with the paper", *markdown_banner(comparison.banner), escape_markdown(summary(comparison))]
    for name, cells in by_experiment(comparison).items():
        rows = [[escape_markdown(text) for text in printed(cell)] for cell in cells]
        parts += [f"## {escape_markdown(name)} ({cells[0].split})", markdown_grid(HEADER, rows, left=2)]
    return "\n\n".join(parts) + "\n"


_CLASSES = dict.fromkeys(("above", "reached", "within tolerance"), "good") | dict.fromkeys(FAILING, "bad")


def comparison_html(comparison: Comparison) -> str:
    """A self-contained page."""
    body = ["<h1>Comparison with the paper</h1>", f"<p>{escape_html(summary(comparison))}</p>"]
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
    return html_page("Comparison with the paper", comparison.banner, body)
