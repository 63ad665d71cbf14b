"""What a run is: the rows that it fills, its metrics beside the paper's. Free of torch."""

from dataclasses import dataclass

from sadetr.errors import SettingsError
from sadetr.experiments import Experiment, Row, RunId, experiment_names, load_experiment
from sadetr.reporting.paper import PaperValue, load_paper_table
from sadetr.reporting.scores import ScaleResults, Score

METRICS = ("R1@0.3", "R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "mIoU", "HD_mAP", "HIT@1")
"""Shown of a run that was not asked for as a row."""


@dataclass(frozen=True)
class Use:
    """A row of a table or figure that a run fills."""

    experiment: Experiment
    row: Row


@dataclass(frozen=True)
class MetricLine:
    """One metric: the paper's number, if any, and ours per checkpoint."""

    split: str
    metric: str
    paper: PaperValue | None
    scores: dict[str, Score]


def find_row(name: str, key: str, scale: str) -> Use:
    """The row ``key`` of the experiment ``name``.

    Raises:
        SettingsError: no such experiment or row.
    """
    known = experiment_names()
    if name not in known:
        raise SettingsError(f"no experiment {name!r}; known: {', '.join(known)}")
    experiment = load_experiment(name, scale)
    for row in experiment.rows:
        if row.key == key:
            return Use(experiment, row)
    raise SettingsError(f"{name} has no row {key!r}; it has {', '.join(row.key for row in experiment.rows)}")


def uses_of(run: RunId, scale: str) -> list[Use]:
    """Every row that ``run`` fills, alone or with other seeds."""
    experiments = [load_experiment(name, scale) for name in experiment_names()]
    return [Use(experiment, row) for experiment in experiments for row in experiment.rows if run in row.runs]


def row_metrics(use: Use, results: ScaleResults, checkpoints: tuple[str, ...]) -> list[MetricLine]:
    """The row's metrics as its table shows them, for every checkpoint."""
    split, runs = use.experiment.split, use.row.runs
    return [
        MetricLine(split, metric, _paper(use, metric), _scores(runs, split, metric, results, checkpoints))
        for metric in use.experiment.metrics
    ]


def run_metrics(
    run: RunId, uses: list[Use], results: ScaleResults, splits: list[str], checkpoints: tuple[str, ...]
) -> list[MetricLine]:
    """Everything that is reported of one run; the paper's number is that of the first row that has one."""
    lines = []
    for split in splits:
        for metric in METRICS:
            values = (_paper(use, metric) for use in uses if use.experiment.split == split and len(use.row.runs) == 1)
            paper = next((value for value in values if value is not None), None)
            line = MetricLine(split, metric, paper, _scores((run,), split, metric, results, checkpoints))
            known = any(score.state in ("scored", "no labels") for score in line.scores.values())
            if known or paper is not None:
                lines.append(line)
    return lines


def _scores(
    runs: tuple[RunId, ...], split: str, metric: str, results: ScaleResults, checkpoints: tuple[str, ...]
) -> dict[str, Score]:
    return {name: results.score(runs, split, name, metric) for name in checkpoints}


def _paper(use: Use, metric: str) -> PaperValue | None:
    if use.experiment.kind != "table" or use.row.paper is None or metric not in use.experiment.metrics:
        return None
    value = load_paper_table(use.experiment.name).get(use.row.paper, metric)
    return value if value.value is not None else None
