"""Verdicts on claims: hand-made scores for every one of them, and how often chance alone makes one."""

import itertools
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pytest

from sadetr.configuration import load_scale
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment, Row, RunId, experiment_names, load_experiment
from sadetr.layering import ROOT
from sadetr.reporting.claims import Claim, Contrast, load_claims
from sadetr.reporting.judgement import CLAIM_HEADER, CLAIM_VERDICTS, judge_claims, printed_claim
from sadetr.reporting.metrics import read_metrics
from sadetr.reporting.paired import queries_p
from sadetr.reporting.paper import PaperTable, PaperValue
from sadetr.reporting.requirements import compared_table
from sadetr.reporting.scores import Score

from .conftest import run_id

METRICS = ("R1@0.5", "mAP")
PRINTED = {"a": 40.00, "b": 44.00, "c": 44.01, "d": 43.00, "e": None, "only paper": 41.0}


@dataclass
class Source:
    """Scores by run and metric; those of queries where there are any, and then the others are their means."""

    values: dict[tuple[RunId, str], float | None] = field(default_factory=dict)
    queries: dict[tuple[RunId, str], np.ndarray] = field(default_factory=dict)
    qids: dict[RunId, list[str]] = field(default_factory=dict)
    unlabelled: bool = False

    def add_queries(self, run, metric, scores):
        self.queries[run, metric] = np.asarray(scores, dtype=np.float32)
        self.values[run, metric] = float(np.nanmean(scores))

    def seed_values(self, runs, split, checkpoint, metric):
        assert (split, checkpoint) == ("val", "best")
        found = {run.seed: self.values.get((run, metric)) for run in runs}
        return {seed: value for seed, value in found.items() if value is not None}

    def score(self, runs, split, checkpoint, metric):
        values = list(self.seed_values(runs, split, checkpoint, metric).values())
        if self.unlabelled:
            return Score(None, None, len(runs), len(runs), "no labels", 0.0)
        if not values:
            return Score(None, None, 0, len(runs), "not run")
        return Score(float(np.mean(values)), None, len(values), len(runs), "scored")

    def query_scores(self, run, checkpoint, split):
        found = {metric: self.queries[run, metric] for metric in METRICS if (run, metric) in self.queries}
        if not found:
            return None
        qids = self.qids.get(run) or [f"{index:04}" for index in range(len(next(iter(found.values()))))]
        return pa.table({"qid": qids, **{name: pa.array(each, mask=np.isnan(each)) for name, each in found.items()}})


def table_of(seeds=(2018,), printed=PRINTED):
    """An experiment with the rows of ``printed``, and the same paper numbers in every metric."""
    rows = {
        key: Row(key, {"": key}, () if key == "only paper" else tuple(run_id(key, seed) for seed in seeds), "best", key)
        for key in printed
    }
    experiment = Experiment(
        name="table4",
        kind="table",
        number=4,
        layout="metrics",
        title="Parts",
        split="val",
        checkpoint="best",
        metrics=METRICS,
        label_columns=("",),
        rows=tuple(rows.values()),
        note="",
    )
    values = {
        (row, metric): PaperValue(row=row, metric=metric, value=value, std=None, split="val", seeds=1, note="")
        for row, value in printed.items()
        for metric in METRICS
    }
    return experiment, rows, PaperTable(ROOT / "none.csv", values)


def claim(higher, lower, table=None, metrics=("mAP",), gain=None, name="said"):
    """Each row of ``higher`` is above each of ``lower``."""
    experiment, rows, paper = table or table_of()
    contrasts = [
        Contrast(metric, (rows[plus],), (rows[minus],), gain)
        for metric in metrics
        for plus in higher
        for minus in lower
    ]
    return Claim(name, "4.4", experiment, paper, "What is said.", tuple(contrasts))


def of_seeds(**values):
    """A source with values per seed."""
    found = {
        (run_id(row, seed), metric): value
        for row, seeds in values.items()
        for seed, value in enumerate(seeds)
        for metric in METRICS
    }
    return Source(found)


def single(**values):
    """A source with one run per row."""
    return Source({(run_id(row), metric): value for row, value in values.items() for metric in METRICS})


def hits(count, wins, losses):
    """Scores of two runs that agree on all but wins + losses queries."""
    better = np.full(count, 50.0)
    better[:wins], better[wins : wins + losses] = 100, 0
    return better, np.where(better == 50, 50, 100 - better)


