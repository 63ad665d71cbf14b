"""What ``explain`` says of rows and runs: settings, state, metrics."""

import json
import shutil
from dataclasses import replace

import pytest

from sadetr.configuration import load_scale
from sadetr.differences import differences, full_model
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, load_experiment, run_settings
from sadetr.inspection.report import explain_row, explain_run
from sadetr.inspection.runs import Use, find_row, row_metrics, run_metrics, uses_of
from sadetr.layout import Layout
from sadetr.reporting.metrics import read_metrics, write_run_metrics
from sadetr.reporting.run_state import state_of
from sadetr.reporting.scores import ScaleResults
from tests.reporting.conftest import metric_row

from .conftest import FULL, PLAIN


def value_at(settings: dict, key: str):
    for part in key.split("."):
        settings = settings[part]
    return settings


@pytest.mark.parametrize("key", ["a", "b", "f", "h", "i", "j"])
def test_differences_are_exactly_what_separates_a_row_from_the_full_model(key):
    (run,) = find_row("table4", key, "mini").row.runs
    ours = run_settings(run, "mini").identity()
    full = run_settings(full_model(run, "mini"), "mini").identity()
    found = differences(run, "mini")
    for item in found:
        assert value_at(ours, item.key) == item.value != item.full == value_at(full, item.key)
        *parents, name = item.key.split(".")
        value_at(ours, ".".join(parents))[name] = item.full
    assert ours == full
    assert bool(found) == (key != "j")


def test_differences_name_the_file_that_sets_them(tmp_path):
    found = {item.key: item for item in differences(find_row("table4", "h", "mini").row.runs[0], "mini")}
    assert sorted(found) == ["model.fa.ctm", "model.fa.vtc"]
    item = found["model.fa.vtc"]
    assert (item.value, item.full) == (False, True)
    assert item.origin == "config/methods/sa_detr.yaml: variants.qi_ad_dn.model"
    assert item.full_origin == "default"
    scale = tmp_path / "mine.yaml"
    scale.write_text(
        "extends: mini\nlabel: x\ndata: generated\nsettings: {qvhighlights: {methods: {sa_detr: {fa: {vtc: true}}}}}\n"
    )
    (item,) = (each for each in differences(replace(PLAIN, variant="qi_ad_dn"), str(scale)) if each.key.endswith("vtc"))
    assert item.full_origin == f"{scale}: settings.qvhighlights.methods.sa_detr"


def test_uses_of_the_full_model():
    names = [f"{use.experiment.name} {use.row.key}" for use in uses_of(FULL, "mini")]
    assert {"table4 j", "figure5 full", "figure4 full", "table1 SA-DETR"} <= set(names)


def test_rows_that_are_not_there():
    with pytest.raises(SettingsError, match="table4 has no row 'z'; it has a, b, c, d"):
        find_row("table4", "z", "mini")
    with pytest.raises(SettingsError, match="no experiment 'table77'"):
        find_row("table77", "a", "mini")


def test_states(trained, tmp_path):
    scale = trained.scale.reference
    results = ScaleResults(trained.results, trained.scale)
    full = state_of(FULL, results, scale)
    assert (full.state, full.outdated) == ("trained", ())
    assert full.provenance["parameters"] > 0
    assert state_of(PLAIN, results, scale).state == "not evaluated"
    assert state_of(replace(FULL, seed=5), results, scale).state == "not trained"

    copied = Layout(trained.scale, tmp_path)
    run = copied.run(FULL)
    shutil.copytree(trained.run(FULL).path, run.path)
    changed = json.loads(run.provenance.read_text()) | {"code_fingerprint": "old", "config_fingerprint": "old"}
    run.provenance.write_text(json.dumps(changed))
    results = ScaleResults(tmp_path, trained.scale)
    assert state_of(FULL, results, scale).outdated == ("code", "settings")
    run.provenance.unlink()
    run.state.touch()
    assert state_of(FULL, results, scale).state == "unfinished"


def test_metrics_are_the_runs_own_beside_the_papers(trained):
    results = ScaleResults(trained.results, trained.scale)
    lines = row_metrics(find_row("table4", "j", trained.scale.reference), results, ("best", "last"))
    stored = {
        (row["split"], row["checkpoint"], row["metric"]): row["value"]
        for row in read_metrics(trained.run(FULL).metrics).to_pylist()
    }
    assert [line.metric for line in lines] == ["R1@0.5", "R1@0.7", "mAP", "HD_mAP", "HIT@1"]
    assert {line.metric: line.paper.value for line in lines}["mAP"] == 48.84
    for line in lines:
        for name, score in line.scores.items():
            assert score.mean == stored["val", name, line.metric]


def test_metrics_of_a_run_take_the_papers_numbers_of_its_split(trained):
    results = ScaleResults(trained.results, trained.scale)
    uses = uses_of(FULL, trained.scale.reference)
    lines = {(line.split, line.metric): line for line in run_metrics(FULL, uses, results, ["val", "test"], ("best",))}
    assert lines["val", "mAP"].paper.value == 48.84
    assert lines["test", "mAP"].paper.value == 47.40
    assert lines["val", "mIoU"].paper is None


def test_printed_row(trained, capsys):
    explain_row(find_row("table4", "a", trained.scale.reference), trained)
    text = capsys.readouterr().out
    assert trained.scale.label in text
    assert "set by config/methods/sa_detr.yaml: variants.baseline.model; in the full model by default" in text
    assert "is not evaluated; score it: python -m sadetr evaluate --run qvhighlights/sa_detr/baseline/seed2018" in text
    assert f"--scale {trained.scale.reference} --results {trained.results}" in text
    # One line per row in a pipe, and nothing but text.
    assert "\x1b" not in text
    lines = [line.split() for line in text.splitlines()]
    assert ["model.dn.enabled", "False", "True"] in lines
    assert ["state", "not", "evaluated"] in lines
    assert [
        "commit",
        state_of(PLAIN, ScaleResults(trained.results, trained.scale), "mini").provenance["commit"],
    ] in lines


def test_printed_run_and_row_without_runs(trained, capsys):
    explain_run(FULL, trained)
    text = capsys.readouterr().out
    assert "fills: table1 row SA-DETR" in text
    assert "the full model's (sa_detr/full)" in text
    assert "47.40" in text
    explain_run(RunId("qvhighlights", "sa_detr", "fa", 9), trained)
    assert "seed9 is not trained; train it: python -m sadetr train --run" in capsys.readouterr().out
    explain_row(find_row("table1", "EaTR", trained.scale.reference), trained)
    text = capsys.readouterr().out
    assert "no run of ours" in text
    assert "41.74" in text


def test_mean_and_spread_over_seeds(tmp_path, capsys):
    """Three seeds of which two are there."""
    scale = load_scale("mini")
    experiment = load_experiment("table4", scale)
    runs = tuple(replace(FULL, seed=seed) for seed in (0, 1, 2))
    row = replace(experiment.rows[-1], runs=runs)
    layout = Layout(scale, tmp_path)
    for run, value in zip(runs[:2], (40.0, 44.0), strict=True):
        rows = [metric_row(run, scale, "mAP", value), metric_row(run, scale, "mAP", 30.0, checkpoint="last")]
        write_run_metrics(rows, layout.run(run).metrics)
    explain_row(Use(replace(experiment, metrics=("mAP",)), row), layout)
    text = capsys.readouterr().out
    assert "42.00 ± 2.83 (2 of 3 seeds)" in text
    assert "30.00 ± 0.00 (2 of 3 seeds)" in text
