"""The report as a file: everything is in it, nothing is fetched, and equal results give equal bytes."""

import itertools
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest

from sadetr.configuration import load_scale
from sadetr.documents.model import Document, Paragraph
from sadetr.documents.report import Picture, Report, Section, render_report
from sadetr.errors import ResultsError
from sadetr.experiments import experiment_names, load_experiment
from sadetr.layout import Layout
from sadetr.reporting import report_command as command
from sadetr.reporting.comparison_command import judged
from sadetr.reporting.report_command import LARGE, make_report, report_command
from sadetr.reporting.scores import ScaleResults
from tests.documents import parsing
from tests.reporting.reported import ABSENT, HOSTILE, LOW, STALE, SVG, write_results


@pytest.fixture(autouse=True)
def void_elements(monkeypatch):
    monkeypatch.setattr(parsing, "VOID", ("meta", "link", "img", "input"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    path = tmp_path_factory.mktemp("results")
    write_results(path, "paper")
    return path


@pytest.fixture(scope="module")
def text(folder):
    (path,) = report_command(load_scale("paper"), folder)
    return path.read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def facts(text):
    (found,) = re.findall(r'<script type="application/json" id="facts">(.*?)</script>', text, flags=re.DOTALL)
    return json.loads(found)


def experiments(name):
    loaded = [load_experiment(each, name) for each in experiment_names()]
    return [experiment for experiment in loaded if experiment.part_of_all]


def test_every_table_figure_and_cell_is_on_the_page(text, facts, folder):
    page = parsing.Page(text)
    names = {attributes.get("id") for _, attributes in page.elements}
    for experiment in experiments("paper"):
        assert experiment.name in names
        assert experiment.caption in page.texts
    scale = load_scale("paper")
    cells = [cell for cell in judged(scale, ScaleResults(folder, scale)).cells if cell.kind == "trained"]
    assert len(cells) > 300
    shown = [each for tag, each in page.elements if tag == "td" and each.get("class", "").startswith("ours")]
    places = [(each["data-experiment"], each["data-row"], each["data-metric"]) for each in shown if "data-row" in each]
    for cell in cells:
        tables = 2 if cell.experiment.startswith("table") else 1
        assert places.count((cell.experiment, cell.row, cell.metric)) == tables
        assert facts["cells"][cell.experiment][cell.row][cell.metric]["runs"]


def test_cells_and_tables_have_their_verdicts(text, facts):
    page = parsing.Page(text)
    marked = {
        (each["data-experiment"], each["data-row"], each["data-metric"]): each["data-verdict"]
        for each in page.all("td")
        if "data-verdict" in each
    }
    assert marked["table4", "h", "mAP"] == "below"
    assert marked["table4", "h", "HD_mAP"] == "reached"
    rows = facts["cells"]
    for (experiment, row, metric), verdict in marked.items():
        low = str(LOW) in rows[experiment][row][metric]["runs"] and metric == "mAP"
        assert (verdict == "below") == low
    assert dict(facts["cells"]["table4"]["h"]["mAP"]["facts"])["verdict"] == "below"
    assert any(words.startswith("table4 as a whole: ") for words in page.texts)
    assert any("Not all that is required holds." in words for words in page.texts)
    (row,) = (row for row in page.rows if row[0].startswith("Table 4: ") and len(row) > 5)
    assert "reached" in row


def test_a_run_is_described_once_with_what_it_was_made_of(text, facts):
    run = facts["runs"][str(LOW)]
    known = dict(run["facts"])
    assert (known["seed"], known["features"], known["annotations"]) == ("2018", "fea70", "a2207")
    assert (known["commit"], known["time"], known["parameters"]) == ("0" * 40, "2 s", "1,234")
    assert known["selected epochs"] == "best 5, last 6"
    assert known["peak GPU memory"] == "1.50 GiB, resident features included"
    assert known["predictions best.val"] == "5ba2"
    assert known["fills"].startswith("Table 4 h")
    assert run["notes"] == []
    assert run["curves"]["epochs"] == [1, 2, 3, 4, 5, 6]
    assert run["curves"]["series"]["loss"] == [9, 8, 7, 6, 5, None]
    assert run["curves"]["series"]["val/mAP"] == [0, 1, 2, 3, 4, None]
    differs = {key: (here, full) for key, here, full, _ in facts["settings"][run["settings"]]["differs"]}
    assert differs == {"model.fa.ctm": ("false", "true"), "model.fa.vtc": ("false", "true")}
    # Whatever is written into a run's folder stays data.
    assert known["device"] == HOSTILE
    assert HOSTILE not in text
    assert text.count("<script") == 2


def test_what_is_missing_or_stale_is_said(text, facts):
    assert facts["runs"][str(ABSENT)]["notes"] == [
        "This run is not trained. Make it: snakemake --cores 1 table5 --config scale=paper"
    ]
    assert facts["runs"][str(STALE)]["notes"][0].startswith("This run was trained with other code.")
    assert "Not drawn yet. Draw it: snakemake --cores 1 figure4 --config scale=paper" in text
    assert f"<li>{ABSENT}: not trained</li>" in text


def test_the_page_needs_no_other_file(text):
    page = parsing.Page(text)
    for _, attributes in page.elements:
        for name in ("src", "href", "srcset", "action", "data"):
            assert (attributes.get(name) or "#").startswith(("#", "data:")), attributes
    (policy,) = (each["content"] for each in page.all("meta") if each.get("http-equiv") == "Content-Security-Policy")
    assert policy.startswith("default-src 'none'")
    shown = text.split('id="facts"')[0]
    assert not re.search(r"url\((?!#)|@import|https?://", shown)


def test_headings_come_in_order_and_names_once(text):
    page = parsing.Page(text)
    levels = [int(tag[1]) for tag, _ in page.elements if re.fullmatch("h[1-6]", tag)]
    assert levels[0] == 1
    assert levels.count(1) == 1
    assert all(after - before <= 1 for before, after in itertools.pairwise(levels))
    names = [attributes["id"] for _, attributes in page.elements if "id" in attributes]
    assert len(names) == len(set(names))
    captions = [tag for tag, _ in page.elements if tag == "caption"]
    assert len(captions) == len(page.all("table"))
    assert all(attributes.get("scope") for attributes in page.all("th"))


def test_a_scale_that_cannot_be_compared_says_so_without_any_run(tmp_path):
    (path,) = report_command(load_scale("mini"), tmp_path)
    page = parsing.Page(path.read_text(encoding="utf-8"))
    assert "generated data: not comparable with the paper" in page.texts
    assert any("0 of 72 runs are trained and evaluated." in words for words in page.texts)
    assert path.stat().st_size < 1_000_000


SCRIPT = """
import sys
from pathlib import Path
from sadetr.configuration import load_scale
from sadetr.reporting.report_command import report_command
report_command(load_scale("paper"), Path(sys.argv[1]))
assert not {"torch", "pandas", "matplotlib"} & set(sys.modules)
"""


def test_equal_results_give_equal_bytes(folder, text):
    environment = {"PYTHONHASHSEED": "7", "PATH": ""}
    subprocess.run([sys.executable, "-c", SCRIPT, str(folder)], check=True, env=environment, timeout=120)
    assert (folder / "paper" / "report.html").read_text(encoding="utf-8") == text
    assert len(text) < 2_000_000


def test_an_unreadable_provenance_is_named(folder, tmp_path):
    scale = load_scale("paper")
    source = ScaleResults(tmp_path, scale)
    path = Layout(scale, tmp_path).run(LOW).provenance
    path.parent.mkdir(parents=True)
    path.write_text("{")
    with pytest.raises(ResultsError, match=re.escape(str(path))):
        make_report(scale, source, judged(scale, source))


def test_figures_are_drawings_unless_these_are_large(tmp_path):
    scale = load_scale("mini")
    comparison = judged(scale, ScaleResults(tmp_path, scale), ["figure6"])
    (figure,) = (each for each in experiments("mini") if each.name == "figure6")
    folder = tmp_path / "figures"
    folder.mkdir()

    def source():
        return command.picture(figure, scale, tmp_path, comparison).source

    assert source() == ""
    (folder / "figure6.png").write_bytes(b"png")
    assert source() == "data:image/png;base64,cG5n"
    (folder / "figure6.svg").write_text(SVG)
    assert source().startswith("data:image/svg+xml;base64,")
    (folder / "figure6.svg").write_text(SVG + " " * LARGE)
    assert source() == "data:image/png;base64,cG5n"
    (folder / "figure6.png").write_bytes(b" " * 2 * LARGE)
    assert source().startswith("data:image/svg+xml;base64,")


def test_claims_are_shown_with_their_verdicts(text, folder):
    scale = load_scale("paper")
    source = ScaleResults(folder, scale)
    comparison = judged(scale, source)
    rows = [row for row in parsing.Page(text).all("tr") if "data-claim" in row]
    assert [row["data-claim"] for row in rows] == [claim.claim.name for claim in comparison.claims]
    assert [row["data-verdict"] for row in rows] == [claim.verdict for claim in comparison.claims]
    assert len(rows) >= 30
    report = make_report(scale, source, replace(comparison, claims=()))
    assert [section.name for section in report.sections] == ["results", "tables", "figures", "every-cell"]
    assert "data-claim" not in render_report(report)


def test_hostile_words_stay_words():
    words = "\"><script>alert(1)</script>' & {{ 7 * 7 }}"
    document = Document("d", words, words, (Paragraph(words),))
    picture = Picture("p", words, "", words, (("experiment", words),))
    sections = (Section("s", words, (document,), (picture,)),)
    report = Report(words, words, sections, ((words, words),), (words,), {"a": words, words: 1})
    text = render_report(report)
    page = parsing.Page(text)
    assert len(page.all("script")) == 2
    assert page.texts.count(words) > 5
    (facts,) = re.findall(r'id="facts">(.*?)</script>', text, flags=re.DOTALL)
    assert json.loads(facts) == {"a": words, words: 1}