@pytest.fixture
def judge(official):
    def judge(claims, source, scale=official, spread=0.8):
        return judge_claims(claims, scale, source, lambda *_: spread, 0.05)

    return judge


@pytest.mark.parametrize(
    ("difference", "verdict"), [(3.0, "holds"), (-3.0, "does not hold"), (1.0, "undecided"), (-1.0, "undecided")]
)
def test_single_runs_are_judged_by_their_spread(judge, difference, verdict):
    (judged,) = judge([claim(["b"], ["a"])], single(a=40.0, b=40.0 + difference))
    assert (judged.verdict, judged.test) == (verdict, "spread")
    assert (judged.paper_difference, judged.ours_difference) == (4.0, pytest.approx(difference))
    # The difference of two runs spreads by the root of two.
    assert (judged.p <= 0.05) == (abs(difference) > 1.96 * 0.8 * 2**0.5)
    assert judged.p_corrected == judged.p


def test_the_spread_is_asked_for_each_run_and_shrinks_with_seeds(official):
    asked = []

    def spread(*arguments):
        asked.append(arguments)
        return 1.0

    source = of_seeds(a=[40.0, 41.0], b=[44.0, 45.0])
    (judged,) = judge_claims([claim(["b"], ["a"], table_of(seeds=(0, 1)))], official, source, spread, 0.05)
    assert asked == [("qvhighlights", "sa_detr", "val", "mAP", value) for value in (44.5, 40.5)]
    assert (judged.test, judged.p) == ("spread", pytest.approx(6.3e-5, rel=0.01))  # 4 / (1/2 + 1/2)**0.5


@pytest.mark.parametrize(
    ("b", "verdict"),
    [([42.0, 43.2, 41.9], "holds"), ([38.0, 39.1, 37.8], "does not hold"), ([43.0, 40.0, 41.0], "undecided")],
)
def test_three_seeds_are_paired(judge, b, verdict):
    (judged,) = judge([claim(["b"], ["a"], table_of(seeds=(0, 1, 2)))], of_seeds(a=[40.0, 41.0, 40.0], b=b))
    assert (judged.verdict, judged.test) == (verdict, "seeds")


def test_seeds_that_do_not_vary_are_left_to_the_spread(judge):
    source = of_seeds(a=[40.0] * 5, b=[44.0] * 5)
    (judged,) = judge([claim(["b"], ["a"], table_of(seeds=range(5)))], source)
    assert (judged.verdict, judged.test) == ("holds", "spread")


@pytest.mark.parametrize(
    ("wins", "losses", "verdict"),
    [(60, 20, "holds"), (20, 60, "does not hold"), (45, 35, "undecided"), (5, 0, "undecided"), (0, 0, "undecided")],
)
def test_queries_are_paired_where_there_are_scores_of_them(judge, wins, losses, verdict):
    source = Source()
    for row, scores in zip("ba", hits(1000, wins, losses), strict=True):
        source.add_queries(run_id(row), "mAP", scores)
    (judged,) = judge([claim(["b"], ["a"])], source)
    assert (judged.verdict, judged.test) == (verdict, "queries")
    assert judged.ours_difference == pytest.approx((wins - losses) / 10)


def test_queries_that_do_not_count_in_one_row_are_left_out(judge):
    better, worse = hits(400, 60, 20)
    source = Source()
    worse[:60] = np.nan
    for row, scores in zip("ba", (better, worse), strict=True):
        source.add_queries(run_id(row), "mAP", scores)
    (judged,) = judge([claim(["b"], ["a"])], source)
    assert judged.p < 1e-4, "20 losses and no win are left"


def test_seeds_are_averaged_before_queries_are_paired(judge):
    source, rng = Source(), np.random.default_rng(0)
    for row, shift in (("a", 0.0), ("b", 5.0)):
        for seed in range(3):
            source.add_queries(run_id(row, seed), "mAP", rng.normal(40 + shift, 30, 800))
    (judged,) = judge([claim(["b"], ["a"], table_of(seeds=(0, 1, 2)))], source)
    assert (judged.test, judged.verdict) == ("queries", "holds")
    means = [np.mean([source.queries[run_id(row, seed), "mAP"] for seed in range(3)], axis=0) for row in "ba"]
    assert judged.p == pytest.approx(queries_p(means[0].astype(float) - means[1]), rel=1e-3)


