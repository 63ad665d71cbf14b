"""Our numbers against the paper's: a verdict per cell, per table and per claim, and one exit code over all of them.

Verdicts on a cell at a comparable scale, with d = ours - reference in percentage points, both rounded to the two
decimals printed. The reference is the paper's number or, where it prints a mean over seeds of the same network, that
mean. Chance explains what lies within the limit (:mod:`sadetr.reporting.decision`):

================  =============================================================
above             d > limit: better than the paper by more than chance
reached           -limit <= d <= limit
below             d < -limit
not reported      the paper gives no number (a curve of a figure, say)
missing           a seed of the row is not trained, not evaluated, or had no query to score
not comparable    the split has no labels here, or not for all of its queries
differs           published predictions: abs(d) > limit, in either direction
================  =============================================================

A table is "below" when its cells as a whole lie lower than chance explains, each of them "reached" or not. Verdicts on
the paper's claims are those of :mod:`sadetr.reporting.judgement`.

At every other scale a number of a run is "not comparable", with the reason, whatever its size. What published
predictions score here checks the scorer, not a training: it is compared at every scale with real queries, and must be
what their authors printed.
"""

import math
from collections.abc import Hashable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple, get_args

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Row
from sadetr.reporting.chance import Chance, Reference
from sadetr.reporting.claims import Claim
from sadetr.reporting.decision import NORMAL, Design, PlannedCell, design, table_statistic
from sadetr.reporting.judgement import JudgedClaim, judge_claims
from sadetr.reporting.paper import ROUNDING, PaperTable, PaperValue
from sadetr.reporting.requirements import compared_value, planned_spread
from sadetr.reporting.scores import Score, Scores

Verdict = Literal["above", "reached", "below", "differs", "not reported", "not comparable", "missing"]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FAILING = ("below", "differs")


@dataclass(frozen=True)
class ComparedCell:
    """One cell: numbers in percent, differences and limits in percentage points (None = there is none).

    ``kind`` says whether ours is of a run or of published predictions. ``reference`` is what ours is judged by.
    ``detectable`` is how far below it a cell must lie to be found with the power that ``tolerances.yaml`` names.
    ``reason`` says why a number is missing or not comparable, "" otherwise. ``required`` cells decide the exit code.
    """

    experiment: str
    row: str
    kind: Literal["trained", "rescored"]
    label: str
    split: str
    metric: str
    score: Score
    paper: PaperValue | None
    reference: Reference | None
    difference: float | None
    limit: float | None
    detectable: float | None
    verdict: Verdict
    reason: str
    required: bool

    @property
    def verdict_text(self) -> str:
        """The verdict with its reason."""
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict

    @property
    def fails(self) -> bool:
        """Whether the comparison fails for this cell."""
        return self.required and self.verdict in FAILING


@dataclass(frozen=True)
class ComparedTable:
    """All required cells of one table together.

    ``shift`` is the mean of their differences and ``detectable`` a loss in each of them that is found with the power
    that ``tolerances.yaml`` names, in percentage points; ``statistic`` and ``limit`` are in standard deviations.
    """

    experiment: str
    cells: int
    shift: float
    statistic: float
    limit: float
    detectable: float
    verdict: Literal["reached", "below"]

    @property
    def fails(self) -> bool:
        """Whether the comparison fails for this table."""
        return self.verdict == "below"


@dataclass(frozen=True)
class Comparison:
    """All cells that have a run or published predictions, in the order of the experiments.

    ``banner`` is empty at a comparable scale; ``tables`` holds those with required cells.
    """

    scale: str
    banner: str
    comparable: bool
    cells: tuple[ComparedCell, ...]
    tables: tuple[ComparedTable, ...] = ()
    claims: tuple[JudgedClaim, ...] = ()

    @property
    def counts(self) -> dict[str, int]:
        """Cells per verdict that occurs, in the order of :data:`VERDICTS`."""
        verdicts = [cell.verdict for cell in self.cells]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}


FAILED, INCOMPLETE = 1, 2


def exit_code(comparison: Comparison) -> int:
    """0 if all that is required holds; 1 if a required cell, a table or a claim fails; 2 if only runs are missing."""
    if any(judged.fails for judged in (*comparison.cells, *comparison.tables, *comparison.claims)):
        return FAILED
    return INCOMPLETE if any(cell.verdict == "missing" for cell in comparison.cells) else 0


