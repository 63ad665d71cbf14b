"""What a run is: its settings against the full model's, its state, its metrics beside the paper's. Free of torch."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from sadetr.configuration import load_method, resolve_origins
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import (
    Experiment,
    Row,
    RunId,
    canonical,
    experiment_names,
    load_experiment,
    run_settings,
)
from sadetr.installation import ROOT
from sadetr.layering import Origins
from sadetr.provenance import code_fingerprint, config_fingerprint
from sadetr.reporting.paper import PaperValue, load_paper_table
from sadetr.reporting.scores import ScaleResults, Score

DEFAULT = "default"
"""Origin of a value that no file sets."""
METRICS = ("R1@0.3", "R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "mIoU", "HD_mAP", "HIT@1")
"""Shown of a run that was not asked for as a row."""


@dataclass(frozen=True)
class Use:
    """A row of a table or figure that a run fills."""

    experiment: Experiment
    row: Row


@dataclass(frozen=True)
class Difference:
    """A key of the settings whose value is not the full model's, with the files that say so."""

    key: str
    value: Any
    origin: str
    full: Any
    full_origin: str


@dataclass(frozen=True)
class RunState:
    """How far a run is."""

    run: RunId
    state: str
    """``trained``, ``not evaluated``, ``unfinished`` or ``not trained``."""
    provenance: dict[str, Any]
    """What a trained run says of itself; empty otherwise."""
    outdated: tuple[str, ...]
    """What has changed since it was trained: ``code``, ``settings``."""


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


def full_model(run: RunId, scale: str) -> RunId:
    """The full method with the run's setting and seed: its method file's first variant."""
    variant = next(iter(load_method(run.method).variants))
    return canonical(replace(run, variant=variant), scale)


def differences(run: RunId, scale: str) -> list[Difference]:
    """Settings of ``run`` that are not the full model's, by key."""
    other = full_model(run, scale)
    ours, theirs = (dict(_leaves(run_settings(each, scale).identity())) for each in (run, other))
    origins = [resolve_origins(each.setting, each.method, each.variant, scale) for each in (run, other)]
    return [
        Difference(
            ".".join(location), ours.get(location), _origin(origins[0], location), theirs.get(location), other_origin
        )
        for location in sorted(ours.keys() | theirs.keys())
        if ours.get(location) != theirs.get(location)
        for other_origin in [_origin(origins[1], location)]
    ]


def _leaves(value: Any, location: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Values that are no mapping, with the keys that lead there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*location, key))
    else:
        yield location, value


def _origin(origins: Origins, location: tuple) -> str:
    found = origins.layer(location)
    if found is None:
        return DEFAULT
    path, section = found
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{shown}: {'.'.join(map(str, section))}" if section else str(shown)


def state_of(run: RunId, results: ScaleResults, scale: str) -> RunState:
    """How far ``run`` is, and whether code or settings have changed since.

    Raises:
        ResultsError: its provenance cannot be read.
    """
    folder = results.layout.run(run)
    if not folder.provenance.exists():
        return RunState(run, "unfinished" if folder.state.exists() else "not trained", {}, ())
    provenance = _read_json(folder.provenance)
    now = {
        "code": ("code_fingerprint", code_fingerprint("sadetr.training.run", load_method(run.method).module)),
        "settings": ("config_fingerprint", config_fingerprint(run_settings(run, scale))),
    }
    outdated = tuple(name for name, (key, value) in now.items() if provenance.get(key) != value)
    return RunState(run, "trained" if folder.metrics.exists() else "not evaluated", provenance, outdated)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"{path}: cannot be read ({error}); delete the run's folder and train it again") from error


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