def test_one_row_without_scores_of_queries_makes_it_a_test_of_runs(judge):
    source = single(a=40.0, b=44.0)
    source.add_queries(run_id("b"), "mAP", np.full(50, 44.0))
    (judged,) = judge([claim(["b"], ["a"])], source)
    assert judged.test == "spread"


def test_scores_of_queries_must_belong_together(judge):
    source = Source()
    for row in "ab":
        source.add_queries(run_id(row), "mAP", np.full(3, 44.0))
    source.qids[run_id("a")] = ["7", "8", "9"]
    with pytest.raises(ResultsError, match=r"sa_detr/a/seed2018: its val scores are of other queries .* again"):
        judge([claim(["b"], ["a"])], source)
    del source.qids[run_id("a")]
    source.values[run_id("b"), "mAP"] = 45.0
    with pytest.raises(ResultsError, match=r"b/seed2018: mAP is 45\.0000, the mean of its queries 44\.0000"):
        judge([claim(["b"], ["a"])], source)


def test_a_conjunction_names_what_decides(judge):
    every = claim(["c"], ["a", "b", "d"])
    (judged,) = judge([every], single(a=40.0, b=38.0, c=45.0, d=41.0))
    assert judged.verdict_text == "holds: c - d in mAP: +4.00"
    (judged,) = judge([every], single(a=40.0, b=44.5, c=45.0, d=41.0))
    assert judged.verdict_text == "undecided: c - b in mAP: +0.50"
    (judged,) = judge([every], single(a=40.0, b=49.0, c=45.0, d=41.0))
    assert judged.verdict_text == "does not hold: c - b in mAP: -4.00"
    # The opposite of one of three is looked for three times.
    assert judged.p == pytest.approx(3 * 4.07e-4, rel=0.01)


def test_an_interaction_is_a_gain_beyond_the_sum(judge):
    experiment, rows, paper = table_of(printed={"a": 40.0, "b": 42.0, "c": 43.0, "d": 48.0})
    both = Contrast("mAP", (rows["d"], rows["a"]), (rows["b"], rows["c"]))
    said = Claim("boost", "4.4", experiment, paper, "", (both,))
    (judged,) = judge([said], single(a=40.0, b=43.0, c=44.0, d=55.0))
    assert (judged.printed, judged.verdict, judged.ours_difference) == ("borne out", "holds", pytest.approx(8))
    (judged,) = judge([said], single(a=40.0, b=43.0, c=44.0, d=48.5))
    assert judged.verdict == "undecided"
    assert judged.p == pytest.approx(0.348, abs=0.001)  # 1.5 of a contrast that spreads by 0.8 * 2


@pytest.mark.parametrize(
    ("higher", "lower", "printed"),
    [
        ("c", "b", "borne out"),  # 0.01, as printed
        ("b", "c", "contradicted"),
        ("b", "e", "open"),
        ("b", "a", "borne out"),
    ],
)
def test_the_paper_comes_first(judge, higher, lower, printed):
    (judged,) = judge([claim([higher], [lower])], single(a=40.0, b=48.0, c=40.0, d=40.0, e=40.0))
    assert judged.printed == printed
    assert (judged.verdict == "contradicted by the paper itself") == (printed == "contradicted")
    assert judged.required == (printed == "borne out")


def test_equal_printed_numbers_leave_it_open(judge):
    table = table_of(printed={"a": 40.0, "b": 40.0})
    (judged,) = judge([claim(["b"], ["a"], table)], single(a=40.0, b=44.0))
    assert (judged.printed, judged.verdict, judged.required) == ("open", "holds", False)


def test_contradicted_claims_show_our_difference_and_are_not_tested(judge):
    claims = [claim(["d"], ["b"], name="wrong"), claim(["b"], ["a"])]
    wrong, right = judge(claims, single(a=40.0, b=43.0, d=50.0))
    assert (wrong.verdict_text, wrong.ours_difference, wrong.test, wrong.p) == (
        "contradicted by the paper itself: d - b in mAP: -1.00",
        7.0,
        "",
        None,
    )
    assert right.p_corrected == right.p, "it does not count in the correction"