class PlannedNumber(NamedTuple):
    """A cell of a trained row that the paper has a number for, before there is one of ours."""

    experiment: Experiment
    row: Row
    metric: str
    paper: PaperValue
    reference: Reference
    spread: float
    """Of one training, in percentage points."""

    @property
    def number(self) -> Hashable:
        """Equal for cells that show one number of ours beside one of the paper's."""
        return self.row.runs, self.experiment.split, self.row.checkpoint, self.metric, self.reference

    def difference_spread(self, ours: float, seeds: int) -> float:
        """Of the difference to the reference, if one of our trainings has the standard deviation ``ours``."""
        return math.sqrt(self.spread**2 / self.reference.seeds + ours**2 / seeds)

    def planned(self, score: Score | None = None) -> PlannedCell:
        """What the decision is about; with a ``score``, with the spread that our own seeds show where that is wider."""
        ours = self.spread if score is None or score.std is None else max(self.spread, score.std)
        networks = " ".join(map(str, self.row.runs))
        spread = self.difference_spread(ours, len(self.row.runs))
        return PlannedCell(self.experiment.name, networks, self.metric, self.number, spread)


@dataclass(frozen=True)
class Plan:
    """Everything about a comparison that is known before there are results: what is compared, and the limits."""

    experiments: tuple[tuple[Experiment, PaperTable | None], ...]
    scale: ScaleSettings
    chance: Chance
    cells: Mapping[tuple[str, str, str], PlannedNumber]
    """Experiment, row and metric -> a trained cell that the paper has a number for."""
    limits: Design
    claims: tuple[Claim, ...]


def plan(
    experiments: Sequence[tuple[Experiment, PaperTable | None]],
    scale: ScaleSettings,
    chance: Chance,
    claims: Sequence[Claim] = (),
) -> Plan:
    """Fix the limits of every cell and table.

    An experiment without paper numbers (None) counts for completeness alone.

    Raises:
        SettingsError: a metric's spread is not known, the paper lacks a row, or its number is of another split.
    """
    cells = {(cell.experiment.name, cell.row.key, cell.metric): cell for cell in _plans(experiments, chance)}
    settings = chance.settings
    limits = design(
        [cell.planned() for cell in cells.values() if scale.comparable and not cell.paper.doubtful],
        chance.correlation,
        cell_level=settings.levels.cells,
        table_level=settings.levels.tables,
        widest=settings.widest,
        power=settings.power,
    )
    return Plan(tuple(experiments), scale, chance, cells, limits, tuple(claims))


def judge(planned: Plan, results: Scores) -> Comparison:
    """Judge every cell that has a run or published predictions; predictions that are not there leave no cell.

    Raises:
        ResultsError: metrics are unreadable or belong to another run.
    """
    cells: list[ComparedCell] = []
    for experiment, table in planned.experiments:
        for row in experiment.rows:
            for metric in experiment.metrics if row.runs else ():
                score = results.score(row.runs, experiment.split, row.checkpoint, metric)
                cells.append(_trained_cell(experiment, row, metric, planned, score))
            for metric in experiment.metrics if row.rescored else ():
                score = results.rescored(row.rescored, metric)
                if score.state != "no file":
                    rescored = planned.chance.settings.rescored
                    cells.append(_rescored_cell(experiment, row, metric, table, score, rescored))
    scale, chance = planned.scale, planned.chance
    # How many queries generated data have is their own affair.
    spread = None if scale.data == "generated" else chance.spread
    # Two-sided, of which only a refutation can fail.
    claims = judge_claims(planned.claims, scale, results, spread, 2 * chance.settings.levels.claims)
    return Comparison(scale.name, scale.label, scale.comparable, tuple(cells), tuple(_tables(cells, planned)), claims)


def _plans(experiments: Sequence[tuple[Experiment, PaperTable | None]], chance: Chance) -> Iterator[PlannedNumber]:
    for experiment, table in experiments:
        for row in experiment.rows:
            for metric in experiment.metrics if row.runs else ():
                paper = compared_value(experiment, row, metric, table)
                if paper is not None:
                    reference = chance.reference(experiment, row, paper)
                    spread = planned_spread(experiment, row, reference, metric, chance)
                    yield PlannedNumber(experiment, row, metric, paper, reference, spread)


