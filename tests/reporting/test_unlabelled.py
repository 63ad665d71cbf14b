"""Splits without labels in everything that is rendered: words where there is no number, never a failure."""

import csv
import io
from dataclasses import replace

import numpy as np
import pytest

from sadetr.data.annotations import Query, write_annotations
from sadetr.documents.rendering import RENDERERS, render_csv, render_markdown
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, write_predictions
from sadetr.experiments import Experiment, Row
from sadetr.reporting.comparison import exit_code, judge, plan
from sadetr.reporting.comparison_pages import comparison_document
from sadetr.reporting.figures import write_figure
from sadetr.reporting.metrics import gather, read_metrics
from sadetr.reporting.metrics_document import metrics_document
from sadetr.reporting.panels import qualitative_figure
from sadetr.reporting.qualitative import panels
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.seeds import seed_tests
from sadetr.reporting.sensitivity import sensitivity_document
from sadetr.reporting.sweep import sweep_figure
from sadetr.reporting.tables import build_table

from .conftest import OTHER, chance_of, run_id

METRICS = ("R1@0.5", "mAP", "HD_mAP")
NOTHING = {**dict.fromkeys(METRICS), "labelled_windows": 0.0, "labelled_saliency": 0.0}
NO_SALIENCY = {"R1@0.5": 60.0, "mAP": 40.0, "HD_mAP": None, "labelled_saliency": 0.0}
PARTLY = {"R1@0.5": 60.0, "mAP": 40.0, "HD_mAP": 39.0, "labelled_windows": 75.0}


@pytest.fixture
def runs(write_run):
    """All runs of :func:`experiment` with the same values."""

    def write(scale, values):
        names = [run_id("plain"), *(run_id("full", seed) for seed in range(3))]
        return [write_run(run, scale, values) / "metrics.parquet" for run in names]

    return write


@pytest.mark.parametrize(
    ("values", "texts", "status"),
    [
        (NOTHING, ["no labels"] * 3, "complete; no labels for R1@0.5, mAP, HD_mAP"),
        (NO_SALIENCY, ["60.00", "40.00", "no labels"], "complete; no labels for HD_mAP"),
        (PARTLY, ["60.00", "40.00", "39.00"], "complete; labels of a part of the queries"),
    ],
)
def test_tables_say_it_in_every_format(official, experiment, paper, results, runs, values, texts, status):
    runs(official, values)
    table = build_table(experiment, official, results(official), paper)
    document = metrics_document(table)
    assert [cell.ours.text for cell in table.rows[0].cells] == texts
    for suffix in ("md", "tex", "html"):
        assert RENDERERS[suffix](document).count("no labels") == 2 * texts.count("no labels")
    row = next(csv.DictReader(io.StringIO(render_csv(document))))
    assert row["status"] == status
    assert [row[metric] for metric in METRICS] == [text if text[0].isdigit() else "" for text in texts]
    said = "No labels: no query of the val split" in render_markdown(document)
    assert said == ("no labels" in texts)
    part = "Only 75.00 % of the queries of the val split have relevant_windows; the others are left out."
    assert (part in table.remarks) == (values is PARTLY)


def test_labelled_splits_are_rendered_as_before(official, experiment, paper, results, complete_runs):
    complete_runs(official)
    table = build_table(experiment, official, results(official), paper)
    document = metrics_document(table)
    assert not any("abel" in RENDERERS[suffix](document) for suffix in ("csv", "md"))


def test_published_predictions_of_an_unlabelled_split(official, experiment, paper, results, write_rescored):
    write_rescored(official, {OTHER: NOTHING})
    table = build_table(experiment, official, results(official), paper)
    assert [cell.rescored.text for cell in table.rows[2].cells] == ["no labels"] * 3
    comparison = judge(plan([(experiment, paper)], official, chance_of()), results(official))
    assert {cell.verdict_text for cell in comparison.cells if cell.kind == "rescored"} == {"not comparable: no labels"}


@pytest.mark.parametrize("scale", ["official", "generated"])
def test_what_has_no_labels_is_not_comparable_and_does_not_fail(
    request, scale, experiment, paper, results, runs, write_run
):
    scale = request.getfixturevalue(scale)
    runs(scale, NOTHING)
    comparison = judge(plan([(experiment, paper)], scale, chance_of()), results(scale))
    assert {cell.verdict_text for cell in comparison.cells} == {"not comparable: no labels"}
    assert exit_code(comparison) == 0
    document = comparison_document(comparison)
    assert all("no labels" in render(document) for render in RENDERERS.values())