@pytest.mark.parametrize(
    ("gain", "printed"), [(4.0, "borne out"), (4.01, "borne out"), (3.99, "borne out"), (4.02, "contradicted")]
)
def test_a_quoted_gain_is_the_printed_difference_up_to_rounding(judge, gain, printed):
    (judged,) = judge([claim(["b"], ["a"], gain=gain)], single(a=40.0, b=44.0))
    assert judged.printed == printed


@pytest.mark.parametrize(
    ("b", "verdict"),
    [
        (44.0, "holds"),
        (43.99, "holds"),
        (43.0, "undecided: higher, but not by 4.00"),
        (40.5, "undecided"),
        (36.0, "does not hold: b - a in mAP: -4.00"),
    ],
)
def test_a_gain_that_is_smaller_here_is_said_and_refutes_nothing(judge, b, verdict):
    (judged,) = judge([claim(["b"], ["a"], gain=4.0)], single(a=40.0, b=b))
    assert judged.verdict_text == verdict


def test_what_is_not_there_is_missing(judge):
    (judged,) = judge([claim(["b"], ["a", "d"])], single(a=40.0, b=48.0))
    assert (judged.verdict_text, judged.p, judged.ours_difference) == ("missing: d: not run", None, None)
    table = table_of(seeds=(0, 1, 2))
    (judged,) = judge([claim(["b"], ["a"], table)], of_seeds(a=[40.0, 41.0, 40.0], b=[44.0]))
    assert judged.verdict_text == "missing: b: 1 of 3 seeds"


def test_without_labels_nothing_is_missing_and_nothing_decided(judge):
    (judged,) = judge([claim(["b"], ["a"])], Source(unlabelled=True))
    assert (judged.verdict_text, judged.test) == ("undecided: b: no labels", "")


def test_rows_that_nobody_trains_here_count_in_the_paper_alone(judge):
    (judged,) = judge([claim(["b"], ["a", "only paper"])], single(a=40.0, b=48.0))
    assert (judged.verdict, judged.paper_difference, judged.ours_difference) == ("holds", 3.0, 8.0)
    (judged,) = judge([claim(["b"], ["only paper"])], single(a=40.0, b=48.0))
    assert judged.verdict_text == "undecided: no row of it is trained here"


def test_claims_are_corrected_for_their_number(judge):
    source = single(a=40.0, b=42.5)
    (alone,) = judge([claim(["b"], ["a"])], source)
    assert (alone.verdict, alone.p) == ("holds", pytest.approx(0.0271, abs=1e-4))
    crowd = judge([claim(["b"], ["a"], name=str(number)) for number in range(2)], source)
    assert {judged.verdict for judged in crowd} == {"undecided"}
    assert crowd[0].p_corrected == pytest.approx(2 * alone.p)


def test_generated_data_are_labelled_and_fail_nothing(judge, official, generated):
    source = single(a=45.0, b=40.0)
    (real,) = judge([claim(["b"], ["a"])], source, official)
    (other,) = judge([claim(["b"], ["a"])], source, generated)
    assert (real.required, real.fails, other.required, other.fails) == (True, True, False, False)
    assert other.verdict_text == "does not hold (generated data): b - a in mAP: -5.00"
    assert real.verdict_text == "does not hold: b - a in mAP: -5.00"


def test_what_a_lucky_seed_of_the_papers_explains_fails_nothing(judge, official):
    """Refuted by our runs, but the paper's own difference may have been a draw of seeds."""
    (judged,) = judge([claim(["b"], ["a"])], single(a=43.0, b=40.0), official)
    assert (judged.verdict, judged.required, judged.unexplained, judged.fails) == ("does not hold", True, False, False)


def test_a_claim_is_printed_in_as_many_columns_as_the_header_has(judge):
    (judged,) = judge([claim(["b"], ["a"])], single(a=40.0, b=45.0))
    cells = ("said", "4.4, Table 4", "What is said.", "+4.00", "+5.00", "spread", "< 0.001", "holds")
    assert printed_claim(judged) == cells
    assert len(CLAIM_HEADER) == len(cells)


# How often a family of claims is wrongly judged where nothing differs: 16 claims, the simplest kind, which conjunctions
# are stricter than, and a few of those.

ROWS = [f"row{number}" for number in range(10)]
FAMILIES = 200


