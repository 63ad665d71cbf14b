"""What an experiment lacks is said before anything is trained, by the functions that renderers and comparison use."""

from dataclasses import replace

import numpy as np
import pytest

from sadetr.configuration import load_scale
from sadetr.data.annotations import Query
from sadetr.errors import SettingsError
from sadetr.evaluation.scorer import evaluate, metric_names
from sadetr.experiments import Experiment, Predictions, experiment_names, load_experiment
from sadetr.reporting import command, requirements
from sadetr.reporting.chance import load_chance
from sadetr.reporting.paper import PaperTable, PaperValue
from sadetr.reporting.requirements import check_compared, check_rendered, paper_table

from .conftest import chance_of, run_id


def altered(experiment: Experiment, row: dict | None = None, **changes: object) -> Experiment:
    """The experiment with changes of its own and of its first row."""
    rows = (replace(experiment.rows[0], **(row or {})), *experiment.rows[1:])
    return replace(experiment, **{"rows": rows, **changes})


@pytest.mark.parametrize("scale", ["mini", "paper"])
def test_every_experiment_of_the_repository_can_be_rendered_and_compared(scale):
    experiments = [load_experiment(name, scale) for name in experiment_names()]
    for experiment in experiments:
        check_rendered(experiment, load_scale(scale))
    check_compared(experiments, load_chance(load_scale(scale)))


def test_every_layout_has_a_renderer_and_its_needs():
    assert command.LAYOUTS.keys() == requirements.NEEDS.keys()


@pytest.mark.parametrize("highlights", [True, False])
def test_the_metrics_that_are_known_are_those_that_are_scored(highlights):
    query = Query(1, "q", "v", 40.0, np.array([[4.0, 8.0]]), np.array([2]), np.array([[4, 4, 2]]))
    row = {"qid": 1, "pred_relevant_windows": [[4.0, 8.0, 0.9]], "pred_saliency_scores": [0.0, 0.0, 1.0]}
    scored = evaluate([row], [query], highlights=highlights, clip_length=2.0)
    assert metric_names(highlights) == tuple(scored)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"layout": "matrix"}, r"table4\.yaml: no layout 'matrix'; known: metrics, "),
        ({"layout": "sweep"}, r"layout 'sweep' makes a figure, not a table; choose one of metrics, seeds, "),
        (
            {"metrics": ("R1@0.5", "R1@0,7")},
            r"row 'a': metric 'R1@0,7', unknown; setting 'qvhighlights' is scored by R1",
        ),
        ({"split": "validation"}, r"not scored on split 'validation', only on val, test; name one of these"),
        ({"metrics": ("mIoU",)}, r"table4\.csv: row 'a' has no metric 'mIoU'\. Add the line"),
        ({"row": {"paper": "z"}}, r"table4\.csv: no row 'z'"),
        ({"row": {"runs": (run_id("plain"), run_id("plain"))}}, "row 'a' has seed 2018 twice"),
        ({"metrics": ()}, "add the key 'metrics'"),
        ({"name": "mine"}, r"paper/mine\.csv: cannot be read .* Each table needs its paper numbers there"),
        ({"layout": "sensitivity"}, "the row 'full', which the others are compared with, is missing"),
        ({"layout": "settings"}, r"table4\.csv: the first line must be "),
        ({"layout": "seeds", "label_columns": ("FA",), "row": {"labels": {"FA": "x"}}}, "two rows are called 'x'"),
        ({"kind": "figure", "layout": "sweep"}, "shows one metric and one label column, not 3 and 2"),
        ({"kind": "figure", "layout": "sweep", "metrics": ("mAP",), "label_columns": ("FA",)}, "row 'a' has no x"),
        ({"kind": "figure", "layout": "convergence", "split": "test"}, "does not validate 'R1@0.5' on split 'test'"),
        ({"kind": "figure", "layout": "qualitative", "row": {"runs": ()}}, "the first row must have a run"),
    ],
)
def test_what_could_not_be_rendered_is_refused(experiment, official, changes, message):
    check_rendered(experiment, official)
    with pytest.raises(SettingsError, match=message):
        check_rendered(altered(experiment, **changes), official)


def test_a_metric_of_another_kind_of_setting_is_named_as_such(experiment, official):
    run = replace(run_id("plain"), setting="charades_sta")
    charades = altered(experiment, {"runs": (run,)}, split="test")
    with pytest.raises(SettingsError, match="metric 'HD_mAP', which is scored with 'highlights: true' only"):
        check_rendered(charades, official)


def test_published_predictions_may_be_of_a_split_that_is_not_reported(experiment, official):
    row = {"runs": (), "rescored": Predictions("qvhighlights", "other", "train"), "paper": None}
    only = replace(altered(experiment, row, split="train"), rows=altered(experiment, row).rows[:1])
    check_rendered(only, official)


def test_a_table_without_numbers_of_the_paper_needs_no_file_of_them(experiment, official):
    bare = replace(experiment, name="mine", rows=tuple(replace(row, paper=None) for row in experiment.rows))
    check_rendered(bare, official)
    assert paper_table(bare).values == {}


@pytest.fixture
def printed(monkeypatch):
    """Numbers of the paper in the place of those on disk."""

    def patch(path, **changes: object) -> None:
        def value(row: str, metric: str) -> PaperValue:
            fields = {"value": 50.0, "std": None, "split": "val", "seeds": 1, "note": "", **changes}
            return PaperValue(row=row, metric=metric, **fields)

        cells = {(row, metric): value(row, metric) for row in "abc" for metric in ("R1@0.5", "mAP", "HD_mAP")}
        monkeypatch.setattr(requirements, "load_paper_table", lambda name: PaperTable(path / f"{name}.csv", cells))

    return patch


def test_a_metric_whose_spread_is_not_known_is_refused(experiment, printed, tmp_path):
    printed(tmp_path)
    with pytest.raises(SettingsError, match=r"tolerances\.yaml: key 'metrics' does not say how 'HD_mAP' varies"):
        check_compared([experiment], chance_of({"R1@0.5": 1.0, "mAP": 1.0}))
    check_compared([experiment], chance_of())


def test_a_number_of_another_split_is_refused(experiment, printed, tmp_path):
    printed(tmp_path, split="test")
    with pytest.raises(SettingsError, match="a number of split 'test', but table4 scores 'val'"):
        check_compared([experiment], chance_of())
