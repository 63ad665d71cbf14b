"""Text as Markdown and LaTeX show it. HTML is escaped by the templates' own library."""

import functools
import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pylatexenc.latexencode import UnicodeToLatexEncoder

_MARKDOWN = re.compile(r"[\\`*_\[\]<>|~&$]|^[#+-](?=\s+\S)")
_NUMBERED = re.compile(r"^(\d+)([.)])(?=\s)")

_LATEX = (
    # Bytes that the library leaves as they are, but that TeX does not: of the line break, the table and ligatures.
    # A row that begins with one of the first two would otherwise be read as an argument of the line break before it.
    (r"\*", "{*}"),
    (r"\[", "{[}"),
    (r"\|", r"\\textbar{}"),
    (r"`", r"\\textasciigrave{}"),
    (r"(?<=-)-", "{-}"),
    (r"(?<=')'", "{'}"),
    (r"(?<![^\s(])-(?=\d)", r"\\ensuremath{-}"),
    # A sign that it does not know.
    ("\N{CHECK MARK}", r"\\checkmark{}"),
    # Signs that it takes from a font which many installations have as a bitmap only.
    ("†", r"\\ensuremath{\\dagger}"),
    ("‡", r"\\ensuremath{\\ddagger}"),
    ("§", r"\\ensuremath{\\mathsection}"),
    ("¶", r"\\ensuremath{\\mathparagraph}"),
)


def one_line(text: str) -> str:
    """Text without line breaks and other characters that are not printed; each becomes a blank."""
    return "".join(character if character.isprintable() else " " for character in text)


def escape_markdown(text: str) -> str:
    """Text that Markdown shows as it is, also inside a table and at the beginning of a line."""
    return _NUMBERED.sub(r"\1\\\2", _MARKDOWN.sub(r"\\\g<0>", one_line(text)))


def escape_latex(text: str) -> str:
    """Text that pdfLaTeX prints as it is, also inside a table; needs amssymb and textcomp.

    A character that no macro is known for is named by its number.
    """
    return _latex_encoder().unicode_to_latex(one_line(text))


@functools.cache
def _latex_encoder() -> "UnicodeToLatexEncoder":
    from pylatexenc.latexencode import RULE_REGEX, UnicodeToLatexConversionRule, UnicodeToLatexEncoder

    rules = [(re.compile(pattern), replacement) for pattern, replacement in _LATEX]
    return UnicodeToLatexEncoder(
        conversion_rules=[UnicodeToLatexConversionRule(RULE_REGEX, rules, "none"), "defaults"],
        replacement_latex_protection="braces-after-macro",
        unknown_char_policy="unihex",
        unknown_char_warning=False,
    )
