"""Tables: what stands in the cells, and the same of it in every format."""

import csv
import html
import io
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.experiments import Row
from sadetr.markup import escape_html, escape_latex, escape_markdown
from sadetr.reporting.renderers import RENDERERS, render_csv, render_html, render_latex, render_markdown
from sadetr.reporting.tables import build_table

from .conftest import GENERATED, OTHER, run_id


@pytest.fixture
def table(generated, experiment, paper, results, complete_runs):
    complete_runs(generated)
    return build_table(experiment, generated, results(generated), paper)


def latex_cells(text: str) -> list[list[str]]:
    body = text.split(r"\midrule")[1].split(r"\bottomrule")[0]
    rows = [re.split(r"(?<!\\)&", line.strip().removesuffix(r"\\")) for line in body.strip().splitlines()]
    return [[_plain_latex(cell) for cell in row] for row in rows]


def _plain_latex(cell: str) -> str:
    marks = [(r"\textdagger{}", "†"), (r"\textdaggerdbl{}", "‡"), ("{*}", "*"), (r"\checkmark{}", "✓")]
    signs = [(r"$\pm$", "±"), ("--", "\N{EN DASH}"), (r"\textless{}", "<"), (r"\textgreater{}", ">")]
    for source, plain in [*marks, *signs, (r"\textbar{}", "|")]:
        cell = cell.replace(source, plain)
    cell = re.sub(r"\\(?:textbf|textsuperscript)\{([^}]*)\}", r"\1", cell)
    return re.sub(r"\\([_{}$&%#])", r"\1", cell).strip()


def html_cells(text: str) -> list[list[str]]:
    body = text.split("<tbody>")[1].split("</tbody>")[0]
    rows = [re.findall(r"<t[dh][^>]*>(.*?)</t[dh]>", line) for line in body.strip().splitlines()]
    return [[html.unescape(re.sub(r"<[^>]*>", "", cell)) for cell in row] for row in rows]


def markdown_cells(text: str) -> list[list[str]]:
    lines = [line for line in text.splitlines() if line.startswith("|")][2:]
    rows = [[cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]] for line in lines]
    parts = [[part for cell in row for part in cell.split(" / ")] for row in rows]
    return [[re.sub(r"\\(.)", r"\1", part.replace("**", "")) for part in row] for row in parts]


def test_every_format_holds_the_same_cells(table):
    expected = [
        ["(a)", "", "plain", "60.00", "60.00*", "40.00", "40.00†", "39.00", "39.00"],
        ["(b)", "✓", "A|B_{$}", "65.50 ± 1.00", "65.00", "44.00 ± 1.00", "45.00†", "40.00 ± 1.00", "40.00"],
        ["(c)‡", "", "<other>", "–", "65.00", "–", "44.00", "–", "–"],
    ]
    assert markdown_cells(render_markdown(table)) == expected
    assert html_cells(render_html(table)) == expected
    assert latex_cells(render_latex(table)) == expected


def test_csv_is_for_programs(table):
    rows = list(csv.DictReader(io.StringIO(render_csv(table))))
    assert [row["row"] for row in rows] == ["a", "b", "c"]
    assert rows[1]["FA"] == "x"
    assert (float(rows[1]["R1@0.5"]), float(rows[1]["R1@0.5_std"]), float(rows[1]["R1@0.5_paper"])) == (65.5, 1.0, 65.0)
    assert (rows[2]["R1@0.5"], rows[2]["HD_mAP_paper"]) == ("", "")
    assert [row["status"] for row in rows] == ["complete", "complete", "paper only"]
    assert rows[0]["notes"] == "R1@0.5: A <doubt>. mAP: Seen twice_&_50%."
    assert {row["comparability"] for row in rows} == {GENERATED}


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
    assert "**65.50 ± 1.00** / **65.00**" in render_markdown(table)
    assert r"\textbf{65.50 $\pm$ 1.00} & \textbf{65.00}" in render_latex(table)
    assert '<strong>65.50 ± 1.00</strong></td><td class="paper"><strong>65.00</strong>' in render_html(table)


@pytest.mark.parametrize("suffix", RENDERERS)
def test_banner(table, generated, official, experiment, paper, results, complete_runs, suffix):
    assert GENERATED in RENDERERS[suffix](table)
    complete_runs(official)
    comparable = build_table(experiment, official, results(official), paper)
    assert "not comparable" not in RENDERERS[suffix](comparable)


def test_missing_runs_say_so(generated, experiment, paper, results, write_run):
    write_run(run_id("full", 0), generated, {"R1@0.5": 65.0, "mAP": 44.0})
    table = build_table(experiment, generated, results(generated), paper)
    plain, full, other = table.rows
    assert [cell.ours.text for cell in plain.cells] == ["not run"] * 3
    assert [cell.ours.text for cell in full.cells] == ["65.00 (1/3 seeds)", "44.00 (1/3 seeds)", "not evaluated"]
    assert (plain.status, full.status, other.status) == ("not run", "incomplete", "paper only")
    for suffix in ("md", "tex", "html"):
        assert RENDERERS[suffix](table).count("not run") == 3
    assert next(csv.DictReader(io.StringIO(render_csv(table))))["status"] == "not run"


