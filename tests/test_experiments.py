"""Rows of tables and figures are mapped to runs."""

import re
import shutil

import pytest

from sadetr.errors import SettingsError
from sadetr.experiments import RunId, canonical, load_experiment, run_settings
from sadetr.layering import CONFIG


def test_table_4_has_ten_distinct_runs_and_shares_the_full_one():
    table4, figure5, table1 = (load_experiment(name, "mini") for name in ("table4", "figure5", "table1"))
    assert len(table4.runs) == 10
    full = RunId("qvhighlights", "sa_detr", "full", 2018)
    assert {row.key: row.runs for row in table4.rows}["j"] == (full,)
    assert full in figure5.runs
    assert full in table1.runs
    ours = [run for run in (*figure5.runs, *table1.runs) if run.method == "sa_detr"]
    assert len({*table4.runs, *ours}) == 11


def test_table_4_rows_are_what_their_check_marks_say():
    for row in load_experiment("table4", "paper").rows:
        model = run_settings(row.runs[0], "paper").model
        marks = {
            "FA": model.fa.vtc and model.fa.ctm,
            "QI": model.qi.dynamic and model.qi.init_loss,
            "AD": model.ad.enhance and model.ad.modulate,
            "DN": model.dn.enabled,
        }
        off = {
            "FA": not (model.fa.vtc or model.fa.ctm),
            "QI": not (model.qi.dynamic or model.qi.init_loss),
            "AD": not (model.ad.enhance or model.ad.modulate),
            "DN": not model.dn.enabled,
        }
        for name, label in row.labels.items():
            assert marks[name] if label else off[name], f"row {row.key}, {name}"


def test_tables_2_and_3_show_a_number_of_each_selection_rule():
    table2, table3 = (load_experiment(name, "paper") for name in ("table2", "table3"))
    for table, rule in ((table2, "last"), (table3, "clean")):
        rows = [row for row in table.rows if row.runs]
        for first, second in zip(rows[::2], rows[1::2], strict=True):
            assert (first.runs, first.checkpoint, second.checkpoint) == (second.runs, "best", rule)
            # CG-DETR's row of Table 3 is of val: its test result stands beside no number.
            assert (first.paper, second.paper) == (None if first.key == "CG-DETR test" else first.key, None)
    for row in (row for row in table2.rows if row.runs):
        features = {"charades_sta_vgg": "VGG", "charades_sta": "SF+C"}[row.runs[0].setting]
        assert row.labels["Feat."] == features
    assert {run.setting for run in table3.runs} == {"tacos"}


def test_table_1_names_the_published_test_submissions():
    assert [entry.name for entry in load_experiment("table1", "paper").rescored] == ["tr_detr_test", "cg_detr_test"]


def test_figure_4_compares_with_cg_detr_as_the_paper_does():
    figure = load_experiment("figure4", "paper")
    assert [str(row.runs[0]) for row in figure.rows if row.runs] == [
        "qvhighlights/sa_detr/full/seed2018",
        "qvhighlights/sa_detr/baseline/seed2018",
        "qvhighlights/cg_detr/full/seed2018",
    ]
    assert [row.rescored.name for row in figure.rows if row.rescored] == ["cg_detr_val"]


EXPERIMENT = """
kind: table
number: 1
layout: metrics
title: T
split: test
metrics: [mAP]
label_columns: [Method]
run: {setting: qvhighlights, method: sa_detr, seeds: [2018]}
rows: {a: {labels: [A], %s}}
"""


@pytest.mark.parametrize(
    ("row", "words"),
    [
        ("rescored: tr_detr_val", "row 'a': rescored: 'tr_detr_val' is not of split 'test'; expected '<method>_test'"),
        ("rescored: _test", "row 'a': rescored: '_test'"),
        ("variant: full, checkpoint: clean", "row 'a': setting 'qvhighlights' keeps no checkpoint 'clean'"),
    ],
)
def test_rows_that_cannot_be_filled(tmp_path, row, words):
    config = shutil.copytree(CONFIG, tmp_path / "config")
    (config / "experiments/table1.yaml").write_text(EXPERIMENT % row)
    with pytest.raises(SettingsError, match=re.escape(words)):
        load_experiment("table1", "paper", config)


def test_figure_5_differs_in_denoising_alone():
    ours = [run for run in load_experiment("figure5", "paper").runs if run.method == "sa_detr"]
    full, without = (run_settings(run, "paper").model for run in ours)
    assert without == full.model_copy(update={"dn": full.dn.model_copy(update={"enabled": False})})


def test_aliases_lead_to_one_run():
    alias = RunId("qvhighlights", "sa_detr", "fa_qi_ad_dn", 3)
    assert canonical(alias, "mini") == RunId("qvhighlights", "sa_detr", "full", 3)


def test_run_names_round_trip():
    run = RunId("qvhighlights", "sa_detr", "full", 2018)
    assert RunId.parse(str(run)) == run
    for text in ("full", "a/b/c/2018", "a/b/c/seedx", "a/b/c/d/seed1"):
        with pytest.raises(SettingsError, match="expected <setting>/<method>/<variant>/seed<k>"):
            RunId.parse(text)
