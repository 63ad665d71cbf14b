"""Our numbers against the paper's: a verdict per cell, and one exit code over all of them.

Verdicts at a comparable scale, with d = ours - paper in percentage points, both rounded to the two decimals printed:

================  =============================================================
above             d > tolerance: better than the paper by more than chance
reached           0 <= d <= tolerance
within tolerance  -tolerance <= d < 0
below             d < -tolerance
not reported      the paper gives no number (a curve of a figure, say)
missing           a seed of the row is not trained, not evaluated, or had no query to score
================  =============================================================

At every other scale a number that is there is "not comparable", with the reason, whatever its size.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from sadetr.configuration import ScaleSettings
from sadetr.errors import SettingsError
from sadetr.experiments import Experiment, Row
from sadetr.reporting.markup import csv_text, escape_html, escape_markdown, html_page, markdown_banner, markdown_grid
from sadetr.reporting.metrics import ScaleResults, Score
from sadetr.reporting.paper import PaperTable, PaperValue
from sadetr.reporting.tables import ABSENT

VERDICTS = ("above", "reached", "within tolerance", "below", "not reported", "not comparable", "missing")
Verdict = Literal["above", "reached", "within tolerance", "below", "not reported", "not comparable", "missing"]

FAILING = ("below", "missing")


@dataclass(frozen=True)
class ComparedCell:
    """One cell: ours and the paper's in percent, difference and tolerance in percentage points (None = there is none).

    ``reason`` says why a number is missing or not comparable, "" otherwise.
    """

    experiment: str
    row: str
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
    """All cells that have a run, in the order of the experiments; ``banner`` is empty at a comparable scale."""

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
    tolerances: dict[str, float],
) -> Comparison:
    """Judge every cell that has a run; an experiment without paper numbers (None) counts for completeness.

    Raises:
        SettingsError: a metric has no tolerance, the paper lacks a row, or its number is of another split.
        ResultsError: a run's metrics are unreadable or belong to another run.
    """
    cells = [
        _compare_cell(experiment, row, metric, paper, scale, results.score(experiment, row, metric), tolerances)
        for experiment, paper in experiments
        for row in experiment.rows
        if row.runs
        for metric in experiment.metrics
    ]
    return Comparison(scale.name, scale.label, scale.comparable, tuple(cells))


def _compare_cell(
    experiment: Experiment,
    row: Row,
    metric: str,
    table: PaperTable | None,
    scale: ScaleSettings,
    score: Score,
    tolerances: dict[str, float],
) -> ComparedCell:
    paper = _paper_value(experiment, row, metric, table)
    tolerance = difference = None
    if table is not None and paper is not None:
        if metric not in tolerances:
            path = table.path.with_name("tolerances.yaml")
            raise SettingsError(f"{path}: no tolerance for metric {metric!r}; add one with its reason")
        tolerance = tolerances[metric]
        if scale.comparable and score.mean is not None:
            difference = round(round(score.mean, 2) - paper.value, 2)
    verdict, reason = _verdict(score, scale, difference, tolerance)
    # A check mark stands for its column's name.
    labels = [name if row.labels[name] == "x" else row.labels[name] for name in experiment.label_columns]
    return ComparedCell(
        experiment=experiment.name,
        row=row.key,
        label=" ".join(label for label in labels if label),
        split=experiment.split,
        metric=metric,
        score=score,
        paper=paper,
        difference=difference,
        tolerance=tolerance,
        verdict=verdict,
        reason=reason,
    )


def _paper_value(experiment: Experiment, row: Row, metric: str, table: PaperTable | None) -> PaperValue | None:
    """The paper's number, None where it reports none."""
    if table is None or (paper := table.of(row, metric)).value is None:
        return None
    if paper.split != experiment.split:
        raise SettingsError(
            f"{table.path}: {row.key},{metric} is a number of split {paper.split!r}, but {experiment.name} scores "
            f"{experiment.split!r}; correct one of the two"
        )
    return paper


