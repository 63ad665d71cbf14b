"""The grid of runs: what is one network is one run, and no two runs are one network."""

from typing import Any

import pytest

from sadetr.configuration import load_scale
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, canonical, experiment_name, experiment_names, load_experiment, run_settings
from sadetr.workflow import Workflow

SCALES = ("mini", "simulated", "paper")
FULL = RunId("qvhighlights", "sa_detr", "full", 2018)


def rows_of(name: str, scale: str) -> dict[str, tuple[RunId, ...]]:
    return {row.key: row.runs for row in load_experiment(name, scale).rows}


@pytest.mark.parametrize("scale", SCALES)
def test_rows_that_the_paper_reuses_are_one_run(scale):
    (h,), (i,), (j,) = (rows_of("table4", scale)[row] for row in "hij")
    assert j == FULL
    shared = {
        ("table1", "SA-DETR"): j,
        ("table5", "init_loss"): j,
        ("table6", "both"): j,
        ("table7", "before_after"): j,
        ("table8", "fixed_margin"): j,
        ("table9", "qvhighlights"): j,
        ("table10", "both"): j,
        ("figure5", "full"): j,
        ("table10", "neither"): h,
        ("table6", "neither"): i,
        ("figure6", "0"): rows_of("figure5", scale)["without_denoising"][0],
    }
    for (name, row), run in shared.items():
        assert rows_of(name, scale)[row] == (run,), (name, row)
    assert j in rows_of("table12", scale)["SA-DETR"]
    assert j in rows_of("sensitivity", scale)["full"]


@pytest.mark.parametrize("scale", SCALES)
def test_five_noise_groups_are_the_full_model_where_it_has_five(scale):
    groups = run_settings(FULL, scale).model.dn.groups
    assert (rows_of("figure6", scale)["5"] == (FULL,)) == (groups == 5)
    for row in load_experiment("figure6", scale).rows[1:]:
        assert run_settings(row.runs[0], scale).model.dn.groups == row.x


def test_the_paper_needs_33_trainings_of_sa_detr():
    runs = [run for name in Workflow({"data_root": "."}).all for run in load_experiment(name, "paper").runs]
    ours = {run for run in runs if run.method == "sa_detr"}
    assert len(ours) == 33
    single = {run for run in ours if run.setting == "qvhighlights" and run.seed == 2018}
    assert len(single) == 26
    assert len({run for run in ours if run.setting == "qvhighlights"}) == 30


@pytest.mark.parametrize("scale", SCALES)
def test_baselines_of_tables_11_and_12_and_figure_5_are_one_run(scale):
    for method, row, curve in (("qd_detr", "QD-DETR", "qd_detr"), ("moment_detr", "M-DETR", "moment_detr")):
        run = RunId("qvhighlights", method, "full", 2018)
        assert run in rows_of("table12", scale)[row]
        assert rows_of("figure5", scale)[curve] == (run,)
    assert rows_of("table11", scale)["QD-DETR"] == (RunId("qvhighlights", "qd_detr", "full", 2018),)


@pytest.mark.parametrize(("method", "count"), [("qd_detr", 7), ("moment_detr", 5)])
def test_tables_11_and_12_need_their_own_trainings(method, count):
    names = ("table11", "table12", "figure5")
    runs = {run for name in names for run in load_experiment(name, "paper").runs}
    assert len({run for run in runs if run.method == method}) == count


def effective(model: dict[str, Any], training: dict[str, Any]) -> dict[str, Any]:
    """Settings without those that cannot change the network or its training, given the others."""
    fa, dn, loss, schedule = model["fa"], model["dn"], model["loss"], training["schedule"]
    if not loss["align"]:
        fa["vtc"] = fa["ctm"] = False
        del loss["align_weights"]
    for name in ("vtc", "ctm"):
        if not fa[name]:
            del fa[f"{name}_stage"]
    if not model["ad"]["enhance"]:
        del model["enhance"]
    elif model["enhance"]["gate"] == "elementwise":
        del model["enhance"]["gate_scale"]
    if not model["ad"]["modulate"]:
        del model["gauss"]
    if not dn["enabled"]:
        model["dn"] = {"enabled": False}
        del loss["quality_margin"]
    elif not dn["negatives"]:
        for name in ("margin_schedule", "margin_start", "margin_end", "neg_range"):
            del dn[name]
        del loss["quality_margin"]
    elif dn["margin_schedule"] == "fixed":
        del dn["margin_end"]
    if loss["matched_quality"] == 1 and loss["quality_reduction"] == "weighted_mean":
        loss["quality_reduction"] = "mean"
    elif loss["quality_reduction"] == "binned":
        del loss["matched_quality"]
    if not model["qi"]["init_loss"]:
        del model["qi"]["detach"]
    if not model["qi"]["dynamic"]:
        del model["qi"]["init_bias"]
    if schedule["shape"] != "step":
        del schedule["step_factor"]
    if schedule["shape"] == "constant":
        del schedule["hold_epochs"]
    return {"model": model, "training": training}


