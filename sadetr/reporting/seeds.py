"""Table 12: methods over several seeds, with Welch's t-tests against the paper's means and between the methods."""

import itertools
import math
from collections.abc import Iterator
from dataclasses import dataclass

from sadetr.configuration import ScaleSettings
from sadetr.documents.model import ABSENT, Cell, Column, Document, Table
from sadetr.documents.model import Row as Line
from sadetr.experiments import Experiment, Row
from sadetr.reporting.metrics_document import metrics_part, metrics_records
from sadetr.reporting.paper import PaperTable
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.tables import MetricsTable, build_table

LEVEL = 0.05
"""Significance level of the tests; their intervals cover 1 - LEVEL."""


@dataclass(frozen=True)
class Sample:
    """Mean and sample standard deviation of ``count`` seeds; None where there are too few."""

    name: str
    mean: float | None
    std: float | None
    count: int
    state: str = "not run"
    """Why there is no mean."""


@dataclass(frozen=True)
class Welch:
    """Difference of two means in percentage points, its confidence interval, and the two-sided p-value."""

    difference: float
    low: float
    high: float
    p: float


@dataclass(frozen=True)
class SeedTest:
    """One test: first minus second; ``welch`` is None where ``verdict`` says why there is none."""

    metric: str
    first: Sample
    second: Sample
    against_paper: bool
    welch: Welch | None
    verdict: str


def welch_test(first: Sample, second: Sample) -> Welch | None:
    """Welch's t-test from means, standard deviations and counts: unequal variances, Welch-Satterthwaite freedom.

    None where a sample has no spread to test with: fewer than two seeds, or none of the two varies.
    """
    from scipy.stats import t as student

    if first.mean is None or second.mean is None or first.std is None or second.std is None:
        return None
    parts = [sample.std**2 / sample.count for sample in (first, second)]
    error = math.sqrt(sum(parts))
    if error == 0:
        return None
    freedom = error**4 / sum(part**2 / (sample.count - 1) for part, sample in zip(parts, (first, second), strict=True))
    difference = first.mean - second.mean
    p = 2 * student.sf(abs(difference) / error, freedom)
    half = student.isf(LEVEL / 2, freedom) * error
    return Welch(difference, difference - half, difference + half, float(p))


def seed_tests(
    experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper: PaperTable
) -> Iterator[SeedTest]:
    """Every method against the paper, then against each other, metric by metric.

    Raises:
        SettingsError, ResultsError: as :func:`sadetr.reporting.tables.build_table`.
    """
    rows = [row for row in experiment.rows if row.runs]
    for metric in experiment.metrics:
        ours = {row.key: _ours(experiment, row, metric, results) for row in rows}
        for row in rows:
            value = paper.of(row, metric)
            printed = Sample(f"{ours[row.key].name}, paper", value.value, value.std, value.seeds or 0)
            yield _against_paper(metric, ours[row.key], printed, scale)
        for first, second in itertools.combinations(reversed(ours.values()), 2):
            yield _between(metric, first, second)


def _ours(experiment: Experiment, row: Row, metric: str, results: ScaleResults) -> Sample:
    score = results.score(row.runs, experiment.split, row.checkpoint, metric)
    count = len(results.seed_values(row.runs, experiment.split, row.checkpoint, metric))
    return Sample(row.labels[experiment.label_columns[0]], score.mean, score.std, count, score.state)


def _against_paper(metric: str, ours: Sample, paper: Sample, scale: ScaleSettings) -> SeedTest:
    if not scale.comparable:
        reason = "not comparable: " + scale.label.partition(":")[0]
        return SeedTest(metric, ours, paper, True, None, reason)
    welch = welch_test(ours, paper)
    words = ("above the paper", "below the paper")
    return SeedTest(metric, ours, paper, True, welch, _verdict(ours, welch, words))


def _between(metric: str, first: Sample, second: Sample) -> SeedTest:
    welch = welch_test(first, second)
    worse = second if second.mean is None else first
    words = (f"{first.name} higher", f"{second.name} higher")
    return SeedTest(metric, first, second, False, welch, _verdict(worse, welch, words))


def _verdict(sample: Sample, welch: Welch | None, words: tuple[str, str]) -> str:
    if welch is None:
        return sample.state if sample.mean is None else "too few seeds, or no spread"
    if welch.p >= LEVEL:
        return "no difference found"
    return words[0] if welch.difference > 0 else words[1]


HEADER = ("Metric", "First (seeds)", "Second (seeds)", "First minus second", "95 % interval", "p", "Verdict")


def tests_part(experiment: Experiment, tests: list[SeedTest]) -> Table:
    """The tests as a part of the table's document."""
    return Table(
        name=f"{experiment.name}-tests",
        title="Tests",
        columns=tuple(Column(heading, left=place < 3) for place, heading in enumerate(HEADER)),
        rows=tuple(Line(tuple(map(Cell, _printed(test)))) for test in tests),
        remarks=(
            "Welch's t-test on the seeds' values, two-sided, at the 5 % level, not corrected for the number of tests. "
            "The paper's side is its printed mean, standard deviation and number of seeds. "
            "No difference found is not equality: the interval shows what the seeds leave open.",
        ),
    )


def _printed(test: SeedTest) -> tuple[str, ...]:
    """The test's columns under :data:`HEADER`."""
    welch = test.welch
    numbers = (
        (ABSENT, ABSENT, ABSENT)
        if welch is None
        else (f"{welch.difference:+.2f}", f"{welch.low:+.2f} to {welch.high:+.2f}", _p(welch.p))
    )
    return (test.metric, _sample(test.first), _sample(test.second), *numbers, test.verdict)


def _sample(sample: Sample) -> str:
    return f"{sample.name} ({sample.count})"


def _p(value: float) -> str:
    return f"{value:.3f}" if value >= 0.001 else "< 0.001"


def seeds_document(experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper: PaperTable) -> Document:
    """The table with its tests below it; in the records their p-values stand beside it.

    Raises:
        As :func:`seed_tests`.
    """
    table = build_table(experiment, scale, results, paper)
    tests = list(seed_tests(experiment, scale, results, paper))
    part = metrics_part(table)
    return Document(
        table.name, part.caption, table.banner, (part, tests_part(experiment, tests)), _records(table, tests)
    )


def _records(table: MetricsTable, tests: list[SeedTest]) -> tuple[tuple[str, ...], ...]:
    """The table's lines with the p-values of each row's tests appended; empty where there is no test."""
    header, *lines = metrics_records(table)
    found = {(test.metric, test.first.name, test.second.name): test.welch for test in tests}
    names = [row.labels[0] for row in table.rows]
    records = []
    for line, name in zip(lines, names, strict=True):
        extra: dict[str, Welch | None] = {}
        for metric in (column.metric for column in table.columns):
            extra[f"{metric}_p_paper"] = found.get((metric, name, f"{name}, paper"))
            for other in names:
                extra[f"{metric}_p_{other}"] = found.get((metric, name, other), found.get((metric, other, name)))
        records.append((*line, *("" if welch is None else f"{welch.p:.3g}" for welch in extra.values())))
    return ((*header, *extra), *records)
