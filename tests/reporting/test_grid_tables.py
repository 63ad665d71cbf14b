"""Tables 9 and 12, the sensitivity table and Figure 6: their numbers, their words, every format."""

import csv
import io
import json
import statistics

import pytest
from scipy.stats import ttest_ind

from sadetr.configuration import load_scale
from sadetr.documents.model import Document, Table
from sadetr.documents.rendering import RENDERERS
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import Experiment, Row, RunId, load_experiment, run_settings
from sadetr.reporting.paper import PAPER, load_paper_table
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.seeds import Sample, seed_tests, seeds_document, welch_test
from sadetr.reporting.sensitivity import paired_effect, sensitivity_document
from sadetr.reporting.settings_table import COLUMNS, settings_document
from sadetr.reporting.sweep import sweep_figure

from .conftest import GENERATED, run_id


def texts(document: Document) -> tuple[Table, list[tuple[str, ...]]]:
    """The one table of a document, and what its rows say."""
    (table,) = document.parts
    return table, [tuple(cell.text for cell in row.cells) for row in table.rows]


def sample(values, name="x") -> Sample:
    return Sample(name, statistics.fmean(values), statistics.stdev(values), len(values))


def test_welch_equals_scipy():
    first, second = (60.0, 61.0, 62.5), (58.0, 63.0, 57.0, 60.0, 59.5)
    ours = welch_test(sample(first), sample(second))
    theirs = ttest_ind(first, second, equal_var=False)
    low, high = theirs.confidence_interval(0.95)
    assert ours.p == pytest.approx(theirs.pvalue)
    assert (ours.low, ours.high) == pytest.approx((low, high))


def test_welch_needs_spread():
    several, one = sample((1.0, 2.0)), Sample("one", 1.0, None, 1)
    assert welch_test(several, one) is None
    assert welch_test(sample((1.0, 1.0)), sample((2.0, 2.0))) is None
    assert welch_test(sample((1.0, 1.0)), several) is not None


@pytest.fixture
def two_methods() -> Experiment:
    rows = tuple(
        Row(name, {"Method": name}, tuple(run_id(name.lower(), seed) for seed in range(5)), "best", name)
        for name in ("QD-DETR", "SA-DETR")
    )
    absent = Row("M-DETR", {"Method": "M-DETR"}, (), "best", "M-DETR")
    return Experiment(
        "table12", "table", 12, "seeds", "Seeds", "val", "best", ("mAP",), ("Method",), (absent, *rows), ""
    )


@pytest.fixture
def five_seeds(write_run):
    def write(scale, sa_detr=47.87, qd_detr=35.0):
        for seed, shift in enumerate((-0.8, -0.3, 0.0, 0.3, 0.8)):
            write_run(run_id("sa-detr", seed), scale, {"mAP": sa_detr + shift})
            write_run(run_id("qd-detr", seed), scale, {"mAP": qd_detr + shift})

    return write


def verdicts(experiment, scale, results):
    tests = seed_tests(experiment, scale, results(scale), load_paper_table("table12"))
    return {(test.first.name, test.second.name): test.verdict for test in tests}


def test_verdicts_against_the_paper_and_between_methods(official, two_methods, results, five_seeds):
    five_seeds(official)
    assert verdicts(two_methods, official, results) == {
        ("QD-DETR", "QD-DETR, paper"): "below the paper",
        ("SA-DETR", "SA-DETR, paper"): "no difference found",
        ("SA-DETR", "QD-DETR"): "SA-DETR higher",
    }
    five_seeds(official, sa_detr=50.0, qd_detr=50.1)
    assert verdicts(two_methods, official, results) == {
        ("QD-DETR", "QD-DETR, paper"): "above the paper",
        ("SA-DETR", "SA-DETR, paper"): "above the paper",
        ("SA-DETR", "QD-DETR"): "no difference found",
    }


def test_generated_numbers_are_not_tested_against_the_paper(generated, two_methods, results, five_seeds):
    five_seeds(generated)
    found = verdicts(two_methods, generated, results)
    assert found["SA-DETR", "SA-DETR, paper"] == "not comparable: generated data"
    assert found["SA-DETR", "QD-DETR"] == "SA-DETR higher"
    document = seeds_document(two_methods, generated, results(generated), load_paper_table("table12"))
    for suffix, render in RENDERERS.items():
        assert "47.87" in render(document)
        assert ("SA-DETR higher" in render(document)) == (suffix != "csv")
    lines = csv.DictReader(io.StringIO(RENDERERS["csv"](document)))
    record = {line["row"]: line for line in lines}["SA-DETR"]
    assert record["mAP_p_paper"] == ""
    assert float(record["mAP_p_QD-DETR"]) < 0.001


def test_missing_seeds_are_said(official, two_methods, results, write_run):
    write_run(run_id("sa-detr", 0), official, {"mAP": 47.0})
    assert verdicts(two_methods, official, results) == {
        ("QD-DETR", "QD-DETR, paper"): "not run",
        ("SA-DETR", "SA-DETR, paper"): "too few seeds, or no spread",
        ("SA-DETR", "QD-DETR"): "not run",
    }


def test_effects_are_paired_by_seed():
    effect = paired_effect({0: 41.0, 1: 50.0, 7: 1.0}, {0: 40.0, 1: 47.0, 2: 60.0})
    assert (effect.mean, effect.std, effect.seeds) == (2.0, pytest.approx(2**0.5), 2)
    assert paired_effect({0: 1.0}, {0: 3.0}).std is None
    assert paired_effect({0: 1.0}, {1: 3.0}).mean is None


