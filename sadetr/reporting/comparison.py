"""Our numbers against the paper's: a verdict per cell, and one exit code over all of them.

Verdicts at a comparable scale, with d = ours - paper in percentage points, both rounded to the two decimals printed:

================  =============================================================
above             d > tolerance: better than the paper by more than chance
reached           0 <= d <= tolerance
within tolerance  -tolerance <= d < 0
below             d < -tolerance
not reported      the paper gives no number (a curve of a figure, say)
missing           a seed of the row is not trained, not evaluated, or had no query to score
not comparable    the split has no labels here, or not for all of its queries
differs           published predictions: abs(d) > tolerance, in either direction
================  =============================================================

At every other scale a number of a run is "not comparable", with the reason, whatever its size. What published
predictions score here checks the scorer, not a training: it is compared at every scale with real queries, and must be
what their authors printed.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Row
from sadetr.reporting.metrics import ScaleResults, Score
from sadetr.reporting.paper import PaperTable, PaperValue, Tolerances
from sadetr.reporting.requirements import compared_value, needed_tolerance

Verdict = Literal[
    "above", "reached", "within tolerance", "below", "differs", "not reported", "not comparable", "missing"
]
VERDICTS: tuple[Verdict, ...] = get_args(Verdict)
FAILING = ("below", "differs", "missing")


@dataclass(frozen=True)
class ComparedCell:
    """One cell: ours and the paper's in percent, difference and tolerance in percentage points (None = there is none).

    ``kind`` says whether ours is of a run or of published predictions. ``reason`` says why a number is missing or not
    comparable, "" otherwise.
    """

    experiment: str
    row: str
    kind: Literal["trained", "rescored"]
    label: str
    split: str
    metric: str
    score: Score
    paper: PaperValue | None
    difference: float | None
    tolerance: float | None
    verdict: Verdict
    reason: str

    @property
    def verdict_text(self) -> str:
        """The verdict with its reason."""
        return f"{self.verdict}: {self.reason}" if self.reason else self.verdict


@dataclass(frozen=True)
class Comparison:
    """All cells that have a run or published predictions, in the order of the experiments.

    ``banner`` is empty at a comparable scale.
    """

    scale: str
    banner: str
    comparable: bool
    cells: tuple[ComparedCell, ...]

    @property
    def counts(self) -> dict[str, int]:
        """Cells per verdict that occurs, in the order of :data:`VERDICTS`."""
        verdicts = [cell.verdict for cell in self.cells]
        return {verdict: verdicts.count(verdict) for verdict in VERDICTS if verdict in verdicts}


def exit_code(comparison: Comparison) -> int:
    """0 if nothing is missing and, where numbers may be compared, nothing lies below the paper; 1 otherwise."""
    return int(any(cell.verdict in FAILING for cell in comparison.cells))


def compare(
    experiments: Sequence[tuple[Experiment, PaperTable | None]],
    scale: ScaleSettings,
    results: ScaleResults,
    tolerances: Tolerances,
) -> Comparison:
    """Judge every cell that has a run or published predictions.

    An experiment without paper numbers (None) counts for completeness; published predictions that are not there leave
    no cell.

    Raises:
        SettingsError: a metric has no tolerance, the paper lacks a row, or its number is of another split.
        ResultsError: metrics are unreadable or belong to another run.
    """
    cells = []
    for experiment, table in experiments:
        for row in experiment.rows:
            for metric in experiment.metrics if row.runs else ():
                score = results.score(row.runs, experiment.split, row.checkpoint, metric)
                cells.append(_trained_cell(experiment, row, metric, table, scale, score, tolerances))
            for metric in experiment.metrics if row.rescored else ():
                score = results.rescored(row.rescored, metric)
                if score.state != "no file":
                    cells.append(_rescored_cell(experiment, row, metric, table, score, tolerances.rescored))
    return Comparison(scale.name, scale.label, scale.comparable, tuple(cells))


def _trained_cell(
    experiment: Experiment,
    row: Row,
    metric: str,
    table: PaperTable | None,
    scale: ScaleSettings,
    score: Score,
    tolerances: Tolerances,
) -> ComparedCell:
    paper = compared_value(experiment, row, metric, table)
    tolerance = None
    if table is not None and paper is not None:
        tolerance = needed_tolerance(row.runs[0].setting, metric, table, tolerances)
    difference = _difference(score, paper) if scale.comparable else None
    verdict, reason = _verdict(score, scale, difference, tolerance)
    return _cell(
        experiment,
        row,
        kind="trained",
        metric=metric,
        score=score,
        paper=paper,
        difference=difference,
        tolerance=tolerance,
        verdict=verdict,
        reason=reason,
    )


def _rescored_cell(
    experiment: Experiment, row: Row, metric: str, table: PaperTable | None, score: Score, tolerance: float
) -> ComparedCell:
    paper = compared_value(experiment, row, metric, table)
    difference = _difference(score, paper)
    if reason := unlabelled(score):
        verdict = "not comparable"
    elif score.mean is None:
        verdict, reason = "missing", score.state
    elif difference is None:
        verdict, reason = "not reported", ""
    else:
        verdict, reason = ("reached" if abs(difference) <= tolerance else "differs"), ""
    return _cell(
        experiment,
        row,
        kind="rescored",
        metric=metric,
        score=score,
        paper=paper,
        difference=difference,
        tolerance=None if paper is None else tolerance,
        verdict=verdict,
        reason=reason,
    )


def _cell(experiment: Experiment, row: Row, **fields: Any) -> ComparedCell:
    # A check mark stands for its column's name.
    labels = [name if row.labels[name] == "x" else row.labels[name] for name in experiment.label_columns]
    label = " ".join(label for label in labels if label)
    return ComparedCell(experiment=experiment.name, row=row.key, label=label, split=experiment.split, **fields)


def _difference(score: Score, paper: PaperValue | None) -> float | None:
    if score.mean is None or paper is None:
        return None
    return round(round(score.mean, 2) - paper.value, 2)


def _verdict(
    score: Score, scale: ScaleSettings, difference: float | None, tolerance: float | None
) -> tuple[Verdict, str]:
    if score.mean is None and score.state != "no labels":
        return "missing", score.state
    if not score.complete:
        return "missing", f"{score.found} of {score.wanted} seeds"
    if not scale.comparable and score.mean is not None:
        return "not comparable", scale.label.partition(":")[0]
    if reason := unlabelled(score):
        return "not comparable", reason
    if difference is None or tolerance is None:
        return "not reported", ""
    if difference > tolerance:
        return "above", ""
    if difference >= 0:
        return "reached", ""
    return ("within tolerance", "") if difference >= -tolerance else ("below", "")


def unlabelled(score: Score) -> str:
    """Why a number is of other queries than the paper's; empty where every query has labels."""
    if score.state == "no labels":
        return score.state
    return f"labels of {score.labelled:.2f} % of the queries" if score.labelled < 100 else ""
