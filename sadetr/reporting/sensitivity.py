"""How much other readings of the paper move the full model: paired differences over seeds."""

import statistics
from dataclasses import dataclass

from sadetr.configuration import ScaleSettings
from sadetr.documents.model import Cell, Column, Document, Table
from sadetr.documents.model import Row as Line
from sadetr.experiments import Experiment, Row
from sadetr.reporting.metrics_document import decimal
from sadetr.reporting.requirements import reference_row
from sadetr.reporting.scores import ScaleResults, Score


@dataclass(frozen=True)
class Effect:
    """Mean and sample standard deviation of reading minus reference over common seeds, in percentage points.

    ``std`` is None with fewer than two seeds, ``mean`` with none.
    """

    mean: float | None
    std: float | None
    seeds: int


def paired_effect(reading: dict[int, float], reference: dict[int, float]) -> Effect:
    """Compare the values of equal seeds; a seed that one side lacks is left out."""
    differences = [reading[seed] - reference[seed] for seed in sorted(reading.keys() & reference.keys())]
    mean = statistics.fmean(differences) if differences else None
    std = statistics.stdev(differences) if len(differences) > 1 else None
    return Effect(mean, std, len(differences))


def sensitivity_document(experiment: Experiment, scale: ScaleSettings, results: ScaleResults) -> Document:
    """One row per reading: what the paper says, what was chosen, the alternative, and its effect on each metric.

    Raises:
        SettingsError: no row is called ``full``.
        ResultsError: a run's metrics are unreadable.
    """
    reference = reference_row(experiment)
    rows = [row for row in experiment.rows if row is not reference]
    baseline = _scores(experiment, reference, results)
    effects = {row.key: _effects(experiment, row, reference, results) for row in rows}
    lines = [_line(experiment, reference, [_score(score) for score in baseline])]
    for row in rows:
        found = zip(effects[row.key], _scores(experiment, row, results), strict=True)
        lines.append(_line(experiment, row, [_effect(effect, row, score.state) for effect, score in found]))
    labels = len(experiment.label_columns)
    headings = (*experiment.label_columns, *experiment.metrics)
    table = Table(
        name=experiment.name,
        title=experiment.title,
        number=experiment.number,
        columns=tuple(Column(heading, left=place < labels) for place, heading in enumerate(headings)),
        rows=tuple(lines),
        remarks=(
            f"{experiment.split} split, in percent. First row: mean ± sample standard deviation over seeds. Others: "
            "difference to the first row, paired by seed, mean ± standard deviation of the differences.",
            "An effect smaller than its spread is no evidence. The numbers refer to docs/interpretation.md.",
        ),
    )
    records = (
        _header(experiment),
        _baseline_record(reference, baseline, scale),
        *(_record(row, effects[row.key], scale) for row in rows),
    )
    return Document(experiment.name, experiment.caption, scale.label, (table,), records)


def _scores(experiment: Experiment, row: Row, results: ScaleResults) -> list[Score]:
    return [results.score(row.runs, experiment.split, row.checkpoint, metric) for metric in experiment.metrics]


def _effects(experiment: Experiment, row: Row, reference: Row, results: ScaleResults) -> list[Effect]:
    return [
        paired_effect(
            results.seed_values(row.runs, experiment.split, row.checkpoint, metric),
            results.seed_values(reference.runs, experiment.split, reference.checkpoint, metric),
        )
        for metric in experiment.metrics
    ]


def _line(experiment: Experiment, row: Row, texts: list[str]) -> Line:
    place = (("experiment", experiment.name), ("row", row.key))
    numbers = (
        Cell(text, role="ours", data=(*place, ("metric", metric)))
        for text, metric in zip(texts, experiment.metrics, strict=True)
    )
    return Line((*map(Cell, row.labels.values()), *numbers), place)


def _score(score: Score) -> str:
    if score.mean is None:
        return score.state
    text = f"{score.mean:.2f}" if score.std is None else f"{score.mean:.2f} ± {score.std:.2f}"
    return text if score.complete else f"{text} ({score.found}/{score.wanted} seeds)"


def _effect(effect: Effect, row: Row, state: str) -> str:
    if effect.mean is None:
        return "no labels" if state == "no labels" else "not run"
    text = f"{effect.mean:+.2f}" if effect.std is None else f"{effect.mean:+.2f} ± {effect.std:.2f}"
    return text if effect.seeds == len(row.runs) else f"{text} ({effect.seeds}/{len(row.runs)} seeds)"


def _header(experiment: Experiment) -> tuple[str, ...]:
    numbers = (f"{metric}{suffix}" for metric in experiment.metrics for suffix in ("", "_std", "_seeds"))
    return ("row", *experiment.label_columns, "value", *numbers, "comparability")


def _baseline_record(row: Row, scores: list[Score], scale: ScaleSettings) -> tuple[str, ...]:
    numbers = ((decimal(score.mean), decimal(score.std), str(score.found)) for score in scores)
    flat = (text for cell in numbers for text in cell)
    return (row.key, *row.labels.values(), "score", *flat, scale.label or "comparable")


def _record(row: Row, effects: list[Effect], scale: ScaleSettings) -> tuple[str, ...]:
    numbers = ((decimal(effect.mean), decimal(effect.std), str(effect.seeds)) for effect in effects)
    flat = (text for cell in numbers for text in cell)
    return (row.key, *row.labels.values(), "effect", *flat, scale.label or "comparable")
