"""Tables: what stands in the cells, and the same of it in every format."""

import csv
import io
from dataclasses import replace

import pytest

from sadetr.documents.rendering import RENDERERS
from sadetr.experiments import Row
from sadetr.reporting.metrics_document import metrics_document
from sadetr.reporting.tables import MetricsTable, build_table
from tests.documents.parsing import html_rows, latex_rows, markdown_rows

from .conftest import GENERATED, OTHER, run_id


@pytest.fixture
def table(generated, experiment, paper, results, complete_runs):
    complete_runs(generated)
    return build_table(experiment, generated, results(generated), paper)


def rendered(table: MetricsTable, suffix: str) -> str:
    return RENDERERS[suffix](metrics_document(table))


def record(table: MetricsTable, place: int) -> dict[str, str]:
    """A line of the CSV file."""
    return list(csv.DictReader(io.StringIO(rendered(table, "csv"))))[place]


def rows(table: MetricsTable) -> list[list[str]]:
    """Rows of the table, which every format shows alike."""
    found = html_rows(rendered(table, "html"))
    assert [
        [part for cell in row for part in cell.split(" / ")] for row in markdown_rows(rendered(table, "md"))
    ] == found
    assert latex_rows(rendered(table, "tex")) == found
    return found


def test_every_format_holds_the_same_cells(table):
    assert rows(table) == [
        ["(a)", "", "plain", "60.00", "60.00*", "40.00", "40.00†", "39.00", "39.00"],
        ["(b)", "✓", "A|B_{$}", "65.50 ± 1.00", "65.00", "44.00 ± 1.00", "45.00†", "40.00 ± 1.00", "40.00"],
        ["(c)‡", "", "<other>", "–", "65.00", "–", "44.00", "–", "–"],
    ]


def test_csv_is_for_programs(table):
    lines = [record(table, place) for place in range(3)]
    assert [line["row"] for line in lines] == ["a", "b", "c"]
    full = lines[1]
    assert full["FA"] == "x"
    assert (float(full["R1@0.5"]), float(full["R1@0.5_std"]), float(full["R1@0.5_paper"])) == (65.5, 1.0, 65.0)
    assert (lines[2]["R1@0.5"], lines[2]["HD_mAP_paper"]) == ("", "")
    assert [line["status"] for line in lines] == ["complete", "complete", "paper only"]
    assert lines[0]["notes"] == "R1@0.5: A <doubt>. mAP: Seen twice_&_50%."
    assert {line["comparability"] for line in lines} == {GENERATED}


def test_best_of_each_column_is_bold(table):
    best = {
        (row.key, column.metric, side)
        for row in table.rows
        for column, cell in zip(table.columns, row.cells, strict=True)
        for side in ("ours", "paper")
        if getattr(cell, side).best
    }
    ours = {("b", metric, "ours") for metric in ("R1@0.5", "mAP", "HD_mAP")}
    tied = {("b", "R1@0.5", "paper"), ("c", "R1@0.5", "paper")}
    assert best == ours | tied | {("b", "mAP", "paper"), ("b", "HD_mAP", "paper")}
    assert "**65.50 ± 1.00** / **65.00**" in rendered(table, "md")
    assert r"\textbf{65.50 \ensuremath{\pm} 1.00} & \textbf{65.00}" in rendered(table, "tex")
    assert '<strong>65.50 ± 1.00</strong></td><td class="paper"><strong>65.00</strong>' in rendered(table, "html")


def test_every_number_of_ours_says_where_it_is_from(table):
    page = rendered(table, "html")
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            place = f'data-experiment="table4" data-row="{row.key}" data-metric="{column.metric}"'
            assert page.count(place) == 1
            assert cell.ours.text in page.split(place)[1].partition("</td>")[0]
    assert '<section id="table4" class="table' in page


@pytest.mark.parametrize("suffix", RENDERERS)
def test_banner(table, generated, official, experiment, paper, results, complete_runs, suffix):
    assert GENERATED in rendered(table, suffix)
    complete_runs(official)
    comparable = build_table(experiment, official, results(official), paper)
    assert "not comparable" not in rendered(comparable, suffix)