def test_numbers_of_a_part_of_the_queries_are_not_compared(official, experiment, paper, results, runs):
    runs(official, PARTLY)
    cells = judge(plan([(experiment, paper)], official, chance_of()), results(official)).cells
    assert [cell.verdict_text for cell in cells[:2]] == ["not comparable: labels of 75.00 % of the queries"] * 2
    assert cells[2].verdict == "reached"


def test_a_seed_that_is_missing_is_missing_with_or_without_labels(official, experiment, paper, results, write_run):
    write_run(run_id("full", 0), official, NOTHING)
    cells = judge(plan([(experiment, paper)], official, chance_of()), results(official)).cells
    assert {cell.verdict_text for cell in cells} == {"missing: not run", "missing: 1 of 3 seeds"}


def test_gather_keeps_rows_without_values(tmp_path, official, runs):
    gather(runs(official, NOTHING), tmp_path / "all.parquet")
    rows = read_metrics(tmp_path / "all.parquet").to_pylist()
    assert {row["metric"]: row["value"] for row in rows} == NOTHING


def test_seeds_sensitivity_and_sweeps_say_it(official, experiment, paper, results, runs):
    runs(official, NOTHING)
    source = results(official)
    assert {test.verdict for test in seed_tests(experiment, official, source, paper)} == {"no labels"}
    plain, full, _ = experiment.rows
    rows = (replace(plain, key="full", x=1.0), replace(full, x=2.0))
    (table,) = sensitivity_document(replace(experiment, rows=rows), official, source).parts
    assert [[cell.text for cell in row.cells[-3:]] for row in table.rows] == [["no labels"] * 3] * 2
    sweep = replace(experiment, kind="figure", metrics=("mAP",), label_columns=("Method",), rows=rows)
    (axes,) = sweep_figure(sweep, official, source).axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["no labels: plain, A|B_{$}"]


@pytest.fixture
def figure4(tmp_path, official):
    """Five queries with one window each, of which the ``labelled`` ones keep it; IoU falls with their number."""

    def make(labelled: int) -> tuple[Experiment, ScaleResults]:
        source = ScaleResults(tmp_path, official, tmp_path / "data")
        truth = [np.array([[10.0, 20.0]]) if index < labelled else None for index in range(5)]
        queries = [Query(index, "q", f"v{index}", 50.0, window, None, None) for index, window in enumerate(truth)]
        write_annotations(tmp_path / "data/annotations/qvhighlights/highlight_val_release.jsonl", queries)
        rows = [
            {"qid": index, WINDOWS: [[10.0 + index, 20.0 + index, 0.9], [0.0, 5.0, 0.1]], SALIENCY: [0.0, 1.0]}
            for index in range(5)
        ]
        write_predictions(source.layout.run(run_id("full")).prediction("best", "val"), rows)
        row = Row("full", {"Method": "SA-DETR"}, (run_id("full"),), "best", None)
        shared = ("figure4", "figure", 4, "qualitative", "", "val", "best", ("mIoU",), ("Method",))
        return Experiment(*shared, (row,), ""), source

    return make


@pytest.mark.parametrize(("labelled", "shown"), [(5, [1, 2, 4]), (3, [0, 1, 2]), (0, [3, 2, 0])])
def test_figure_4_passes_over_queries_without_labels(tmp_path, official, figure4, labelled, shown):
    figure, source = figure4(labelled)
    found = panels(figure, official, source)
    assert [panel.query.qid for panel in found] == shown
    reasons = {panel.reason for panel in found}
    assert (reasons == {"no labels"}) == (labelled == 0)
    assert all(path.stat().st_size for path in write_figure(qualitative_figure(found, "", None), tmp_path, "f"))


def test_figure_4_shows_the_best_window_of_a_query_without_labels(official, figure4):
    figure, source = figure4(3)
    (panel,) = panels(figure, official, source, ["4"])
    assert panel.predictions[0].windows.tolist() == [[14.0, 24.0]]
    assert panel.predictions[0].iou is None
    words = [text.get_text() for axes in qualitative_figure([panel], "", None).axes for text in axes.texts]
    assert {"no labels", "–"} <= set(words)
    assert "no window" not in words
