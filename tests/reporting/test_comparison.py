"""Verdicts and the exit code."""

import csv
import io
import json
from dataclasses import replace
from xml.etree import ElementTree

import pytest

from sadetr.configuration import choose_seeds, load_scale
from sadetr.documents.rendering import RENDERERS, render_csv, render_html, render_markdown
from sadetr.errors import SettingsError
from sadetr.reporting.chance import load_chance
from sadetr.reporting.claims import load_claims
from sadetr.reporting.comparison import VERDICTS, exit_code, judge, plan
from sadetr.reporting.comparison_pages import comparison_document
from sadetr.reporting.comparison_records import comparison_json, comparison_junit
from sadetr.reporting.paper import PaperTable

from .conftest import GENERATED, OTHER, chance_of, run_id
from .perfect import PerfectScores, compared, rows_of


@pytest.fixture
def judged(experiment, paper, results):
    return lambda scale: judge(plan([(experiment, paper)], scale, chance_of()), results(scale))


@pytest.mark.parametrize(
    ("value", "verdict", "code"),
    [(43.0, "above", 0), (41.0, "reached", 0), (40.0, "reached", 0), (39.0, "reached", 0), (37.0, "below", 1)],
)
def test_verdicts(official, judged, complete_runs, write_run, value, verdict, code):
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 60.0, "mAP": value, "HD_mAP": 39.0})
    comparison = judged(official)
    cell = next(cell for cell in comparison.cells if (cell.row, cell.metric) == ("a", "mAP"))
    assert (cell.difference, cell.verdict, exit_code(comparison)) == (value - 40.0, verdict, code)
    # One training on each side, of which each varies by 0.6.
    assert 2.5 * 0.6 * 2**0.5 < cell.limit < 3.5 * 0.6 * 2**0.5
    assert cell.detectable - cell.limit == pytest.approx(0.8416 * 0.6 * 2**0.5, abs=1e-3)


def test_the_limit_is_the_last_difference_that_chance_explains(official, judged, complete_runs, write_run):
    complete_runs(official)
    limit = next(cell.limit for cell in judged(official).cells if (cell.row, cell.metric) == ("a", "mAP"))
    for beyond, verdict in ((-0.01, "reached"), (0.02, "below")):
        write_run(run_id("plain"), official, {"R1@0.5": 60.0, "mAP": 40.0 - limit - beyond, "HD_mAP": 39.0})
        assert next(c.verdict for c in judged(official).cells if (c.row, c.metric) == ("a", "mAP")) == verdict


def test_mean_over_seeds_is_compared_and_our_own_spread_counts(official, judged, complete_runs):
    complete_runs(official)
    cells = {cell.metric: cell for cell in judged(official).cells if cell.row == "b"}
    assert [cell.difference for cell in cells.values()] == [0.5, -1.0, 0.0]
    # Our three seeds vary by 1.0, more than the 0.6 that is known of one training.
    single = judged(official).cells[1]
    assert cells["mAP"].limit / single.limit == pytest.approx((0.6**2 + 1 / 3) ** 0.5 / (0.6 * 2**0.5), rel=0.01)


@pytest.mark.parametrize("scale", ["official", "simulated"])
@pytest.mark.parametrize(
    ("value", "verdict", "code"),
    [(44.0, "reached", 0), (44.004, "reached", 0), (44.006, "differs", 1), (43.99, "differs", 1), (None, "missing", 2)],
)
def test_published_predictions_must_score_what_is_printed(
    request, scale, judged, complete_runs, write_rescored, value, verdict, code
):
    scale = request.getfixturevalue(scale)
    complete_runs(scale)
    write_rescored(scale, {OTHER: {"R1@0.5": 65.0, "mAP": value, "HD_mAP": 38.0}})
    comparison = judged(scale)
    cells = [cell for cell in comparison.cells if cell.kind == "rescored"]
    assert [cell.row for cell in cells] == ["c"] * 3
    assert [cell.verdict for cell in cells] == ["reached", verdict, "not reported"]
    assert exit_code(comparison) == code


def test_only_cells_with_a_run_are_judged(official, judged, complete_runs):
    complete_runs(official)
    assert {cell.row for cell in judged(official).cells} == {"a", "b"}


def test_generated_data_is_never_compared(generated, judged, complete_runs, write_run):
    complete_runs(generated)
    write_run(run_id("plain"), generated, {"R1@0.5": 1.0, "mAP": 1.0, "HD_mAP": 1.0})
    comparison = judged(generated)
    assert {cell.verdict_text for cell in comparison.cells} == {"not comparable: generated data"}
    assert {cell.difference for cell in comparison.cells} == {None}
    assert comparison.tables == ()
    assert exit_code(comparison) == 0