@pytest.mark.parametrize("scale", SCALES)
def test_no_two_runs_are_the_same_network(scale):
    """They differ in more than settings that a switch makes irrelevant."""
    runs = {run for name in experiment_names() for run in load_experiment(name, scale).runs}
    seen: dict[str, RunId] = {}
    for run in sorted(runs):
        settings = run_settings(run, scale)
        assert canonical(run, scale) == run
        identity = settings.identity()
        if run.method == "sa_detr":
            identity.update(effective(identity["model"], identity["training"]))
        assert seen.setdefault(repr(sorted(identity.items())), run) == run


@pytest.mark.parametrize("scale", SCALES)
def test_all_asks_for_no_data_that_only_other_targets_need(scale):
    flow = Workflow({"scale": scale, "data_root": "."} if scale != "mini" else {})
    assert [path.stem for path in flow.checks] == ["qvhighlights", "charades_sta_vgg", "charades_sta", "tacos"]
    assert not [path for path in flow.kept() if "tacos_glove" in str(path)]
    assert [path for path in flow.kept("vslnet_inputs") if "tacos_glove" in str(path)]


def test_targets_ask_for_the_scores_of_queries_as_well():
    """A run that was evaluated before there were any is evaluated again."""
    flow = Workflow({})
    assert {path.with_name("query_scores.parquet") for path in flow.metrics()} <= set(flow.kept())


def test_sensitivity_is_not_part_of_all():
    flow = Workflow({})
    assert "sensitivity" in flow.experiments
    assert "sensitivity" not in flow.all
    assert not any("reading_" in str(path) for path in flow.metrics())
    assert sum("reading_" in str(path) for path in flow.metrics("sensitivity")) == 78
    assert "sensitivity_charades_sta_vgg" not in flow.all


@pytest.mark.parametrize("name", ["sensitivity", "sensitivity_charades_sta_vgg"])
def test_every_reading_changes_one_setting_of_the_full_model(name):
    full, *readings = load_experiment(name, "paper").rows
    reference = run_settings(full.runs[0], "paper").identity()
    for row in readings:
        changed = leaves(run_settings(row.runs[0], "paper").identity()) ^ leaves(reference)
        assert len({key for key, _ in changed}) == 1, row.key
        assert [run.seed for run in row.runs] == [2018, 0, 1]


def leaves(values: Any, path: str = "") -> set[tuple[str, str]]:
    if not isinstance(values, dict):
        return {(path, repr(values))}
    return {leaf for key, value in values.items() for leaf in leaves(value, f"{path}.{key}")}


def test_table_9_has_the_full_model_on_every_setting():
    runs = load_experiment("table9", "paper").runs
    assert {run.variant for run in runs} == {"full"}
    assert {run.setting for run in runs} == {"qvhighlights", "tacos", "charades_sta", "charades_sta_vgg"}


def test_names_that_users_type():
    assert experiment_name("table", "4") == "table4"
    assert experiment_name("table", "sensitivity") == "sensitivity"


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("table5", "number: 4\nsplit: val\nmetrics: [mAP]", r"table 4 belongs in table4\.yaml"),
        ("own", "metrics: [mAP]", "add the key 'split'"),
    ],
)
def test_misnamed_experiments_and_missing_splits(tmp_path, name, text, words):
    (tmp_path / "experiments").mkdir()
    shared = "kind: table\nlayout: metrics\ntitle: t\nlabel_columns: [Method]\nrows: {a: {labels: [a]}}\n"
    run = "run: {setting: qvhighlights, method: sa_detr, seeds: [0]}\n"
    (tmp_path / "experiments" / f"{name}.yaml").write_text(shared + run + text)
    with pytest.raises(SettingsError, match=words):
        load_experiment(name, load_scale("mini"), tmp_path)