def _verdict(
    score: Score, scale: ScaleSettings, difference: float | None, tolerance: float | None
) -> tuple[Verdict, str]:
    if score.mean is None:
        return "missing", score.state
    if not score.complete:
        return "missing", f"{score.found} of {score.wanted} seeds"
    if not scale.comparable:
        return "not comparable", scale.label.partition(":")[0]
    if difference is None or tolerance is None:
        return "not reported", ""
    if difference > tolerance:
        return "above", ""
    if difference >= 0:
        return "reached", ""
    return ("within tolerance", "") if difference >= -tolerance else ("below", "")


def comparison_csv(comparison: Comparison) -> str:
    """One line per cell, for programs: two decimals, empty where there is no number."""
    header = ["experiment", "row", "label", "split", "metric", "ours", "ours_std", "seeds"]
    header += ["paper", "paper_std", "difference", "tolerance", "verdict", "reason", "note"]
    lines = [header]
    for cell in comparison.cells:
        score, paper = cell.score, cell.paper
        line = [cell.experiment, cell.row, cell.label, cell.split, cell.metric]
        line += [_decimal(score.mean), _decimal(score.std), f"{score.found}/{score.wanted}"]
        line += [_decimal(paper.value if paper else None), _decimal(paper.std if paper else None)]
        line += [_decimal(cell.difference), _decimal(cell.tolerance), cell.verdict, cell.reason]
        lines.append([*line, paper.note if paper else ""])
    return csv_text(lines)


HEADER = ("row", "metric", "ours", "paper", "difference", "tolerance", "verdict")


def printed(cell: ComparedCell) -> tuple[str, ...]:
    """The cell's columns under :data:`HEADER`, as text."""
    ours = _decimal(cell.score.mean) or ABSENT
    if cell.score.std is not None:
        ours += f" ± {cell.score.std:.2f}"
    paper = _decimal(cell.paper.value if cell.paper else None) or ABSENT
    difference = ABSENT if cell.difference is None else f"{cell.difference:+.2f}"
    tolerance = ABSENT if cell.tolerance is None else f"{cell.tolerance:.2f}"
    return (cell.row, cell.metric, ours, paper, difference, tolerance, cell.verdict_text)


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"


def summary(comparison: Comparison) -> str:
    """One sentence: how many cells have which verdict."""
    counts = ", ".join(f"{count} {verdict}" for verdict, count in comparison.counts.items())
    return f"Scale {comparison.scale}, {len(comparison.cells)} cells: {counts or 'none'}."


def by_experiment(comparison: Comparison) -> dict[str, list[ComparedCell]]:
    """The cells of each table and figure."""
    names = dict.fromkeys(cell.experiment for cell in comparison.cells)
    return {name: [cell for cell in comparison.cells if cell.experiment == name] for name in names}


def comparison_markdown(comparison: Comparison) -> str:
    """A document with one grid per table or figure."""
    parts = ["# Comparison with the paper", *markdown_banner(comparison.banner), escape_markdown(summary(comparison))]
    for name, cells in by_experiment(comparison).items():
        rows = [[escape_markdown(text) for text in printed(cell)] for cell in cells]
        parts += [f"## {escape_markdown(name)} ({cells[0].split})", markdown_grid(HEADER, rows, left=2)]
    return "\n\n".join(parts) + "\n"


_CLASSES = {"above": "good", "reached": "good", "within tolerance": "good", "below": "bad", "missing": "bad"}


def comparison_html(comparison: Comparison) -> str:
    """A self-contained page."""
    body = ["<h1>Comparison with the paper</h1>", f"<p>{escape_html(summary(comparison))}</p>"]
    for name, cells in by_experiment(comparison).items():
        head = "".join(f"<th>{heading}</th>" for heading in HEADER)
        caption = f"<caption>{escape_html(name)} ({escape_html(cells[0].split)})</caption>"
        body += ['<div class="scroll"><table>', caption, f"<thead><tr>{head}</tr></thead>", "<tbody>"]
        for cell in cells:
            *texts, verdict = map(escape_html, printed(cell))
            style = _CLASSES.get(cell.verdict, "")
            row = "".join(f"<td>{text}</td>" for text in texts) + f'<td class="{style}">{verdict}</td>'
            body.append(f"<tr>{row}</tr>")
        body += ["</tbody>", "</table></div>"]
    return html_page("Comparison with the paper", comparison.banner, body)
