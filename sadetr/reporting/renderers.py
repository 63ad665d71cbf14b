"""A :class:`~sadetr.reporting.tables.Table` as CSV, Markdown, LaTeX (booktabs) and HTML. Equal tables, equal bytes."""

from pathlib import Path

from sadetr.files import atomic_write_text
from sadetr.markup import (
    csv_text,
    escape_html,
    escape_latex,
    escape_markdown,
    html_page,
    markdown_banner,
    markdown_grid,
)
from sadetr.reporting.tables import CHECK, Number, Table, TableRow

INDENT = "  "


def render_csv(table: Table) -> str:
    """One line per row, for programs: two decimals, empty where there is no number, the reason in ``status``.

    Every metric has a column of ours and a ``_paper`` column, a ``_rescored`` column where any row is rescored, and
    ``_std`` columns where any row has a spread.
    """
    with_std = [
        side for side in table.sides if any(getattr(c, side).std is not None for row in table.rows for c in row.cells)
    ]
    header = ["row", *table.label_headings]
    for column in table.columns:
        for side in table.sides:
            name = column.metric if side == "ours" else f"{column.metric}_{side}"
            header += [name, *([f"{name}_std"] if side in with_std else [])]
    lines = [[*header, "status", "notes", "comparability"]]
    for row in table.rows:
        line = [row.key, *("x" if label == CHECK else label for label in row.labels)]
        for cell in row.cells:
            for side, number in zip(table.sides, cell.numbers(table.sides), strict=True):
                line += [_decimal(number.value), *([_decimal(number.std)] if side in with_std else [])]
        lines.append([*line, row.status, _notes(table, row), table.banner or "comparable"])
    return csv_text(lines)


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def _notes(table: Table, row: TableRow) -> str:
    """The row's footnotes in full, each after the metrics that it is about."""
    notes = []
    for mark, text in table.footnotes:
        metrics = [c.metric for c, cell in zip(table.columns, row.cells, strict=True) if cell.paper.mark == mark]
        if metrics:
            notes.append(f"{', '.join(metrics)}: {text}")
        elif row.mark == mark:
            notes.append(text)
    return " ".join(notes)


