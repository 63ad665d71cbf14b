"""Words that mean something in HTML, Markdown, LaTeX or a template, and a document that is full of them."""

from sadetr.documents.model import Cell, Column, Document, Listing, Paragraph, Row, Table, Title

HOSTILE = (
    "<script>alert(1)</script>",
    "a|b",
    r"\input{x}",
    "100%_#",
    "*[x] & $y$ ~^",
    "[0] *",
    "\" onclick='x'",
    "# 1. -- ``",
    "{{ 7 * 7 }} {% x %} << x >>",
    "± – ✓ † ‖ α λ ≠",
    r"a\\|b\_",
)


def one_table(*texts: str) -> Document:
    """A document in which every place that takes words has one of ``texts``, in turn."""
    first, *others = texts
    last = others[-1] if others else first
    columns = (Column(first, left=True), Column(last, group=first, sides=(first, last)), Column(first, group=last))
    rows = tuple(
        Row((Cell(text), Cell(text, strong=True, mark="*"), Cell(text, tone="bad"), Cell(text)), (("row", text),))
        for text in texts
    )
    notes = {"remarks": texts, "footnotes": tuple(("*", text) for text in texts)}
    table = Table("t", first, columns, rows, number=7, **notes)
    parts = (table, Title(first), Paragraph(last), Listing(texts, summary=first))
    return Document("d", first, last, parts, records=(("a", "b"), texts[:2]))