def family(seeds):
    table = table_of(seeds, {row: 40.0 + place for place, row in enumerate(ROWS)})
    pairs = [([high], [low]) for low, high in itertools.pairwise(ROWS)] + [([ROWS[9]], [ROWS[0]])]
    conjunctions = [([ROWS[9]], ROWS[:9]), ([ROWS[5]], ROWS[:5]), ([ROWS[3]], ROWS[:2])]
    return [claim(*rows, table, name=str(number)) for number, rows in enumerate(pairs + conjunctions)]


def spread_runs(rng, shifts):
    return single(**{row: 45 + shift + rng.normal(0, 0.8) for row, shift in zip(ROWS, shifts, strict=True)})


def seed_runs(rng, shifts):
    return of_seeds(**{row: 45 + shift + rng.normal(0, 0.8, 5) for row, shift in zip(ROWS, shifts, strict=True)})


def query_runs(rng, shifts):
    """Hits of 300 queries, hard ones and easy ones."""
    source, chance = Source(), rng.beta(1.5, 1.5, 300)
    for row, shift in zip(ROWS, shifts, strict=True):
        source.add_queries(run_id(row), "mAP", 100.0 * (rng.random(300) < chance + shift / 100))
    return source


@pytest.mark.parametrize(
    ("runs", "seeds", "test"),
    [(spread_runs, (2018,), "spread"), (seed_runs, range(5), "seeds"), (query_runs, (2018,), "queries")],
)
def test_at_most_one_family_in_twenty_is_wrongly_judged_where_nothing_differs(judge, runs, seeds, test):
    rng, claims, wrong = np.random.default_rng(14), family(seeds), 0
    for _ in range(FAMILIES):
        judged = judge(claims, runs(rng, [0.0] * len(ROWS)))
        assert {each.test for each in judged} == {test}
        wrong += any(each.verdict != "undecided" for each in judged)
    assert wrong <= 0.05 * FAMILIES


@pytest.mark.parametrize(("runs", "seeds"), [(spread_runs, (2018,)), (seed_runs, range(5)), (query_runs, (2018,))])
def test_what_differs_is_found_and_the_right_way_round(judge, runs, seeds):
    """The last row is 20 points above the others; neighbours differ by nothing."""
    rng, claims = np.random.default_rng(1), family(seeds)
    shifts, found = [0.0] * 9 + [20.0], []
    for _ in range(20):
        judged = {each.claim.name: each for each in judge(claims, runs(rng, shifts))}
        found.append([judged[name].verdict == "holds" for name in ("8", "9")])
        assert not any(each.verdict == "does not hold" for each in judged.values())
    assert np.mean(found) >= 0.8


@pytest.fixture(scope="module")
def reference():
    """Results of one run of everything at the default scale: only its file of metrics."""
    table = read_metrics(ROOT / "results" / "reference" / "mini" / "metrics.parquet")

    @dataclass
    class File:
        values: dict

        def seed_values(self, runs, split, checkpoint, metric):
            keys = {
                run.seed: (run.setting, run.method, run.variant, run.seed, split, checkpoint, metric) for run in runs
            }
            return {seed: self.values[key] for seed, key in keys.items() if self.values.get(key) is not None}

        def score(self, runs, split, checkpoint, metric):
            values = list(self.seed_values(runs, split, checkpoint, metric).values())
            state = "scored" if values else "not run"
            return Score(float(np.mean(values)) if values else None, None, len(values), len(runs), state)

        def query_scores(self, run, checkpoint, split):
            return None

    names = ("setting", "method", "variant", "seed", "split", "checkpoint", "metric")
    keys = zip(*(table[name].to_pylist() for name in names), strict=True)
    return File(dict(zip(keys, table["value"].to_pylist(), strict=True)))


def test_every_claim_can_be_judged_from_a_file_of_metrics(reference):
    scale = load_scale("mini")
    loaded = [load_experiment(name, scale) for name in experiment_names()]
    claims = load_claims([(experiment, compared_table(experiment)) for experiment in loaded])
    judged = judge_claims(claims, scale, reference, lambda *_: 4.0, 0.05)
    assert "missing" not in {each.verdict for each in judged}
    assert {each.test for each in judged if each.claim.experiment.name == "table12"} == {"seeds"}
    assert not any(each.required or each.fails for each in judged)
    assert all("(generated data)" in each.verdict_text for each in judged if each.test)
    assert {each.verdict for each in judged} <= set(CLAIM_VERDICTS)