def test_sensitivity_table(generated, results, write_run):
    labels = {"#": "D6", "The paper": "a", "Chosen": "b", "Alternative": "c"}
    columns = tuple(labels)
    shown = (
        Row("full", dict.fromkeys(columns, ""), tuple(run_id("full", seed) for seed in range(3)), "best", None),
        Row("other", labels, tuple(run_id("other", seed) for seed in range(3)), "best", None),
    )
    experiment = Experiment(
        "sensitivity", "table", None, "sensitivity", "Readings", "val", "best", ("mAP",), columns, shown, "", False
    )
    for seed, (full, other) in enumerate([(40.0, 41.0), (44.0, 44.0)]):
        write_run(run_id("full", seed), generated, {"mAP": full})
        write_run(run_id("other", seed), generated, {"mAP": other})
    write_run(run_id("full", 2), generated, {"mAP": 42.0})
    document = sensitivity_document(experiment, generated, results(generated))
    table, rows = texts(document)
    assert rows[0][-1] == "42.00 ± 2.00"
    assert rows[1] == ("D6", "a", "b", "c", "+0.50 ± 0.71 (2/3 seeds)")
    assert dict(table.rows[1].cells[-1].data) == {"experiment": "sensitivity", "row": "other", "metric": "mAP"}
    assert document.records[2][-5:] == ("effect", "0.50", "0.71", "2", GENERATED)
    assert document.title == table.caption == "Readings"
    with pytest.raises(SettingsError, match="'full'"):
        sensitivity_document(Experiment(**{**vars(experiment), "rows": shown[1:]}), generated, results(generated))


def test_table_9_at_the_papers_scale_is_table_9(tmp_path):
    scale = load_scale("paper")
    experiment, results = load_experiment("table9", scale), ScaleResults(tmp_path, scale)
    table, rows = texts(settings_document(experiment, scale, results, PAPER / "table9.csv"))
    assert [row[:4] for row in rows] == [
        ("QVHighlights", "planned", "= SF+C", "= CLIP"),
        ("TACoS", "planned", "= SF+C", "= CLIP"),
        ("Charades-STA", "planned", "= SF+C", "= CLIP"),
        ("Charades-STA", "planned", "= VGG", "= GloVe"),
    ]
    assert all(cell.startswith("= ") for row in rows for cell in row[2:])
    assert "76 of 76 cells are equal." in table.remarks[0]


def test_table_9_shows_what_the_run_wrote_down(tmp_path):
    scale = load_scale("paper")
    experiment = load_experiment("table9", scale)
    run = RunId("qvhighlights", "sa_detr", "full", 2018)
    settings = run_settings(run, scale.reference).model_dump(mode="json")
    settings["training"]["learning_rate"] = 1.2e-3
    config = tmp_path / "paper/runs" / run.folder / "config.json"
    config.parent.mkdir(parents=True)
    config.write_text(json.dumps(settings))
    results = ScaleResults(tmp_path, scale)
    document = settings_document(experiment, scale, results, PAPER / "table9.csv")
    table, rows = texts(document)
    row = dict(zip((column.heading for column in table.columns), rows[0], strict=True))
    assert (row["from"], row["LR"], row["σ_n"], row["BS"]) == ("run", "1.2e-3 ≠ 1e-4", "= 0.6", "= 32")
    record = dict(zip(*document.records[:2], strict=True))
    assert (record["LR"], record["LR_paper"], record["LR_equal"]) == ("1.2e-3", "1e-4", "no")
    assert len(table.columns) == len(COLUMNS) + 2
    config.write_text("{}")
    with pytest.raises(ResultsError, match=r"config\.json"):
        settings_document(experiment, scale, results, PAPER / "table9.csv")
    (tmp_path / "table9.csv").write_text("row,Vid\n")
    with pytest.raises(SettingsError, match="first line"):
        settings_document(experiment, scale, results, tmp_path / "table9.csv")


@pytest.fixture
def sweep() -> Experiment:
    rows = tuple(
        Row(str(x), {"Groups": str(x)}, (run_id(f"g{x}", 0), run_id(f"g{x}", 1)), "best", None, x=x) for x in (1, 3, 9)
    )
    return Experiment("figure6", "figure", 6, "sweep", "Sweep", "val", "best", ("mAP",), ("Groups",), rows, "")


def test_sweep_has_a_point_per_row(generated, sweep, results, write_run):
    with pytest.raises(ResultsError, match="no run of figure6"):
        sweep_figure(sweep, generated, results(generated))
    for x, (first, second) in {1: (30.0, 32.0), 9: (40.0, 40.0)}.items():
        write_run(run_id(f"g{x}", 0), generated, {"mAP": first})
        write_run(run_id(f"g{x}", 1), generated, {"mAP": second})
    axes = sweep_figure(sweep, generated, results(generated)).axes[0]
    line = axes.get_lines()[0]
    assert (list(line.get_xdata()), list(line.get_ydata())) == ([1, 9], [31.0, 40.0])
    assert [text.get_text() for text in axes.get_xticklabels()] == ["1", "3", "9"]
    words = [text.get_text() for text in axes.get_legend().get_texts()]
    assert sorted(words) == ["not run: 3", "± one standard deviation"]
    assert axes.get_title() == GENERATED


def test_sweep_needs_places(generated, sweep, results):
    rows = (*sweep.rows[:2], Row("9", {"Groups": "9"}, sweep.rows[2].runs, "best", None))
    with pytest.raises(SettingsError, match="row '9' has no x"):
        sweep_figure(Experiment(**{**vars(sweep), "rows": rows}), generated, results(generated))
