"""What a document says is what other programs read in its Markdown, LaTeX and HTML, however hostile its words are."""

import csv
import io
import itertools

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.documents.escaping import escape_latex, escape_markdown
from sadetr.documents.model import Cell, Column, Document, Row, Table
from sadetr.documents.rendering import (
    RENDERERS,
    render_csv,
    render_fragment,
    render_html,
    render_latex,
    render_markdown,
)
from tests.documents.hostile import HOSTILE, one_table
from tests.documents.parsing import Page, html_rows, latex_rows, latex_text, markdown_rows


def expected(*texts: str) -> list[list[str]]:
    return [[text, f"{text}*", text, text] for text in texts]


def test_hostile_words_are_words_in_html():
    page = Page(render_html(one_table(*HOSTILE)))
    assert page.rows == expected(*HOSTILE)
    assert not page.all("script")
    allowed = {"class", "id", "scope", "rowspan", "colspan", "lang", "charset", "name", "content", "role", "tabindex"}
    allowed |= {"aria-labelledby", "data-row", "open"}
    assert {name for _, attributes in page.elements for name in attributes} <= allowed
    assert [row["data-row"] for row in page.all("tr") if "data-row" in row] == list(HOSTILE)
    shown = set(page.texts)
    assert {f"Table 7: {HOSTILE[0]}", *HOSTILE} <= shown | {text.strip() for text in shown}


def test_hostile_words_are_words_in_markdown():
    # The two sides of a column share its cell.
    pairs = [[text, f"{text}* / {text}", text] for text in HOSTILE]
    assert markdown_rows(render_markdown(one_table(*HOSTILE))) == pairs


def test_hostile_words_are_words_in_latex():
    text = render_latex(one_table(*HOSTILE))
    rows = [[cell.replace("”", '"') for cell in row] for row in latex_rows(text)]
    assert rows == expected(*HOSTILE)
    assert text.isascii()
    assert r"\input" not in text


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C", "Z"]), min_size=1))
def test_any_word_is_a_word_in_html_and_markdown(word):
    document = one_table(word)
    assert html_rows(render_html(document)) == expected(word)
    assert markdown_rows(render_markdown(document)) == [[word, f"{word}* / {word}", word]]


@given(st.text(alphabet="\\&%$#_{}~^<>|*[]`'-?!ab 1±α✓†‡§¶‖"))
def test_any_word_is_a_word_in_latex(word):
    assert latex_text(escape_latex(word)) == word


@pytest.mark.parametrize(("character", "printed"), [("中", "U+4E2D"), ("\n", " "), ("\N{RIGHT-TO-LEFT OVERRIDE}", " ")])
def test_what_latex_has_no_macro_for_is_named_or_left_out(character, printed):
    escaped = escape_latex(f"a{character}b")
    assert escaped.isascii()
    assert printed in escaped


@pytest.mark.parametrize(
    ("text", "escaped"),
    [("# a", r"\# a"), ("- a", r"\- a"), ("12. a", r"12\. a"), ("-4.86", "-4.86"), ("12.5", "12.5"), ("#", "#")],
)
def test_words_do_not_begin_a_list_or_a_title_in_markdown(text, escaped):
    assert escape_markdown(text) == escaped


def test_a_row_that_begins_like_an_argument_is_a_row():
    text = render_latex(one_table("[2pt] x", "*"))
    lines = [line.strip() for line in text.splitlines()]
    assert not any(after.startswith(("[", "*")) for line, after in itertools.pairwise(lines) if "\\\\" in line)


def test_latex_has_a_place_for_every_cell():
    text = render_latex(one_table("a", "b"))
    (columns,) = [line.split("{tabular}")[1] for line in text.splitlines() if r"\begin{tabular}" in line]
    assert columns == "{lrrc}"
    assert text.count("{") == text.count("}")
    assert r"\renewcommand{\thetable}{7}" in text
    assert r"\label{tab:t}" in text
    turned = render_latex(one_table(*["x" * 31] * 2, "y"))
    assert r"\begin{table*}" in turned
    wide = Table("w", "Wide", tuple(Column(f"heading {place}") for place in range(20)), ())
    assert r"\begin{sidewaystable*}" in render_latex(Document("w", "Wide", "", (wide,)))


def test_symbols_are_set_as_such():
    table = Table("t", "T", (Column("σ_n"), Column("a_b & c")), ())
    document = Document("t", "T", "", (table,))
    assert r"$\ensuremath{\sigma}_{\mathrm{n}}$ & a\_b \& c \\" in render_latex(document)
    assert "σ<sub>n</sub></th>" in render_html(document)
    assert r"| σ\_n | a\_b \& c |" in render_markdown(document)


def test_csv_is_the_records():
    document = one_table(*HOSTILE)
    assert list(csv.reader(io.StringIO(render_csv(document)))) == [list(record) for record in document.records]


@pytest.mark.parametrize("suffix", RENDERERS)
def test_equal_documents_give_equal_bytes(suffix):
    assert RENDERERS[suffix](one_table(*HOSTILE)) == RENDERERS[suffix](one_table(*HOSTILE))
    assert RENDERERS[suffix](one_table("a", "b")) != RENDERERS[suffix](one_table("a", "c"))


def test_a_fragment_is_the_part_of_a_page_that_a_document_is():
    document = one_table("a", "b")
    fragment, page = Page(render_fragment(document)), Page(render_html(document))
    assert fragment.rows == page.rows
    names = [name for name, _ in fragment.elements]
    assert {"html", "head", "body", "style", "main"}.isdisjoint(names)
    assert not any(attributes.get("class") == "banner" for _, attributes in fragment.elements)
    (section,) = fragment.all("section")
    assert section["id"] == "t"
    headings = [name for name in names if name in ("h1", "h2", "h3", "h4")]
    assert headings == ["h2", "h3", "h3"]
    assert [name for name, _ in Page(render_fragment(document, level=3)).elements if name in ("h3", "h4")] == [
        "h3",
        "h4",
        "h4",
    ]


def test_a_table_that_bears_the_title_has_no_other():
    table = Table("t", "T", (Column("a"),), (Row((Cell("1"),)),))
    alone, beside = Document("d", "T", "", (table,)), Document("d", "D", "", (table,))
    assert [render_html(document).count("<h1") for document in (alone, beside)] == [1, 1]
    assert [Page(render_html(document)).texts.count("D") for document in (alone, beside)] == [0, 2]
    assert render_markdown(alone).count("T\n") == 1
    assert "# D\n\n## T\n" in render_markdown(beside)


def test_headings_span_their_columns():
    header = Page(render_html(one_table("a", "b"))).headers
    spans = [sum(int(cell.get("colspan") or 1) for cell in row) for row in header]
    reaching = [sum(int(cell.get("rowspan") or 1) > 1 for cell in row) for row in header]
    assert spans == [4, 3, 2]
    assert reaching == [1, 1, 0]


def test_tables_scroll_in_a_box_that_the_keyboard_reaches():
    page = Page(render_html(one_table("a", "b")))
    (box,) = [attributes for attributes in page.all("div") if attributes.get("class") == "scroll"]
    assert (box["tabindex"], box["role"], box["aria-labelledby"]) == ("0", "region", "t-title")
    assert "t-title" in {attributes.get("id") for attributes in page.all("h2")}