def _trained_cell(experiment: Experiment, row: Row, metric: str, planned: Plan, score: Score) -> ComparedCell:
    plan, scale, limits = planned.cells.get((experiment.name, row.key, metric)), planned.scale, planned.limits.cells
    difference = limit = detectable = None
    if plan is not None and scale.comparable:
        # A doubtful cell is shown beside the limit of all others.
        deviations = limits.get(plan.number, max(limits.values(), default=math.inf))
        spread = plan.planned(score).spread
        limit = deviations * spread + ROUNDING
        detectable = limit + NORMAL.inv_cdf(planned.chance.settings.power) * spread
        difference = _difference(score, plan.reference.value)
    verdict, reason = _verdict(score, scale, difference, limit)
    return _cell(
        experiment,
        row,
        kind="trained",
        metric=metric,
        score=score,
        paper=None if plan is None else plan.paper,
        reference=None if plan is None else plan.reference,
        difference=difference,
        limit=limit,
        detectable=detectable,
        verdict=verdict,
        reason=reason,
        required=limit is not None and not plan.paper.doubtful,
    )


def _rescored_cell(
    experiment: Experiment, row: Row, metric: str, table: PaperTable | None, score: Score, limit: float
) -> ComparedCell:
    paper = compared_value(experiment, row, metric, table)
    difference = None if paper is None else _difference(score, paper.value)
    if reason := unlabelled(score):
        verdict = "not comparable"
    elif score.mean is None:
        verdict, reason = "missing", score.state
    elif difference is None:
        verdict, reason = "not reported", ""
    else:
        verdict, reason = ("reached" if abs(difference) <= limit else "differs"), ""
    return _cell(
        experiment,
        row,
        kind="rescored",
        metric=metric,
        score=score,
        paper=paper,
        reference=None if paper is None else Reference(paper.value, paper.seeds or 1, experiment.name),
        difference=difference,
        limit=None if paper is None else limit,
        detectable=None,
        verdict=verdict,
        reason=reason,
        required=paper is not None and not paper.doubtful,
    )


def _cell(experiment: Experiment, row: Row, **fields: Any) -> ComparedCell:
    # A check mark stands for its column's name.
    labels = [name if row.labels[name] == "x" else row.labels[name] for name in experiment.label_columns]
    label = " ".join(label for label in labels if label)
    return ComparedCell(experiment=experiment.name, row=row.key, label=label, split=experiment.split, **fields)


def _difference(score: Score, reference: float) -> float | None:
    return None if score.mean is None else round(round(score.mean, 2) - reference, 2)


def _verdict(score: Score, scale: ScaleSettings, difference: float | None, limit: float | None) -> tuple[Verdict, str]:
    if score.mean is None and score.state != "no labels":
        return "missing", score.state
    if not score.complete:
        return "missing", f"{score.found} of {score.wanted} seeds"
    if not scale.comparable and score.mean is not None:
        return "not comparable", scale.label.partition(":")[0]
    if reason := unlabelled(score):
        return "not comparable", reason
    if difference is None or limit is None:
        return "not reported", ""
    if difference > limit:
        return "above", ""
    return ("reached" if difference >= -limit else "below"), ""


def unlabelled(score: Score) -> str:
    """Why a number is of other queries than the paper's; empty where every query has labels."""
    if score.state == "no labels":
        return score.state
    return f"labels of {score.labelled:.2f} % of the queries" if score.labelled < 100 else ""


def _tables(cells: Sequence[ComparedCell], planned: Plan) -> Iterator[ComparedTable]:
    """Verdicts on the tables, from what is there of their required cells."""
    for name, limit in planned.limits.tables.items():
        found = [
            (planned.cells[cell.experiment, cell.row, cell.metric].planned(cell.score), cell.difference)
            for cell in cells
            if cell.experiment == name and cell.required and cell.kind == "trained"
            if cell.verdict in ("above", "reached", "below")
        ]
        if found:
            statistic = table_statistic(found, planned.chance.correlation)
            yield ComparedTable(
                experiment=name,
                cells=len(found),
                shift=sum(difference for _, difference in found) / len(found),
                statistic=statistic,
                limit=limit,
                detectable=planned.limits.detectable[name],
                verdict="below" if statistic < -limit else "reached",
            )
