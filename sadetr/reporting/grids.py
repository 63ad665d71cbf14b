"""Tables whose cells are words: settings, tests, effects. Markdown, LaTeX (booktabs), HTML, and CSV for programs."""

import re
from dataclasses import dataclass
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

INDENT = "  "
LONG = 32
"""Characters beyond which a column of words is set in lines."""
WIDE = 12
"""Columns beyond which a page sets a table in small type."""
_SYMBOL = re.compile(r"([A-Za-zαδλσ]+)_(\w+)")


@dataclass(frozen=True)
class Grid:
    """Cells as text, ready to be rendered; ``banner`` is empty where numbers may be compared with the paper's.

    Headings such as ``λ_A`` are set as symbols with a subscript. ``records`` are the same numbers for programs: a
    header and one line per row.
    """

    name: str
    caption: str
    number: int | None
    banner: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    remarks: tuple[str, ...]
    records: tuple[tuple[str, ...], ...] = ()
    left: int = 1
    """Left-aligned columns; the others are centred."""

    @property
    def title(self) -> str:
        """The caption without the paper's number."""
        return self.caption.partition(": ")[2] if self.number is not None else self.caption


def grid_csv(grid: Grid) -> str:
    """The records."""
    return csv_text(grid.records)


def grid_markdown(grid: Grid, level: int = 1) -> str:
    """A document or, with a higher ``level`` of its heading, a part of one."""
    cells = [[escape_markdown(cell) for cell in row] for row in grid.rows]
    parts = [
        f"{'#' * level} {escape_markdown(grid.caption)}",
        *markdown_banner(grid.banner),
        markdown_grid([escape_markdown(heading) for heading in grid.header], cells, left=grid.left),
        "  \n".join(escape_markdown(remark) for remark in grid.remarks),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"


def grid_latex(grid: Grid) -> str:
    r"""A ``table*`` to ``\input`` into a document that loads booktabs, amssymb and textcomp."""
    longest = [max((len(row[column]) for row in grid.rows), default=0) for column in range(grid.left)]
    # Long words are broken into lines; a page has room for three such columns.
    columns = "".join(r"p{.2\textwidth}" if length > LONG else "l" for length in longest)
    columns = columns.ljust(len(columns) + len(grid.header) - grid.left, "c")
    caption = rf"\caption{{{escape_latex(grid.title)}}}"
    heading = (
        [rf"\textbf{{{escape_latex(grid.title)}}}\par\smallskip"]
        if grid.number is None
        # The paper's number, not the document's.
        else [rf"\renewcommand{{\thetable}}{{{grid.number}}}", caption, rf"\label{{tab:{grid.name}}}"]
    )
    lines = [
        r"% Needs \usepackage{booktabs,amssymb,textcomp}.",
        r"\begin{table*}",
        INDENT + r"\centering",
        *(INDENT + line for line in heading),
        *([INDENT + rf"\textbf{{{escape_latex(grid.banner)}}}\par\smallskip"] if grid.banner else []),
        INDENT + r"\scriptsize\setlength{\tabcolsep}{2pt}",
        INDENT + rf"\begin{{tabular}}{{{columns}}}",
        2 * INDENT + r"\toprule",
        2 * INDENT + " & ".join(map(_latex_heading, grid.header)) + r" \\",
        2 * INDENT + r"\midrule",
        *(2 * INDENT + " & ".join(map(escape_latex, row)) + r" \\" for row in grid.rows),
        2 * INDENT + r"\bottomrule",
        INDENT + r"\end{tabular}",
        INDENT + r"\par\smallskip\raggedright",
        *(INDENT + escape_latex(remark) + r"\par" for remark in grid.remarks),
        r"\end{table*}",
    ]
    return "\n".join(lines) + "\n"


def _latex_heading(text: str) -> str:
    symbol = _SYMBOL.fullmatch(text)
    if symbol is None:
        return escape_latex(text)
    base, subscript = escape_latex(symbol[1]).strip("$"), symbol[2]
    return rf"${base}_{{{subscript}}}$"


def grid_html_body(grid: Grid) -> list[str]:
    """The lines of a page's body, or of a part of it."""
    words = [' class="words"' if column < grid.left else "" for column in range(len(grid.header))]
    head = "".join(
        f"<th{style}>{_html_heading(heading)}</th>" for heading, style in zip(grid.header, words, strict=True)
    )
    rows = [
        "".join(f"<td{style}>{escape_html(cell)}</td>" for cell, style in zip(row, words, strict=True))
        for row in grid.rows
    ]
    dense = ' class="dense"' if len(grid.header) > WIDE else ""
    return [
        f'<div class="scroll"><table{dense}>',
        f"<caption>{escape_html(grid.caption)}</caption>",
        f"<thead><tr>{head}</tr></thead>",
        "<tbody>",
        *(f"<tr>{row}</tr>" for row in rows),
        "</tbody>",
        "</table></div>",
        '<ul class="notes">',
        *(f"<li>{escape_html(remark)}</li>" for remark in grid.remarks),
        "</ul>",
    ]


def _html_heading(text: str) -> str:
    symbol = _SYMBOL.fullmatch(text)
    return escape_html(text) if symbol is None else f"{escape_html(symbol[1])}<sub>{escape_html(symbol[2])}</sub>"


def write_grid(grid: Grid, folder: Path) -> list[Path]:
    """Write ``<folder>/<name>`` in every format; returns the paths."""
    texts = {
        "csv": grid_csv(grid),
        "md": grid_markdown(grid),
        "tex": grid_latex(grid),
        "html": html_page(grid.caption, grid.banner, grid_html_body(grid)),
    }
    return write_texts(grid.name, texts, folder)


def write_texts(name: str, texts: dict[str, str], folder: Path) -> list[Path]:
    """Write suffix -> text as ``<folder>/<name>.<suffix>``; all is rendered before the first file is written."""
    paths = {folder / f"{name}.{suffix}": text for suffix, text in texts.items()}
    for path, text in paths.items():
        atomic_write_text(path, text)
    return list(paths)
