"""The report in headless Chromium, opened from disk: what it shows, how it is filtered, sorted and asked."""

import importlib.resources
import json
import math

import pytest

from sadetr.reporting.report_command import report_command
from tests.reporting.browser import SCHEMES, WIDTHS, Browser, found_browser
from tests.reporting.reported import ABSENT, LOW, write_results

pytest.importorskip("selenium", reason="selenium is not installed")
pytestmark = pytest.mark.skipif(found_browser() is None, reason="neither Chromium nor its chromedriver is installed")

ROWS = "section.filtered tbody tr"
CELL = 'td.ours[data-experiment="table4"][data-row="h"][data-metric="mAP"] button'
ADDRESS = "#cell=table4/h/mAP"


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    folder = tmp_path_factory.mktemp("results")
    (path,) = report_command(write_results(folder, "paper"), folder)
    return path


@pytest.fixture(scope="module")
def window():
    browser = Browser()
    yield browser
    browser.driver.quit()


@pytest.fixture
def browser(window, page):
    """The page, freshly opened at 1440 pixels in light colours."""
    window.open(page)
    window.errors()
    return window


def luminance(browser) -> float:
    red, green, blue = browser.run("return getComputedStyle(document.body).backgroundColor.match(/\\d+/g).map(Number)")
    return (red + green + blue) / 765


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("place", ["", ADDRESS])
def test_it_opens_without_a_complaint_and_fits(window, page, scheme, width, place):
    window.open(page, place, scheme, width)
    assert window.errors() == []
    wide, inner = window.run("return [document.documentElement.scrollWidth, innerWidth]")
    assert wide <= inner == WIDTHS[width][0]
    assert (luminance(window) > 0.8) == (scheme == "light")
    if place:
        box = window.run(
            "const box = document.querySelector('dialog').getBoundingClientRect(); return [box.left, box.right]"
        )
        assert 0 <= box[0] < box[1] <= inner
        assert window.run("const box = document.querySelector('dialog'); return box.scrollWidth <= box.clientWidth")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_the_switch_overrules_the_system(window, page, scheme):
    window.open(page, scheme=scheme)
    for choice in SCHEMES:
        window.choose("scheme", choice)
        assert (luminance(window) > 0.8) == (choice == "light")
        assert window.run("return getComputedStyle(document.documentElement).colorScheme") == choice
    window.choose("scheme", "")
    assert (luminance(window) > 0.8) == (scheme == "light")


def test_rows_are_filtered_by_table_verdict_and_words(browser):
    total = len(browser.texts(ROWS))
    assert browser.texts("#shown") == [f"{total} of {total} rows shown"]
    browser.choose("table", "table4")
    of_table = browser.texts(ROWS)
    claims = len(browser.texts('tr[data-claim][data-experiment="table4"]'))
    assert len(of_table) == 10 + 50 + claims
    assert claims > 0
    assert browser.texts("#shown") == [f"{len(of_table)} of {total} rows shown"]
    assert browser.texts("section.filtered article h3") == [
        "Table 4: Ablation of the components of SA-DETR on QVHighlights val"
    ]
    assert not browser.shown("figure")
    browser.choose("verdict", "below")
    assert [row.split()[0] for row in browser.texts(ROWS)] == ["(h)", "table4"]
    browser.choose("table", "")
    browser.choose("verdict", "missing")
    assert all("missing" in row for row in browser.texts("#cells tbody tr"))
    browser.choose("verdict", "")
    browser.choose("words", "TACOS nowhere")
    assert browser.texts(ROWS) == []
    assert len(browser.texts("section.filtered .nothing")) == 4
    browser.find("[type=reset]").click()
    browser.until(lambda: browser.texts("#shown") == [f"{total} of {total} rows shown"])
    assert len(browser.texts(ROWS)) == total
    assert browser.run("return document.getElementById('shown').getAttribute('role')") == "status"


def column(browser: Browser, place: int) -> list[str]:
    """Texts of a column of the table of every cell."""
    script = "return [...document.querySelector('#cells tbody').rows].map((row) => row.cells[arguments[0]].innerText)"
    return [text.strip() for text in browser.run(script, place)]


def test_rows_are_sorted_by_size_and_words_and_back(browser):
    headings = browser.run(
        "return [...document.querySelectorAll('#cells thead th')].map((each) => each.innerText.trim())"
    )
    place = headings.index("difference")
    button = f"#cells thead th:nth-child({place + 1}) button"
    before = column(browser, place)
    assert "–" in before
    for order, sign in (("descending", -1), ("ascending", 1)):
        browser.find(button).click()
        assert browser.run("return document.querySelector('#cells th[aria-sort]').ariaSort") == order
        numbers = [float(text) for text in column(browser, place) if text != "–"]
        assert numbers == sorted(numbers, key=lambda number: sign * number)
        # What is no number comes last, either way.
        assert column(browser, place)[len(numbers) :] == ["–"] * (len(before) - len(numbers))
    assert min(numbers) == -9
    browser.find(button).click()
    assert column(browser, place) == before
    browser.find("#cells thead th:nth-child(2) button").click()
    assert column(browser, 1)[0].lower() == max(map(str.lower, column(browser, 1)))