@pytest.mark.parametrize("scale", ["generated", "official"])
def test_incomplete_results(request, scale, judged, complete_runs, tmp_path):
    scale = request.getfixturevalue(scale)
    complete_runs(scale)
    (tmp_path / scale.name / "runs" / run_id("full", 1).folder / "metrics.parquet").unlink()
    comparison = judged(scale)
    assert {cell.verdict_text for cell in comparison.cells if cell.row == "b"} == {"missing: 2 of 3 seeds"}
    assert exit_code(comparison) == 2
    (tmp_path / scale.name / "runs" / run_id("plain").folder / "metrics.parquet").unlink()
    assert {cell.verdict_text for cell in judged(scale).cells if cell.row == "a"} == {"missing: not run"}


def test_a_failure_counts_more_than_a_missing_run(official, judged, complete_runs, write_run, tmp_path):
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 60.0, "mAP": 20.0, "HD_mAP": 39.0})
    (tmp_path / official.name / "runs" / run_id("full", 1).folder / "metrics.parquet").unlink()
    assert exit_code(judged(official)) == 1


def test_figures_count_for_completeness(official, experiment, results, complete_runs):
    planned = plan([(experiment, None)], official, chance_of({}))
    assert exit_code(judge(planned, results(official))) == 2
    complete_runs(official)
    comparison = judge(planned, results(official))
    assert comparison.counts == {"not reported": 6}
    assert exit_code(comparison) == 0


def test_a_doubtful_number_is_shown_and_never_required(official, experiment, paper, results, complete_runs, write_run):
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 60.0, "mAP": 20.0, "HD_mAP": 39.0})
    doubt = {"doubtful": True, "note": "A slip."}
    values = {key: value.model_copy(update=doubt if key == ("a", "mAP") else {}) for key, value in paper.values.items()}
    comparison = judge(plan([(experiment, PaperTable(paper.path, values))], official, chance_of()), results(official))
    cell = next(cell for cell in comparison.cells if (cell.row, cell.metric) == ("a", "mAP"))
    assert (cell.verdict, cell.difference, cell.required, exit_code(comparison)) == ("below", -20.0, False, 0)
    assert comparison.tables[0].cells == 5
    assert "40.00 ?" in render_markdown(comparison_document(comparison))


def test_settings_that_do_not_fit(official, experiment, paper):
    with pytest.raises(SettingsError, match=r"tolerances\.yaml: key 'metrics' does not say how 'HD_mAP' varies"):
        plan([(experiment, paper)], official, chance_of({"R1@0.5": 0.8, "mAP": 0.6}))
    values = {key: value.model_copy(update={"split": "test"}) for key, value in paper.values.items()}
    with pytest.raises(SettingsError, match="split 'test', but table4 scores 'val'"):
        plan([(experiment, PaperTable(paper.path, values))], official, chance_of())


@pytest.fixture
def mixed(official, judged, complete_runs, write_run, write_rescored):
    """One cell below, one above, one that is not evaluated, and published predictions that differ."""
    complete_runs(official)
    write_run(run_id("plain"), official, {"R1@0.5": 50.0, "mAP": 50.0})
    write_rescored(official, {OTHER: {"R1@0.5": 65.0, "mAP": 40.0, "HD_mAP": 38.0}})
    return judged(official)


def test_formats_hold_the_same_verdicts(mixed):
    rows = list(csv.DictReader(io.StringIO(render_csv(comparison_document(mixed)))))
    assert [row["verdict"] for row in rows] == [cell.verdict for cell in mixed.cells]
    assert [row["kind"] for row in rows] == ["trained"] * 6 + ["rescored"] * 3
    assert (rows[0]["difference"], rows[0]["required"], rows[6]["limit"]) == ("-10.00", "x", "0.005")
    assert rows[2]["reason"] == "not evaluated"
    document = json.loads(comparison_json(mixed))
    assert [cell["verdict"] for cell in document["cells"]] == [cell.verdict for cell in mixed.cells]
    assert document["exit_code"] == exit_code(mixed) == 1
    assert document["tables"][0]["experiment"] == "table4"
    page, text = render_html(comparison_document(mixed)), render_markdown(comparison_document(mixed))
    for verdict in VERDICTS:
        count = sum(cell.verdict == verdict for cell in mixed.cells)
        assert page.count(f'data-verdict="{verdict}"') == count
        grid = [line for line in text.splitlines() if line.startswith("|")]
        assert sum(f" {verdict} " in line or f" {verdict}: " in line for line in grid) == count