def render_markdown(table: Table) -> str:
    """A document with one grid; each cell reads "ours / paper", or "ours / rescored / paper"."""
    header = [escape_markdown(heading) for heading in table.headings]
    grouped = bool(table.groups)
    header += [escape_markdown(f"{c.group if grouped else ''} {c.heading}".strip()) for c in table.columns]
    rows = []
    for row in table.rows:
        first, *others = [escape_markdown(name) for name in table.names(row)]
        cells = [" / ".join(map(_markdown_number, cell.numbers(table.sides))) for cell in row.cells]
        rows.append([first + escape_markdown(row.mark), *others, *cells])
    notes = [f"{escape_markdown(mark)} {escape_markdown(text)}" for mark, text in table.footnotes]
    remarks = [f"Each cell: {' / '.join(table.sides)}.", *table.remarks]
    parts = [
        f"# {escape_markdown(table.caption)}",
        *markdown_banner(table.banner),
        markdown_grid(header, rows, left=1),
        escape_markdown(" ".join(remarks)),
        "  \n".join(notes),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def _markdown_number(number: Number) -> str:
    text = escape_markdown(number.text)
    return (f"**{text}**" if number.best else text) + escape_markdown(number.mark)


def render_latex(table: Table) -> str:
    r"""A ``table*`` to ``\input`` into a document that loads booktabs, amssymb and textcomp."""
    names = len(table.headings)
    size = r"\scriptsize\setlength{\tabcolsep}{2pt}" if _wide(table) else r"\footnotesize\setlength{\tabcolsep}{3pt}"
    lines = [
        r"% Needs \usepackage{booktabs,amssymb,textcomp}.",
        r"\begin{table*}",
        INDENT + r"\centering",
        # The paper's number, not the document's.
        *([INDENT + rf"\renewcommand{{\thetable}}{{{table.number}}}"] if table.number is not None else []),
        INDENT + rf"\caption{{{escape_latex(table.title)}}}",
        INDENT + rf"\label{{tab:{table.name}}}",
        *([INDENT + rf"\textbf{{{escape_latex(table.banner)}}}\par\smallskip"] if table.banner else []),
        INDENT + size,
        INDENT + rf"\begin{{tabular}}{{l{'c' * (names - 1)}{'r' * (len(table.sides) * len(table.columns))}}}",
        *(2 * INDENT + line for line in _latex_rows(table)),
        INDENT + r"\end{tabular}",
        INDENT + r"\par\smallskip\raggedright\scriptsize",
        INDENT + escape_latex(" ".join(table.remarks)),
        *(INDENT + rf"\par\textsuperscript{{{escape_latex(m)}}}\,{escape_latex(text)}" for m, text in table.footnotes),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(table: Table) -> list[str]:
    names, sides = len(table.headings), len(table.sides)
    groups, group_rules, start = [], [], names + 1
    for group, metrics in table.groups:
        groups.append(rf"\multicolumn{{{sides * metrics}}}{{c}}{{{escape_latex(group)}}}")
        group_rules.append(rf"\cmidrule(lr){{{start}-{start + sides * metrics - 1}}}")
        start += sides * metrics
    metrics = [rf"\multicolumn{{{sides}}}{{c}}{{{escape_latex(column.heading)}}}" for column in table.columns]
    starts = range(names + 1, names + 1 + sides * len(table.columns), sides)
    grouped = [" & ".join([*[""] * names, *groups]).strip() + r" \\", " ".join(group_rules)] if groups else []
    lines = [
        r"\toprule",
        *grouped,
        " & ".join([*map(escape_latex, table.headings), *metrics]) + r" \\",
        " ".join(rf"\cmidrule(lr){{{n}-{n + sides - 1}}}" for n in starts),
        " & ".join([*[""] * names, *table.sides * len(table.columns)]).strip() + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        first, *others = map(escape_latex, table.names(row))
        numbers = [_latex_number(number) for cell in row.cells for number in cell.numbers(table.sides)]
        lines.append(" & ".join([first + _latex_mark(row.mark), *others, *numbers]) + r" \\")
    return [*lines, r"\bottomrule"]


def _latex_number(number: Number) -> str:
    text = escape_latex(number.text)
    return (rf"\textbf{{{text}}}" if number.best else text) + _latex_mark(number.mark)


def _latex_mark(mark: str) -> str:
    return rf"\textsuperscript{{{escape_latex(mark)}}}" if mark else ""


def _wide(table: Table) -> bool:
    """Whether the numbers fill a page only in a smaller size."""
    return len(table.sides) * len(table.columns) > 16


def render_html(table: Table) -> str:
    """A self-contained page."""
    return html_page(table.caption, table.banner, html_body(table))


def html_body(table: Table) -> list[str]:
    """The lines of the page's body."""
    return [
        f'<div class="scroll"><table{" class=wide" if _wide(table) else ""}>',
        f"<caption>{escape_html(table.caption)}</caption>",
        *_html_head(table),
        "<tbody>",
        *(_html_row(table, row) for row in table.rows),
        "</tbody>",
        "</table></div>",
        '<ul class="notes">',
        f"<li>{escape_html(' '.join(table.remarks))}</li>",
        *(f"<li><sup>{escape_html(mark)}</sup> {escape_html(text)}</li>" for mark, text in table.footnotes),
        "</ul>",
    ]


def _html_head(table: Table) -> list[str]:
    width = len(table.sides)
    groups = "".join(f'<th colspan="{width * metrics}">{escape_html(group)}</th>' for group, metrics in table.groups)
    metrics = "".join(f'<th colspan="{width}">{escape_html(column.heading)}</th>' for column in table.columns)
    sides = "".join(f'<th class="unit">{side}</th>' for side in table.sides) * len(table.columns)
    lines = [line for line in (groups, metrics, sides) if line]
    names = "".join(f'<th rowspan="{len(lines)}">{escape_html(heading)}</th>' for heading in table.headings)
    return ["<thead>", f"<tr>{names}{lines[0]}</tr>", *(f"<tr>{line}</tr>" for line in lines[1:]), "</thead>"]


def _html_row(table: Table, row: TableRow) -> str:
    first, *others = map(escape_html, table.names(row))
    cells = [f'<th scope="row">{first}{_html_mark(row.mark)}</th>', *(f"<td>{name}</td>" for name in others)]
    for cell in row.cells:
        for side, number in zip(table.sides, cell.numbers(table.sides), strict=True):
            style = "" if side == "ours" else f' class="{side}"'
            cells.append(f"<td{style}>{_html_number(number)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _html_number(number: Number) -> str:
    text = escape_html(number.text)
    return (f"<strong>{text}</strong>" if number.best else text) + _html_mark(number.mark)


def _html_mark(mark: str) -> str:
    return f"<sup>{escape_html(mark)}</sup>" if mark else ""


RENDERERS = {"csv": render_csv, "md": render_markdown, "tex": render_latex, "html": render_html}


def write_table(table: Table, folder: Path) -> list[Path]:
    """Write ``<folder>/<name>`` in every format; returns the paths."""
    # All formats are rendered before the first is written: an error leaves the old set as it was.
    texts = {folder / f"{table.name}.{suffix}": render(table) for suffix, render in RENDERERS.items()}
    for path, text in texts.items():
        atomic_write_text(path, text)
    return list(texts)
