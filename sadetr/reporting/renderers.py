"""A :class:`~sadetr.reporting.tables.Table` as CSV, Markdown, LaTeX (booktabs) and HTML. Equal tables, equal bytes."""

from pathlib import Path

from sadetr.files import atomic_write_text
from sadetr.reporting.markup import (
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

    Every metric has a column of ours and a ``_paper`` column, with ``_std`` columns where any row has a spread.
    """
    sides = [("", "ours"), ("_paper", "paper")]
    with_std = [
        side for _, side in sides if any(getattr(c, side).std is not None for row in table.rows for c in row.cells)
    ]
    header = ["row", *table.label_headings]
    for column in table.columns:
        for suffix, side in sides:
            header += [column.metric + suffix, *([f"{column.metric}{suffix}_std"] if side in with_std else [])]
    lines = [[*header, "status", "notes", "comparability"]]
    for row in table.rows:
        line = [row.key, *("x" if label == CHECK else label for label in row.labels)]
        for cell in row.cells:
            for _, side in sides:
                number = getattr(cell, side)
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
    """A document with one grid; each cell reads "ours / paper"."""
    header = [escape_markdown(heading) for heading in table.headings]
    header += [escape_markdown(f"{column.group} {column.heading}".strip()) for column in table.columns]
    rows = []
    for row in table.rows:
        first, *others = [escape_markdown(name) for name in table.names(row)]
        cells = [f"{_markdown_number(cell.ours)} / {_markdown_number(cell.paper)}" for cell in row.cells]
        rows.append([first + escape_markdown(row.mark), *others, *cells])
    notes = [f"{escape_markdown(mark)} {escape_markdown(text)}" for mark, text in table.footnotes]
    remarks = ["Each cell: ours / paper.", *table.remarks]
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
    lines = [
        r"% Needs \usepackage{booktabs,amssymb,textcomp}.",
        r"\begin{table*}",
        INDENT + r"\centering",
        # The paper's number, not the document's.
        *([INDENT + rf"\renewcommand{{\thetable}}{{{table.number}}}"] if table.number is not None else []),
        INDENT + rf"\caption{{{escape_latex(table.title)}}}",
        INDENT + rf"\label{{tab:{table.name}}}",
        *([INDENT + rf"\textbf{{{escape_latex(table.banner)}}}\par\smallskip"] if table.banner else []),
        INDENT + r"\footnotesize\setlength{\tabcolsep}{3pt}",
        INDENT + rf"\begin{{tabular}}{{l{'c' * (names - 1)}{'rr' * len(table.columns)}}}",
        *(2 * INDENT + line for line in _latex_rows(table)),
        INDENT + r"\end{tabular}",
        INDENT + r"\par\smallskip\raggedright\scriptsize",
        INDENT + escape_latex(" ".join(table.remarks)),
        *(INDENT + rf"\par\textsuperscript{{{escape_latex(m)}}}\,{escape_latex(text)}" for m, text in table.footnotes),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_rows(table: Table) -> list[str]:
    names = len(table.headings)
    groups, group_rules, start = [], [], names + 1
    for group, metrics in table.groups:
        groups.append(rf"\multicolumn{{{2 * metrics}}}{{c}}{{{escape_latex(group)}}}")
        group_rules.append(rf"\cmidrule(lr){{{start}-{start + 2 * metrics - 1}}}")
        start += 2 * metrics
    metrics = [rf"\multicolumn{{2}}{{c}}{{{escape_latex(column.heading)}}}" for column in table.columns]
    metric_rules = [rf"\cmidrule(lr){{{n}-{n + 1}}}" for n in range(names + 1, start, 2)]
    lines = [
        r"\toprule",
        " & ".join([*[""] * names, *groups]).strip() + r" \\",
        " ".join(group_rules),
        " & ".join([*map(escape_latex, table.headings), *metrics]) + r" \\",
        " ".join(metric_rules),
        " & ".join([*[""] * names, *["ours", "paper"] * len(table.columns)]).strip() + r" \\",
        r"\midrule",
    ]
    for row in table.rows:
        first, *others = map(escape_latex, table.names(row))
        numbers = [_latex_number(number) for cell in row.cells for number in (cell.ours, cell.paper)]
        lines.append(" & ".join([first + _latex_mark(row.mark), *others, *numbers]) + r" \\")
    return [*lines, r"\bottomrule"]


def _latex_number(number: Number) -> str:
    text = escape_latex(number.text)
    return (rf"\textbf{{{text}}}" if number.best else text) + _latex_mark(number.mark)


def _latex_mark(mark: str) -> str:
    return rf"\textsuperscript{{{escape_latex(mark)}}}" if mark else ""


def render_html(table: Table) -> str:
    """A self-contained page."""
    return html_page(table.caption, table.banner, html_body(table))


def html_body(table: Table) -> list[str]:
    """The lines of the page's body."""
    return [
        '<div class="scroll"><table>',
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
    names = [f'<th rowspan="3">{escape_html(heading)}</th>' for heading in table.headings]
    groups = [f'<th colspan="{2 * metrics}">{escape_html(group)}</th>' for group, metrics in table.groups]
    metrics = [f'<th colspan="2">{escape_html(column.heading)}</th>' for column in table.columns]
    sides = ['<th class="unit">ours</th><th class="unit">paper</th>'] * len(table.columns)
    return [
        "<thead>",
        f"<tr>{''.join([*names, *groups])}</tr>",
        f"<tr>{''.join(metrics)}</tr>",
        f"<tr>{''.join(sides)}</tr>",
        "</thead>",
    ]


def _html_row(table: Table, row: TableRow) -> str:
    first, *others = map(escape_html, table.names(row))
    cells = [f'<th scope="row">{first}{_html_mark(row.mark)}</th>', *(f"<td>{name}</td>" for name in others)]
    for cell in row.cells:
        cells += [f"<td>{_html_number(cell.ours)}</td>", f'<td class="paper">{_html_number(cell.paper)}</td>']
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
