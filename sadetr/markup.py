"""The little of CSV, Markdown, LaTeX and HTML that the reports share: escaping, grids and the page around a table."""

import csv
import html
import io
import re
from collections.abc import Iterable, Sequence

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    # A row that begins with one of these would otherwise be read as an argument of the line break before it.
    "*": "{*}",
    "[": "{[}",
    "\N{EN DASH}": "--",
    "±": r"$\pm$",
    "≠": r"$\neq$",
    "α": r"$\alpha$",
    "δ": r"$\delta$",
    "λ": r"$\lambda$",
    "σ": r"$\sigma$",
    "✓": r"\checkmark{}",
    "†": r"\textdagger{}",
    "‡": r"\textdaggerdbl{}",
    "§": r"\textsection{}",
    "¶": r"\textparagraph{}",
    "‖": r"\textbardbl{}",
}

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; margin: 2rem auto; max-width: 80rem; padding: 0 1rem; color: #1a1a1a; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; border-top: 2px solid; border-bottom: 2px solid; margin: .5rem 0 1rem; }
caption { text-align: left; font-weight: 600; padding-bottom: .5rem; }
th, td { padding: .15rem .6rem; text-align: center; white-space: nowrap; font-variant-numeric: tabular-nums; }
th { font-weight: 600; vertical-align: bottom; }
th[scope=row] { text-align: left; font-weight: 400; }
thead tr:first-child th:first-child, tbody td:first-child { text-align: left; }
.wide th, .wide td { padding: .15rem .3rem; font-size: .85em; }
.wide .unit { font-size: .7em; }
.unit { font-weight: 400; font-size: .85em; color: #595959; }
thead { border-bottom: 1px solid; }
td.paper { color: #595959; }
td.rescored { color: #1f4e79; }
th.words, td.words { text-align: left; white-space: normal; }
.dense { font-size: .8em; }
.dense th, .dense td { padding: .15rem .3rem; }
.banner { border: 1px solid #8a4b00; background: #fff4e5; color: #6b3a00; padding: .5rem .75rem; font-weight: 600; }
.notes { font-size: .85em; padding-left: 0; list-style: none; max-width: 60rem; }
.good { color: #0b5c4a; }
.bad { color: #9c2a00; font-weight: 600; }
""".strip()


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table."""
    return re.sub(r"([\\`*_\[\]<>|~&])", r"\\\1", text)


def escape_latex(text: str) -> str:
    """Text that LaTeX prints as it is, also inside a table; needs amssymb and textcomp."""
    return "".join(_LATEX.get(character, character) for character in text)


def escape_html(text: str) -> str:
    """Text that HTML shows as it is, also inside an attribute."""
    return html.escape(text)


def csv_text(rows: Iterable[Sequence[str]]) -> str:
    """Comma-separated rows with Unix line ends."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(rows)
    return stream.getvalue()


def markdown_grid(header: Sequence[str], rows: Sequence[Sequence[str]], left: int) -> str:
    """A Markdown table padded to even columns; the first ``left`` columns are left-aligned, the others centred.

    Cells are Markdown already: escape text before.
    """
    widths = [max(3, *(len(row[position]) for row in [header, *rows])) for position in range(len(header))]
    rule = [
        ":" + "-" * (width - 1) if position < left else ":" + "-" * (width - 2) + ":"
        for position, width in enumerate(widths)
    ]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |"
        for row in [header, rule, *rows]
    ]
    return "\n".join(lines)


def markdown_banner(banner: str) -> list[str]:
    """The warning over a table of numbers that are not comparable, as paragraphs; none where there is no banner."""
    return [f"> **{escape_markdown(banner)}**"] if banner else []


def html_page(title: str, banner: str, body: Sequence[str]) -> str:
    """A page that needs no other file."""
    warning = [f'<p class="banner">{escape_html(banner)}</p>'] if banner else []
    head = [
        "<!doctype html>",
        '<html lang="en">',
        '<head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">',
        f"<title>{escape_html(title)}</title>",
        f"<style>\n{STYLE}\n</style></head>",
        "<body>",
    ]
    return "\n".join([*head, *warning, *body, "</body>", "</html>", ""])
