"""Every template escapes what it prints, and the style sheet is legible in light and dark."""

import re
from itertools import pairwise

import pytest
from jinja2 import StrictUndefined, UndefinedError, nodes
from markupsafe import Markup

from sadetr.documents.rendering import style
from sadetr.documents.templates import FOLDER, FORMATS, aligned, environment, identifier, template_texts

TEMPLATES = [(name.partition("/")[0], name.partition("/")[2]) for name in template_texts()]
FILTERS = {"aligned", "identifier", "join", "length", "path", "select", "tojson"}
"""Filters that templates use; ``safe`` and others that switch escaping off are not among them."""


@pytest.mark.parametrize("name", FORMATS)
def test_environments_escape_and_know_every_name(name):
    made = environment(name)
    assert made.autoescape is True
    assert made.undefined is StrictUndefined
    (opening, closing), text = (made.variable_start_string, made.variable_end_string), "<b> & _ % |"
    shown = made.from_string(f"{opening} x {closing}").render(x=text)
    assert text not in shown
    assert made.from_string(f"{opening} x {closing}").render(x=Markup(text)) == text
    with pytest.raises(UndefinedError):
        made.from_string(f"{opening} y {closing}").render(x=text)


@pytest.mark.parametrize(("folder", "name"), TEMPLATES)
def test_no_template_switches_escaping_off(folder, name):
    made = environment(folder)
    tree = made.parse(template_texts()[f"{folder}/{name}"])
    assert not list(tree.find_all((nodes.ScopedEvalContextModifier, nodes.EvalContextModifier)))
    assert {found.name for found in tree.find_all(nodes.Filter)} <= FILTERS
    assert not [found.name for found in tree.find_all(nodes.Name) if found.name == "Markup"]
    # A constant in an expression would be escaped for HTML, whatever the format.
    constants = [
        each for output in tree.find_all(nodes.Output) for each in output.nodes if isinstance(each, nodes.Const)
    ]
    assert constants == []


def test_every_format_has_a_template_for_every_kind_of_part():
    kinds = {name for folder, name in TEMPLATES if folder == "markdown"}
    assert kinds == {"document.j2", "table.j2", "title.j2", "paragraph.j2", "listing.j2"}
    for name in FORMATS:
        assert kinds - {"document.j2"} <= {path.name for path in (FOLDER / name).iterdir()}


def test_markdown_columns_are_padded():
    table = "| a | long heading |\n| :-- | :-: |\n| x \\| y | 1 |\n"
    assert aligned(table).splitlines() == [
        "| a      | long heading |",
        "| :----- | :----------: |",
        r"| x \| y | 1            |",
    ]


def test_identifiers_are_plain():
    assert identifier('a b"<ü_1.') == "a-b---_1."


def colours(css: str) -> dict[str, str]:
    return dict(re.findall(r"--([a-z-]+): (#[0-9a-f]{6});", css))


def luminance(colour: str) -> float:
    """Relative luminance of WCAG 2.2."""
    channels = (int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5))
    linear = [value / 12.92 if value <= 0.04045 else ((value + 0.055) / 1.055) ** 2.4 for value in channels]
    return 0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]


def contrast(first: str, second: str) -> float:
    low, high = sorted((luminance(first), luminance(second)))
    return (high + 0.05) / (low + 0.05)


def test_contrast_of_known_colours():
    assert contrast("#000000", "#ffffff") == pytest.approx(21)
    assert contrast("#777777", "#ffffff") == pytest.approx(4.48, abs=0.01)


def test_text_is_legible_in_light_dark_and_print():
    light, dark, paper = (colours(block) for block in re.findall(r":root \{(.*?)\}", style(), flags=re.DOTALL))
    assert light.keys() == dark.keys()
    for scheme in (light, {**light, **dark}, {**light, **paper}):
        for name in ("text", "muted", "rescored", "good", "bad"):
            assert contrast(scheme[name], scheme["page"]) >= 4.5, name
        assert contrast(scheme["warning"], scheme["warning-page"]) >= 4.5


def test_the_style_sheet_needs_no_other_file_and_names_its_colours_once():
    css = style()
    assert "url(" not in css
    assert "@import" not in css
    rules = re.sub(r":root \{.*?\}", "", css, flags=re.DOTALL)
    assert not re.search(r"#[0-9a-f]{3,8}\b", rules)
    assert all(
        before != after for before, after in pairwise(css.splitlines()) if before.strip() and before.strip() != "}"
    )