def test_every_column_of_a_table_with_grouped_headings_is_sorted_by_its_own(browser):
    names = browser.run("return [...document.querySelectorAll('#table4 thead button')].map((each) => each.ariaLabel)")
    assert len(names) == len(set(names)) == 5 + 2 * 5
    assert "Sort by MR, mAP Avg., ours" in names
    browser.find('#table4 [aria-label="Sort by MR, mAP Avg., ours"]').click()
    rows = browser.run(
        "return [...document.querySelectorAll('#table4 td.ours[data-metric=\"mAP\"] button')]"
        ".map((each) => parseFloat(each.innerText))"
    )
    assert rows == sorted(rows, reverse=True)
    assert math.isclose(max(rows) - min(rows), 9, abs_tol=9)


def check_dialog(browser):
    assert browser.texts("dialog[open] h2") == ["Table 4, row h: mAP"]
    (text,) = browser.texts("dialog[open] #provenance-body")
    for fact in (str(LOW), "below", "2018", "0" * 40, "fea70", "model.fa.vtc", "best 5, last 6", "2 s", "epoch 5"):
        assert fact in text
    assert len(browser.texts("dialog details")) == 1
    names = browser.run(
        "return [...document.querySelectorAll('dialog svg')].map((each) => each.getAttribute('aria-label'))"
    )
    assert names == [
        "val/mAP over 5 epochs, from 0 to 4; lowest 0, highest 4",
        "loss over 5 epochs, from 9 to 5; lowest 5, highest 9",
    ]
    assert browser.run("return document.querySelector('dialog polyline').getAttribute('points').split(' ').length") == 5


def test_a_click_opens_the_provenance_and_escape_closes_it(browser):
    from selenium.webdriver.common.keys import Keys

    browser.find(CELL).click()
    check_dialog(browser)
    assert browser.run("return location.hash") == ADDRESS
    browser.press(Keys.ESCAPE)
    browser.until(lambda: not browser.shown("dialog"))
    assert browser.run("return location.hash") == ""
    assert browser.run(f"return document.activeElement === document.querySelector('{CELL}')")
    browser.find(CELL).click()
    browser.find("#close").click()
    browser.until(lambda: not browser.shown("dialog"))
    assert browser.errors() == []


def test_the_keyboard_reaches_a_cell_and_stays_in_its_dialog(browser):
    from selenium.webdriver.common.keys import Keys

    before = CELL.replace('"mAP"', '"R1@0.7"')
    browser.run(f"document.querySelector('{before}').focus()")
    browser.press(Keys.TAB)
    assert browser.run(f"return document.activeElement === document.querySelector('{CELL}')")
    outline = browser.run("return getComputedStyle(document.activeElement).outlineStyle")
    assert outline == "solid"
    browser.press(Keys.ENTER)
    check_dialog(browser)
    for _ in range(4):
        browser.press(Keys.TAB)
        inside = "return document.activeElement === document.body || Boolean(document.activeElement.closest('dialog'))"
        assert browser.run(inside)


def test_an_address_opens_its_cell_and_another_the_next(window, page):
    window.open(page, ADDRESS)
    check_dialog(window)
    window.run("location.hash = '#cell=table5/baseline/mAP'")
    window.until(lambda: window.texts("dialog[open] h2") == ["Table 5, row baseline: mAP"])
    (text,) = window.texts("dialog[open] #provenance-body")
    assert f"{ABSENT}\n" in text
    assert "This run is not trained. Make it: snakemake --cores 1 table5 --config scale=paper" in text
    window.run("location.hash = '#table4'")
    window.until(lambda: not window.shown("dialog"))
    window.run("location.hash = '#cell=nothing/of/this'")
    assert not window.shown("dialog")
    assert window.errors() == []


def test_cells_of_several_seeds_show_all_their_runs(window, page):
    window.open(page, "#cell=table12/SA-DETR/mAP")
    names = window.texts("dialog summary")
    assert len(names) == 5
    assert all(name.startswith("qvhighlights/sa_detr/full/seed") for name in names)


def test_paper_shows_results_and_no_controls(browser):
    assert browser.shown(".controls")
    browser.choose("scheme", "dark")
    browser.set_media("print")
    for hidden in (".controls", ".scheme", "nav", ".skip", "dialog"):
        assert not browser.shown(hidden), hidden
    assert browser.shown("#table4 tbody tr")
    assert browser.shown("figure img")
    assert luminance(browser) == 1


def test_it_can_be_read_without_its_script(window, page):
    window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": True})
    try:
        window.open(page)
    finally:
        window.driver.execute_cdp_cmd("Emulation.setScriptExecutionDisabled", {"value": False})
    assert window.shown("#table4 tbody tr")
    assert not window.shown(".controls, .scheme, .nothing")


def test_nothing_moves_for_who_does_not_want_it(window, page):
    behaviour = "return getComputedStyle(document.documentElement).scrollBehavior"
    for wish, expected in (("no-preference", "smooth"), ("reduce", "auto")):
        window.open(page, **{"prefers-reduced-motion": wish})
        assert window.run(behaviour) == expected


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize(("width", "place"), [("desktop", ""), ("phone", ADDRESS)])
def test_axe_finds_no_serious_fault(window, page, scheme, width, place):
    pytest.importorskip("axe_core_python", reason="axe-core-python is not installed")
    script = importlib.resources.files("axe_core_python").joinpath("axe.min.js").read_text(encoding="utf-8")
    window.open(page, place, scheme, width)
    # Hidden rows are no faults: one table has every kind of part, and is looked at in a tenth of the time.
    window.choose("table", "table4")
    window.run(script)
    found = window.run_later("axe.run(document, {resultTypes: ['violations']}).then(arguments[arguments.length - 1])")
    serious = [each for each in found["violations"] if each["impact"] in ("serious", "critical")]
    assert serious == [], json.dumps(serious, indent=1)[:4000]
