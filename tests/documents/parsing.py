"""Rendered documents as other programs read them: an HTML parser, a Markdown parser, a LaTeX reader."""

import re
from html.parser import HTMLParser

from markdown_it import MarkdownIt
from pylatexenc.latex2text import LatexNodes2Text

VOID = ("meta",)


class Page(HTMLParser):
    """A page or fragment, checked for being well-formed."""

    def __init__(self, text: str) -> None:
        super().__init__(convert_charrefs=True)
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.texts: list[str] = []
        """What is shown, text node by text node."""
        self.rows: list[list[str]] = []
        """Cells of the body rows of all tables."""
        self.headers: list[list[dict[str, str | None]]] = []
        """Attributes of the cells of header rows."""
        self._open: list[str] = []
        self.feed(text)
        self.close()
        assert self._open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in VOID:
            return
        self._open.append(tag)
        if tag == "tr":
            (self.rows if "tbody" in self._open else self.headers).append([])
        elif tag in ("td", "th"):
            self.rows[-1].append("") if "tbody" in self._open else self.headers[-1].append(attributes)

    def handle_endtag(self, tag: str) -> None:
        assert self._open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.append(data)
        if "tbody" in self._open and {"td", "th"} & set(self._open):
            self.rows[-1][-1] += data

    def all(self, tag: str) -> list[dict[str, str | None]]:
        """Attributes of all elements of a kind."""
        return [attributes for name, attributes in self.elements if name == tag]


def html_rows(text: str) -> list[list[str]]:
    """What the cells of a page's tables say."""
    return Page(text).rows


def markdown_rows(text: str) -> list[list[str]]:
    """What the cells of a document's tables say."""
    rows: list[list[str]] = []
    tokens = MarkdownIt("commonmark").enable("table").parse(text)
    for token, before in zip(tokens[1:], tokens, strict=False):
        if before.type == "tr_open" and token.type == "td_open":
            rows.append([])
        if token.type == "inline" and before.type == "td_open":
            rows[-1].append("".join(child.content for child in token.children or []))
    return rows


def latex_rows(text: str) -> list[list[str]]:
    """What the cells of a part's tables say."""
    bodies = re.findall(r"\\midrule\n(.*?)\\bottomrule", text, flags=re.DOTALL)
    lines = [line.strip().removesuffix(r"\\") for body in bodies for line in body.strip().splitlines()]
    return [[latex_text(cell).strip() for cell in re.split(r"(?<!\\)&", line)] for line in lines]


# Macros that the reader does not know.
SIGNS = {
    r"\checkmark{}": "✓",
    r"\textbar{}": "|",
    r"\textasciicircum{}": "{}^{}",
    r"\ensuremath{\ddagger}": "‡",
    r"\ensuremath{\mathsection}": "§",
    r"\ensuremath{\mathparagraph}": "¶",
}


def latex_text(source: str) -> str:
    """What LaTeX prints, as text."""
    for macro, sign in SIGNS.items():
        source = source.replace(macro, sign)
    return LatexNodes2Text(strict_latex_spaces=True).latex_to_text(source)
