"""Tables 9 and 12, the sensitivity table and Figure 6: their numbers, their words, every format."""

import csv
import io
import json
import statistics

import pytest
from scipy.stats import ttest_ind

from sadetr.configuration import load_scale
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import Experiment, Row, RunId, load_experiment, run_settings
from sadetr.reporting.grids import Grid, grid_html_body, grid_latex, grid_markdown
from sadetr.reporting.metrics import ScaleResults
from sadetr.reporting.paper import PAPER, load_paper_table
from sadetr.reporting.seeds import Sample, seed_tests, welch_test, write_seeds
from sadetr.reporting.sensitivity import paired_effect, sensitivity_table
from sadetr.reporting.settings_table import COLUMNS, settings_table
from sadetr.reporting.sweep import sweep_figure

from .conftest import GENERATED, run_id


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


def test_generated_numbers_are_not_tested_against_the_paper(tmp_path, generated, two_methods, results, five_seeds):
    five_seeds(generated)
    found = verdicts(two_methods, generated, results)
    assert found["SA-DETR", "SA-DETR, paper"] == "not comparable: generated data"
    assert found["SA-DETR", "QD-DETR"] == "SA-DETR higher"
    paper = load_paper_table("table12")
    for path in write_seeds(two_methods, generated, results(generated), paper, tmp_path / "out"):
        text = path.read_text()
        assert "47.87" in text
        assert "SA-DETR higher" in text or path.suffix == ".csv"
    lines = csv.DictReader(io.StringIO((tmp_path / "out/table12.csv").read_text()))
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
    rows = (
        Row("full", dict.fromkeys(columns, ""), tuple(run_id("full", seed) for seed in range(3)), "best", None),
        Row("other", labels, tuple(run_id("other", seed) for seed in range(3)), "best", None),
    )
    experiment = Experiment(
        "sensitivity", "table", None, "sensitivity", "Readings", "val", "best", ("mAP",), columns, rows, "", False
    )
    for seed, (full, other) in enumerate([(40.0, 41.0), (44.0, 44.0)]):
        write_run(run_id("full", seed), generated, {"mAP": full})
        write_run(run_id("other", seed), generated, {"mAP": other})
    write_run(run_id("full", 2), generated, {"mAP": 42.0})
    grid = sensitivity_table(experiment, generated, results(generated))
    assert grid.rows[0][-1] == "42.00 ± 2.00"
    assert grid.rows[1] == ("D6", "a", "b", "c", "+0.50 ± 0.71 (2/3 seeds)")
    assert grid.records[2][-5:] == ("effect", "0.50", "0.71", "2", GENERATED)
    assert grid.caption == "Readings"
    with pytest.raises(SettingsError, match="'full'"):
        sensitivity_table(Experiment(**{**vars(experiment), "rows": rows[1:]}), generated, results(generated))


def test_table_9_at_the_papers_scale_is_table_9(tmp_path):
    scale = load_scale("paper")
    grid = settings_table(load_experiment("table9", scale), scale, ScaleResults(tmp_path, scale), PAPER / "table9.csv")
    assert [row[:4] for row in grid.rows] == [
        ("QVHighlights", "planned", "= SF+C", "= CLIP"),
        ("TACoS", "planned", "= SF+C", "= CLIP"),
        ("Charades-STA", "planned", "= SF+C", "= CLIP"),
        ("Charades-STA", "planned", "= VGG", "= GloVe"),
    ]
    assert all(cell.startswith("= ") for row in grid.rows for cell in row[2:])
    assert "76 of 76 cells are equal." in grid.remarks[0]


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
    grid = settings_table(experiment, scale, results, PAPER / "table9.csv")
    row = dict(zip(grid.header, grid.rows[0], strict=True))
    assert (row["from"], row["LR"], row["σ_n"], row["BS"]) == ("run", "1.2e-3 ≠ 1e-4", "= 0.6", "= 32")
    record = dict(zip(grid.records[0], grid.records[1], strict=True))
    assert (record["LR"], record["LR_paper"], record["LR_equal"]) == ("1.2e-3", "1e-4", "no")
    assert len(grid.header) == len(COLUMNS) + 2
    config.write_text("{}")
    with pytest.raises(ResultsError, match=r"config\.json"):
        settings_table(experiment, scale, results, PAPER / "table9.csv")
    (tmp_path / "table9.csv").write_text("row,Vid\n")
    with pytest.raises(SettingsError, match="first line"):
        settings_table(experiment, scale, results, tmp_path / "table9.csv")


def test_grids_escape_words_and_set_symbols():
    grid = Grid("g", "50 % of a|b", None, "", ("σ_n", "a_b & c"), (("x & y", "1 ≠ 2"),), ("<note>",))
    latex = grid_latex(grid)
    assert r"$\sigma_{n}$ & a\_b \& c \\" in latex
    assert r"x \& y & 1 $\neq$ 2 \\" in latex
    assert r"50 \% of a\textbar{}b" in latex
    assert r"\caption" not in latex
    assert r"50 % of a\|b" in grid_markdown(grid)
    page = "\n".join(grid_html_body(grid))
    assert "σ<sub>n</sub></th>" in page
    assert "x &amp; y" in page
    assert "&lt;note&gt;" in page


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
