"""A :class:`~sadetr.documents.model.Document` as Markdown, LaTeX (booktabs) and HTML, and its records as CSV.

Equal documents give equal bytes.
"""

import csv
import io
from collections.abc import Callable
from pathlib import Path

from sadetr.documents.model import Document
from sadetr.documents.templates import environment
from sadetr.files import atomic_write_text


def render_csv(document: Document) -> str:
    """The records, comma-separated, with Unix line ends."""
    stream = io.StringIO()
    csv.writer(stream, lineterminator="\n").writerows(document.records)
    return stream.getvalue()


def render_markdown(document: Document) -> str:
    """A document; a cell with several sides reads "ours / paper"."""
    return environment("markdown").get_template("document.j2").render(document=document)


def render_latex(document: Document) -> str:
    r"""A part to ``\input`` into a document that loads adjustbox, amssymb, array, booktabs, rotating and
    textcomp."""
    return environment("latex").get_template("document.j2").render(document=document)


def render_html(document: Document) -> str:
    """A page that needs no other file."""
    return environment("html").get_template("page.j2").render(document=document, level=1)


def render_fragment(document: Document, level: int = 2) -> str:
    """The document as a part of a page: no banner, no style (:func:`style`), its title a heading of ``level``.

    Every table is a ``<section>`` whose ``id`` is the table's name; rows and cells carry their ``data``.
    """
    return environment("html").get_template("fragment.j2").render(document=document, level=level)


def style() -> str:
    """The style sheet of pages, for whoever puts fragments into one."""
    return environment("html").get_template("style.css").render()


RENDERERS: dict[str, Callable[[Document], str]] = {
    "csv": render_csv,
    "md": render_markdown,
    "tex": render_latex,
    "html": render_html,
}
"""Suffix of a file -> what renders a document to it."""


def write_document(document: Document, folder: Path, suffixes: tuple[str, ...] = tuple(RENDERERS)) -> list[Path]:
    """Write ``<folder>/<name>.<suffix>`` in every format; returns the paths."""
    # All formats are rendered before the first is written: an error leaves the old set as it was.
    texts = {folder / f"{document.name}.{suffix}": RENDERERS[suffix](document) for suffix in suffixes}
    for path, text in texts.items():
        atomic_write_text(path, text)
    return list(texts)
