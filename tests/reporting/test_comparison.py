"""Verdicts and the exit code."""

import csv
import io

import pytest

from sadetr.documents.rendering import RENDERERS, render_csv, render_html, render_markdown
from sadetr.errors import SettingsError
from sadetr.reporting.comparison import VERDICTS, compare, exit_code
from sadetr.reporting.comparison_pages import comparison_document
from sadetr.reporting.paper import PaperTable, Tolerances

from .conftest import GENERATED, OTHER, TOLERANCES, run_id


@pytest.fixture
def judge(experiment, paper, results):
    return lambda scale: compare([(experiment, paper)], scale, results(scale), TOLERANCES)


@pytest.mark.parametrize(
    ("value", "difference", "verdict", "code"),
    [
        (43.0, 3.0, "above", 0),
        (41.204, 1.2, "reached", 0),
        (40.0, 0.0, "reached", 0),
        (39.996, 0.0, "reached", 0),  # printed as 40.00
        (39.99, -0.01, "within tolerance", 0),
        (38.8, -1.2, "within tolerance", 0),
        (38.79, -1.21, "below", 1),
    ],
)
def test_verdicts(official, judge, complete_runs, write_run, value, difference, verdict, code):
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 60.0, "mAP": value, "HD_mAP": 39.0})
    comparison = judge(official)
    cell = next(cell for cell in comparison.cells if (cell.row, cell.metric) == ("a", "mAP"))
    assert (cell.difference, cell.verdict, exit_code(comparison)) == (difference, verdict, code)


def test_mean_over_seeds_is_compared(official, judge, complete_runs):
    complete_runs(official)
    cells = [cell for cell in judge(official).cells if cell.row == "b"]
    assert [cell.difference for cell in cells] == [0.5, -1.0, 0.0]
    assert [cell.verdict for cell in cells] == ["reached", "within tolerance", "reached"]


def test_a_setting_may_have_a_tolerance_of_its_own(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    for setting, verdict in (("qvhighlights", "below"), ("tacos", "within tolerance")):
        tolerances = TOLERANCES.model_copy(update={"settings": {setting: {"mAP": 0.9}}})
        cells = compare([(experiment, paper)], official, results(official), tolerances).cells
        assert next(cell.verdict for cell in cells if (cell.row, cell.metric) == ("b", "mAP")) == verdict


@pytest.mark.parametrize("scale", ["official", "simulated"])
@pytest.mark.parametrize(
    ("value", "verdict", "code"),
    [(44.0, "reached", 0), (44.004, "reached", 0), (44.006, "differs", 1), (43.99, "differs", 1), (None, "missing", 1)],
)
def test_published_predictions_must_score_what_is_printed(
    request, scale, judge, complete_runs, write_rescored, value, verdict, code
):
    scale = request.getfixturevalue(scale)
    complete_runs(scale)
    write_rescored(scale, {OTHER: {"R1@0.5": 65.0, "mAP": value, "HD_mAP": 38.0}})
    comparison = judge(scale)
    cells = [cell for cell in comparison.cells if cell.kind == "rescored"]
    assert [cell.row for cell in cells] == ["c"] * 3
    assert [cell.verdict for cell in cells] == ["reached", verdict, "not reported"]
    assert exit_code(comparison) == code


def test_only_cells_with_a_run_are_judged(official, judge, complete_runs):
    complete_runs(official)
    assert {cell.row for cell in judge(official).cells} == {"a", "b"}


def test_generated_data_is_never_compared(generated, judge, complete_runs, write_run):
    complete_runs(generated)
    write_run(run_id("plain"), generated, {"R1@0.5": 1.0, "mAP": 1.0, "HD_mAP": 1.0})
    comparison = judge(generated)
    assert {cell.verdict_text for cell in comparison.cells} == {"not comparable: generated data"}
    assert {cell.difference for cell in comparison.cells} == {None}
    assert exit_code(comparison) == 0


@pytest.mark.parametrize("scale", ["generated", "official"])
def test_incomplete_results_fail(request, scale, judge, complete_runs, tmp_path):
    scale = request.getfixturevalue(scale)
    complete_runs(scale)
    (tmp_path / scale.name / "runs" / run_id("full", 1).folder / "metrics.parquet").unlink()
    comparison = judge(scale)
    assert {cell.verdict_text for cell in comparison.cells if cell.row == "b"} == {"missing: 2 of 3 seeds"}
    assert exit_code(comparison) == 1
    (tmp_path / scale.name / "runs" / run_id("plain").folder / "metrics.parquet").unlink()
    assert {cell.verdict_text for cell in judge(scale).cells if cell.row == "a"} == {"missing: not run"}


def test_figures_count_for_completeness(official, experiment, results, complete_runs):
    assert exit_code(compare([(experiment, None)], official, results(official), {})) == 1
    complete_runs(official)
    comparison = compare([(experiment, None)], official, results(official), {})
    assert comparison.counts == {"not reported": 6}
    assert exit_code(comparison) == 0


def test_settings_that_do_not_fit(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    tolerances = Tolerances(rescored=0.005, **{"R1@0.5": 1.6, "mAP": 1.2})
    with pytest.raises(SettingsError, match=r"tolerances\.yaml: no tolerance for metric 'HD_mAP'"):
        compare([(experiment, paper)], official, results(official), tolerances)
    values = {key: value.model_copy(update={"split": "test"}) for key, value in paper.values.items()}
    with pytest.raises(SettingsError, match="split 'test', but table4 scores 'val'"):
        compare([(experiment, PaperTable(paper.path, values))], official, results(official), TOLERANCES)


def test_formats_hold_the_same_verdicts(official, judge, complete_runs, write_run, write_rescored):
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 50.0, "mAP": 50.0})
    write_rescored(official, {OTHER: {"R1@0.5": 65.0, "mAP": 40.0, "HD_mAP": 38.0}})
    comparison = judge(official)
    written = comparison_document(comparison)
    rows = list(csv.DictReader(io.StringIO(render_csv(written))))
    assert [row["verdict"] for row in rows] == [cell.verdict for cell in comparison.cells]
    assert [row["kind"] for row in rows] == ["trained"] * 6 + ["rescored"] * 3
    assert (rows[0]["difference"], rows[0]["tolerance"], rows[6]["tolerance"]) == ("-10.00", "1.60", "0.005")
    assert rows[2]["reason"] == "not evaluated"
    page, document = render_html(written), render_markdown(written)
    for verdict in VERDICTS:
        count = sum(cell.verdict == verdict for cell in comparison.cells)
        assert page.count(f'data-verdict="{verdict}"') == count
        assert sum(f">{verdict}{end}" in page for end in ("</td>", ": ")) == (count > 0)
        assert sum(f" {verdict} " in line or f" {verdict}: " in line for line in document.splitlines()[4:]) == count


def test_banner(generated, official, judge, complete_runs):
    complete_runs(generated)
    complete_runs(official)
    for suffix in ("md", "tex", "html"):
        assert GENERATED in RENDERERS[suffix](comparison_document(judge(generated)))
        assert "not comparable" not in RENDERERS[suffix](comparison_document(judge(official)))
