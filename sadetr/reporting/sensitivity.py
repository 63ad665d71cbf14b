"""How much other readings of the paper move the full model: paired differences over seeds."""

import statistics
from dataclasses import dataclass

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Row
from sadetr.reporting.grids import Grid
from sadetr.reporting.metrics import ScaleResults, Score
from sadetr.reporting.requirements import reference_row


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


def sensitivity_table(experiment: Experiment, scale: ScaleSettings, results: ScaleResults) -> Grid:
    """One row per reading: what the paper says, what was chosen, the alternative, and its effect on each metric.

    Raises:
        SettingsError: no row is called ``full``.
        ResultsError: a run's metrics are unreadable.
    """
    reference = reference_row(experiment)
    rows = {row.key: row for row in experiment.rows if row is not reference}
    baseline = [
        results.score(reference.runs, experiment.split, reference.checkpoint, metric) for metric in experiment.metrics
    ]
    effects = {
        key: [
            paired_effect(
                results.seed_values(row.runs, experiment.split, row.checkpoint, metric),
                results.seed_values(reference.runs, experiment.split, reference.checkpoint, metric),
            )
            for metric in experiment.metrics
        ]
        for key, row in rows.items()
    }
    cells = [(*reference.labels.values(), *map(_score, baseline))]
    for key, row in rows.items():
        scores = (results.score(row.runs, experiment.split, row.checkpoint, each) for each in experiment.metrics)
        states = [score.state for score in scores]
        found = zip(effects[key], states, strict=True)
        cells.append((*row.labels.values(), *(_effect(each, row, state) for each, state in found)))
    return Grid(
        name=experiment.name,
        caption=experiment.caption,
        number=experiment.number,
        banner=scale.label,
        header=(*experiment.label_columns, *experiment.metrics),
        rows=tuple(cells),
        remarks=(
            f"{experiment.split} split, in percent. First row: mean ± sample standard deviation over seeds. Others: "
            "difference to the first row, paired by seed, mean ± standard deviation of the differences.",
            "An effect smaller than its spread is no evidence. The numbers refer to docs/interpretation.md.",
        ),
        records=(
            _header(experiment),
            _baseline_record(reference, baseline, scale),
            *(_record(row, effects[key], scale) for key, row in rows.items()),
        ),
        left=len(experiment.label_columns),
    )


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
    numbers = ((_decimal(score.mean), _decimal(score.std), str(score.found)) for score in scores)
    flat = (text for cell in numbers for text in cell)
    return (row.key, *row.labels.values(), "score", *flat, scale.label or "comparable")


def _record(row: Row, effects: list[Effect], scale: ScaleSettings) -> tuple[str, ...]:
    numbers = ((_decimal(effect.mean), _decimal(effect.std), str(effect.seeds)) for effect in effects)
    flat = (text for cell in numbers for text in cell)
    return (row.key, *row.labels.values(), "effect", *flat, scale.label or "comparable")


def _decimal(value: float | None) -> str:
    return "" if value is None else f"{value:.2f}"