@pytest.fixture
def rescored(simulated, experiment, paper, results, complete_runs, write_rescored):
    complete_runs(simulated)
    write_rescored(simulated, {OTHER: {"R1@0.5": 65.0, "mAP": 44.006, "HD_mAP": None}})
    return build_table(experiment, simulated, results(simulated), paper)


def test_rescored_numbers_stand_between_ours_and_the_papers(rescored):
    assert rescored.sides == ("ours", "rescored", "paper")
    expected = ["(c)‡", "", "<other>", "–", "65.00", "65.00", "–", "44.01", "44.00", "–", "no queries", "–"]
    assert markdown_cells(render_markdown(rescored))[2] == expected
    assert html_cells(render_html(rescored))[2] == expected
    assert latex_cells(render_latex(rescored))[2] == expected
    row = list(csv.DictReader(io.StringIO(render_csv(rescored))))[2]
    assert (row["mAP"], row["mAP_rescored"], row["mAP_paper"]) == ("", "44.01", "44.00")
    assert (row["HD_mAP_rescored"], row["status"]) == ("", "rescored")
    assert "Each cell: ours / rescored / paper." in render_markdown(rescored)
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
    assert "rescored" not in render_csv(table)


def test_rows_say_which_checkpoint_they_show(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    kinds = (("best", "test"), ("clean", "val"), ("last", None))
    run = replace(run_id("full"), setting="tacos")
    rows = tuple(Row(name, {"FA": "", "Method": name}, (run,), name, None) for name, _ in kinds)
    tacos = replace(experiment, rows=rows, label_columns=("Method", "FA"), split="test")
    remark = build_table(tacos, official, results(official), paper).remarks[0]
    mean = "epoch with the highest mean of R1@0.5 and R1@0.7 on the"
    assert f"best: {mean} test split, the one reported here." in remark
    assert f"clean: {mean} val split." in remark
    assert "last: last epoch, not selected." in remark
    single = build_table(experiment, official, results(official), paper).remarks[0]
    assert single == "Ours: val split, epoch with the highest mAP on the val split, the one reported here, in percent."


def test_one_group_of_columns_needs_no_heading(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    table = build_table(replace(experiment, metrics=("R1@0.5", "mAP")), official, results(official), paper)
    assert table.groups == []
    for suffix in ("md", "tex", "html"):
        assert not re.search(r"\bMR\b", RENDERERS[suffix](table))
    test_header_spans_match_the_rows(table)
    test_latex_is_balanced(table)


@pytest.mark.parametrize("name", ["table", "rescored"])
def test_every_layout_is_well_formed(request, name):
    table = request.getfixturevalue(name)
    test_header_spans_match_the_rows(table)
    test_latex_is_balanced(table)
    test_html_needs_no_other_file(table)


def test_latex_is_balanced(table):
    text = render_latex(table)
    bare = re.sub(r"\\[{}]", "", text)
    assert bare.count("{") == bare.count("}")
    assert re.findall(r"\\begin\{(.*?)\}", text) == re.findall(r"\\end\{(.*?)\}", text)[::-1]
    columns = len(re.search(r"\\begin\{tabular\}\{([lcr]+)\}", text)[1])
    assert {len(row) for row in latex_cells(text)} == {columns}
    assert r"\caption{Components \& losses\_50\%}" in text
    assert text.isascii()


def test_html_needs_no_other_file(table):
    text = render_html(table)
    assert not re.search(r"(src|href|url\()", text)
    assert "<other>" not in text
    for tag in ("table", "thead", "tbody", "tr", "td", "th", "strong", "sup", "ul", "li"):
        assert len(re.findall(rf"<{tag}[ >]", text)) == text.count(f"</{tag}>")


def test_header_spans_match_the_rows(table):
    lines = render_html(table).split("<thead>")[1].split("</thead>")[0].strip().splitlines()
    names = lines[0].count(f'rowspan="{len(lines)}"')
    *spans, _ = [sum(map(int, re.findall(r'colspan="(\d+)"', line))) for line in lines]
    width = len(html_cells(render_html(table))[0])
    assert {names + span for span in spans} == {width}
    assert names + lines[-1].count("<th") == width


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["C"])))
def test_escapes_are_reversible(text):
    assert html.unescape(escape_html(text)) == text
    assert not re.search(r'[<>"]', escape_html(text))
    assert re.sub(r"\\(.)", r"\1", escape_markdown(text), flags=re.DOTALL) == text
    assert not re.search(r"(?<!\\)(?:\\\\)*\|", escape_markdown(text))


@given(st.text(alphabet="\\&%$#_{}~^<>|*[ab "))
def test_latex_escape_leaves_no_active_character(text):
    escaped = escape_latex(text)
    rest = re.sub(r"\\(text\w+)\{\}|\\[&%$#_{}]|\{[*\[]\}", "", escaped)
    assert not re.search(r"[\\&%$#_{}~^<>|*\[]", rest)