def test_junit_has_a_case_per_cell_and_table(mixed):
    root = ElementTree.fromstring(comparison_junit(mixed))
    (suite,) = root
    cases = {case.get("name"): {child.tag for child in case} for case in suite}
    assert len(cases) == len(suite) == len(mixed.cells) + len(mixed.tables)
    assert cases["a: R1@0.5"] == {"failure"}
    assert cases["a: HD_mAP"] == {"error"}
    assert cases["c (rescored): mAP"] == {"failure"}
    assert cases["c (rescored): HD_mAP"] == {"skipped"}
    assert cases["b: mAP"] == {"system-out"}
    assert (suite.get("tests"), suite.get("errors")) == (str(len(cases)), "1")
    assert int(suite.get("failures")) == sum("failure" in tags for tags in cases.values())


def test_banner(generated, official, judged, complete_runs):
    complete_runs(generated)
    complete_runs(official)
    for suffix in ("md", "tex", "html"):
        assert GENERATED in RENDERERS[suffix](comparison_document(judged(generated)))
        assert "not comparable" not in RENDERERS[suffix](comparison_document(judged(official)))


@pytest.fixture(scope="module", params=["paper", "0,1,2,3,2018"])
def real(request):
    """The paper's own tables, with the seeds of its rows and with five."""
    scale = choose_seeds(load_scale("paper"), request.param)
    experiments = compared(scale)
    return experiments, plan(experiments, scale, load_chance(scale), load_claims(experiments))


def test_the_papers_own_numbers_are_reached(real):
    experiments, planned = real
    comparison = judge(planned, PerfectScores(experiments))
    assert set(comparison.counts) == {"reached", "not reported"}
    assert {table.verdict for table in comparison.tables} == {"reached"}
    assert exit_code(comparison) == 0


def test_five_points_are_found_in_every_required_cell_and_nowhere_else(real):
    experiments, planned = real
    scores = PerfectScores(experiments)
    # Where a cell fails, claims cannot change the exit code; they take most of the time.
    without_claims = replace(planned, claims=())
    for experiment, row, metric, value in rows_of(experiments):
        if value is None:
            continue
        doubtful = planned.cells[experiment.name, row.key, metric].paper.doubtful
        with scores.lowered(row.runs, (experiment.split, row.checkpoint, metric), 5.0):
            comparison = judge(planned if doubtful else without_claims, scores)
        cell = next(
            c for c in comparison.cells if (c.experiment, c.row, c.metric) == (experiment.name, row.key, metric)
        )
        assert cell.required != doubtful
        assert cell.fails == cell.required, cell
        assert exit_code(comparison) == int(cell.required)
        network = {run.variant for run in row.runs}
        others = [c for c in comparison.cells if c.fails and c is not cell]
        # The same number in other tables.
        assert {(c.metric, c.split) for c in others} <= {(metric, experiment.split)}
        assert all(
            {run.variant for run in planned.cells[c.experiment, c.row, c.metric].row.runs} == network for c in others
        )


def test_the_full_model_is_judged_by_its_mean_over_seeds(real):
    experiments, planned = real
    cells = {(c.experiment, c.row, c.metric): c for c in judge(planned, PerfectScores(experiments)).cells}
    full = cells["table4", "j", "mAP"]
    assert (full.paper.value, full.reference) == (48.84, (47.87, 5, "table12"))
    assert cells["table4", "j", "HIT@1"].reference == (67.61, 1, "table4")
    assert cells["table1", "SA-DETR", "mAP"].reference == (47.40, 1, "table1")


def test_claims_that_the_paper_bears_out_are_never_refuted_by_its_own_numbers(real):
    experiments, planned = real
    comparison = judge(planned, PerfectScores(experiments))
    assert not [claim.claim.name for claim in comparison.claims if claim.fails]
    root = ElementTree.fromstring(comparison_junit(comparison))
    suite = next(suite for suite in root if suite.get("name") == "claims")
    assert len(suite) == len(comparison.claims) >= 30
    document = json.loads(comparison_json(comparison))
    assert {claim["verdict"] for claim in document["claims"]} >= {"undecided", "contradicted by the paper itself"}
    assert "claims" in render_markdown(comparison_document(comparison))


def test_the_opposite_of_a_claim_fails(real):
    """The baseline above the full model in everything."""
    experiments, planned = real
    scores = PerfectScores(experiments)
    for run, values in scores.runs.items():
        if (run.setting, run.method, run.variant) == ("qvhighlights", "sa_detr", "baseline"):
            scores.runs[run] = {key: value + 15.0 for key, value in values.items()}
    comparison = judge(planned, scores)
    failing = [claim for claim in comparison.claims if claim.fails]
    assert failing
    assert {claim.verdict for claim in failing} == {"does not hold"}
    assert not [cell for cell in comparison.cells if cell.fails]
    assert exit_code(comparison) == 1
