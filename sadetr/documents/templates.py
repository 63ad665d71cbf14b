"""The environments of the templates: every value is escaped on its way out, and an unknown name is an error.

HTML is escaped by Jinja's autoescaping. The other formats use the same machinery: what a template prints passes the
format's own escaping first and is marked as escaped, so that nothing is escaped twice and nothing slips through.
"""

import functools
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from sadetr.documents.escaping import escape_latex, escape_markdown
from sadetr.errors import SettingsError

FOLDER = Path(__file__).with_name("templates")
FORMATS = ("html", "markdown", "latex")
_ESCAPES: dict[str, Callable[[str], str]] = {"html": escape, "markdown": escape_markdown, "latex": escape_latex}
_DELIMITERS: dict[str, dict[str, str]] = {
    # Braces are LaTeX's own.
    "latex": {
        "block_start_string": "<%",
        "block_end_string": "%>",
        "variable_start_string": "<<",
        "variable_end_string": ">>",
        "comment_start_string": "<#",
        "comment_end_string": "#>",
    }
}


@functools.cache
def environment(name: str) -> Environment:
    """The environment of one of :data:`FORMATS`; its templates lie in the folder of this name."""

    def finalize(value: Any) -> Markup:
        return value if isinstance(value, Markup) else Markup(_ESCAPES[name](str(value)))

    made = Environment(
        loader=FileSystemLoader(FOLDER / name),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
        **_DELIMITERS.get(name, {}),
    )
    made.filters["aligned"] = aligned
    made.filters["identifier"] = identifier
    made.filters["path"] = path
    return made


def template_texts() -> dict[str, str]:
    """Path below :data:`FOLDER` -> text, of every template and style sheet."""
    files = (path for name in FORMATS for path in sorted((FOLDER / name).glob("[!.]*")))
    return {path.relative_to(FOLDER).as_posix(): path.read_text(encoding="utf-8") for path in files}


def aligned(table: str) -> Markup:
    """A Markdown table whose columns are padded to even widths; its second line says how each is aligned."""
    lines = [str(line)[2:-2].split(" | ") for line in table.strip().splitlines()]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    lines[1] = [
        ":" + "-" * (width - 1) if rule.endswith("-") else ":" + "-" * (width - 2) + ":"
        for rule, width in zip(lines[1], widths, strict=True)
    ]
    padded = ([cell.ljust(width) for cell, width in zip(line, widths, strict=True)] for line in lines)
    return Markup("".join(f"| {' | '.join(line)} |\n" for line in padded))


def identifier(name: str) -> Markup:
    """A name that is safe in an anchor of a page or a label of LaTeX; other characters become hyphens."""
    return Markup(re.sub(r"[^\w.:-]", "-", name, flags=re.ASCII))


def path(name: str) -> Markup:
    """A part of a file's path that LaTeX can read, as it is.

    Raises:
        SettingsError: it cannot.
    """
    if not name.isprintable() or set(name) & set('\\{}%#~^$&" '):
        raise SettingsError(f"{name!r}: LaTeX cannot read a file of this name; use letters, digits, '_', '.' and '-'")
    return Markup(name)