def test_missing_runs_say_so(generated, experiment, paper, results, write_run):
    write_run(run_id("full", 0), generated, {"R1@0.5": 65.0, "mAP": 44.0})
    table = build_table(experiment, generated, results(generated), paper)
    plain, full, other = table.rows
    assert [cell.ours.text for cell in plain.cells] == ["not run"] * 3
    assert [cell.ours.text for cell in full.cells] == ["65.00 (1/3 seeds)", "44.00 (1/3 seeds)", "not evaluated"]
    assert (plain.status, full.status, other.status) == ("not run", "incomplete", "paper only")
    for suffix in ("md", "tex", "html"):
        assert rendered(table, suffix).count("not run") == 3
    assert record(table, 0)["status"] == "not run"


@pytest.fixture
def rescored(simulated, experiment, paper, results, complete_runs, write_rescored):
    complete_runs(simulated)
    write_rescored(simulated, {OTHER: {"R1@0.5": 65.0, "mAP": 44.006, "HD_mAP": None}})
    return build_table(experiment, simulated, results(simulated), paper)


def test_rescored_numbers_stand_between_ours_and_the_papers(rescored):
    assert rescored.sides == ("ours", "rescored", "paper")
    expected = ["(c)‡", "", "<other>", "–", "65.00", "65.00", "–", "44.01", "44.00", "–", "no queries", "–"]
    assert rows(rescored)[2] == expected
    line = record(rescored, 2)
    assert (line["mAP"], line["mAP_rescored"], line["mAP_paper"]) == ("", "44.01", "44.00")
    assert (line["HD_mAP_rescored"], line["status"]) == ("", "rescored")
    assert "Each cell: ours / rescored / paper." in rendered(rescored, "md")
    assert any("on the real annotations" in remark for remark in rescored.remarks)


@pytest.mark.parametrize(
    ("scale", "words"),
    [("generated", "not rescored on generated ones"), ("simulated", "not there to be rescored: other_val.jsonl")],
)
def test_without_rescored_numbers_a_table_has_two_sides_and_says_why(
    request, scale, words, experiment, paper, results, complete_runs
):
    scale = request.getfixturevalue(scale)
    complete_runs(scale)
    table = build_table(experiment, scale, results(scale), paper)
    assert table.sides == ("ours", "paper")
    assert any(words in remark for remark in table.remarks)
    assert "rescored" not in rendered(table, "csv")


def test_rows_say_which_checkpoint_they_show(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    kinds = (("best", "test"), ("clean", "val"), ("last", None))
    run = replace(run_id("full"), setting="tacos")
    shown = tuple(Row(name, {"FA": "", "Method": name}, (run,), name, None) for name, _ in kinds)
    tacos = replace(experiment, rows=shown, label_columns=("Method", "FA"), split="test")
    remark = build_table(tacos, official, results(official), paper).remarks[0]
    mean = "epoch with the highest mean of R1@0.5 and R1@0.7 on the"
    assert f"best: {mean} test split, the one reported here." in remark
    assert f"clean: {mean} val split." in remark
    assert "last: last epoch, not selected." in remark
    single = build_table(experiment, official, results(official), paper).remarks[0]
    assert single == "Ours: val split, epoch with the highest mAP on the val split, the one reported here, in percent."


@pytest.mark.parametrize(("metrics", "lines"), [(("R1@0.5", "mAP"), 2), (("R1@0.5", "HD_mAP"), 3)])
def test_one_group_of_columns_needs_no_heading(official, experiment, paper, results, complete_runs, metrics, lines):
    complete_runs(official)
    table = build_table(replace(experiment, metrics=metrics), official, results(official), paper)
    (part,) = metrics_document(table).parts
    assert len(part.header) == lines
    assert ("MR" in {heading.text for heading in part.header[0]}) == (lines == 3)
    assert ("MR R1@0.5" in rendered(table, "md")) == (lines == 3)
