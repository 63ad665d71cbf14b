"""Experiments: which run fills which row of which table or figure.

Two rows whose resolved settings are equal are one network and share one run, under the name of the first variant of
the method's file that resolves to it.
"""

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from sadetr.configuration import (
    CONFIG,
    ScaleSettings,
    find,
    load_method,
    load_yaml,
    named_files,
    resolve,
    validate,
)
from sadetr.errors import SettingsError
from sadetr.settings import Record, RunSettings


@dataclass(frozen=True, order=True)
class RunId:
    """Name of one training: benchmark setting, method, variant and seed."""

    setting: str
    method: str
    variant: str
    seed: int

    @property
    def folder(self) -> str:
        """Path below ``results/<scale>/runs``."""
        return f"{self.setting}/{self.method}/{self.variant}/seed{self.seed}"

    def __str__(self) -> str:
        return self.folder

    @classmethod
    def parse(cls, text: str) -> "RunId":
        """Inverse of :attr:`folder`."""
        parts = text.strip("/").split("/")
        if len(parts) != 4 or not parts[3].removeprefix("seed").isdigit() or not parts[3].startswith("seed"):
            raise SettingsError(f"run {text!r}: expected <setting>/<method>/<variant>/seed<k>")
        return cls(parts[0], parts[1], parts[2], int(parts[3].removeprefix("seed")))


@dataclass(frozen=True)
class Row:
    """One row of a table or one curve of a figure; without runs it shows the paper's numbers alone."""

    key: str
    labels: dict[str, str]
    runs: tuple[RunId, ...]
    checkpoint: str
    """``best``, ``clean`` or ``last``."""
    paper: str | None
    """Row of the paper's numbers; None where the paper has none."""
    rescored: str | None = None
    """Published prediction file of this row, below ``data_root/released_predictions/<setting>/``."""
    x: float | None = None
    """Place on the horizontal axis of a figure that has one point per row."""


@dataclass(frozen=True)
class Experiment:
    """One table or figure of the paper."""

    name: str
    kind: Literal["table", "figure"]
    number: int
    layout: str
    """How it is rendered: a key of ``LAYOUTS`` in :mod:`sadetr.reporting.command`."""
    title: str
    split: str
    checkpoint: str
    metrics: tuple[str, ...]
    label_columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str

    @property
    def runs(self) -> tuple[RunId, ...]:
        """Distinct runs, in row order."""
        return tuple(dict.fromkeys(run for row in self.rows for run in row.runs))


class RunFields(Record):
    """What the rows of an experiment have in common."""

    setting: str
    method: str
    seeds: Annotated[list[int], Field(min_length=1)]


Checkpoint = Literal["best", "clean", "last"]


class RowFields(Record):
    """One row; keys that are absent come from the experiment. Without a variant the row has no run."""

    labels: list[str]
    checkpoint: Checkpoint | None = None
    paper: str | None = None
    """Row of the paper's numbers that it is compared with: its own key by default, ``none`` for no comparison."""
    rescored: str | None = None
    x: float | None = None
    variant: str | None = None
    setting: str | None = None
    method: str | None = None
    seeds: list[int] | None = None


class ExperimentFields(Record):
    """An experiment file."""

    kind: Literal["table", "figure"]
    number: int
    layout: str
    title: str
    split: str
    checkpoint: Checkpoint = "best"
    metrics: Annotated[list[str], Field(min_length=1)]
    label_columns: list[str]
    run: RunFields
    rows: Annotated[dict[str, RowFields], Field(min_length=1)]
    note: str = ""


def experiment_names(config: Path = CONFIG) -> tuple[str, ...]:
    """Names of all experiments: tables, then figures, by number."""
    fields = {name: _read(name, config) for name in named_files("experiments", config)}
    return tuple(sorted(fields, key=lambda name: (fields[name].kind != "table", fields[name].number)))


def _read(name: str, config: Path) -> ExperimentFields:
    path = find("experiments", f"{name}.yaml", config)
    return validate(ExperimentFields, load_yaml(path), path)


def load_experiment(name: str, scale: ScaleSettings | str, config: Path = CONFIG) -> Experiment:
    """Read one experiment and map its rows to runs.

    Args:
        name: ``table4``, ``figure5`` and so on.
        scale: decides nothing but which rows happen to be the same network.

    Raises:
        SettingsError: unknown experiment, variant, setting or key, or labels that do not fit the columns.
    """
    fields = _read(name, config)
    scale_name = scale if isinstance(scale, str) else scale.reference
    rows = []
    for key, row in fields.rows.items():
        if len(row.labels) != len(fields.label_columns):
            raise SettingsError(
                f"{find('experiments', f'{name}.yaml', config)}: row {key!r} has {len(row.labels)} labels for "
                f"{len(fields.label_columns)} label columns"
            )
        labels = dict(zip(fields.label_columns, row.labels, strict=True))
        rows.append(
            Row(
                key,
                labels,
                _runs(row, fields.run, scale_name, config),
                checkpoint=row.checkpoint or fields.checkpoint,
                paper=None if row.paper == "none" else row.paper or key,
                rescored=row.rescored,
                x=row.x,
            )
        )
    shared = ("kind", "number", "layout", "title", "split", "checkpoint", "note")
    values = {key: getattr(fields, key) for key in shared}
    return Experiment(
        name=name, metrics=tuple(fields.metrics), label_columns=tuple(fields.label_columns), rows=tuple(rows), **values
    )


def _runs(row: RowFields, shared: RunFields, scale: str, config: Path) -> tuple[RunId, ...]:
    if row.variant is None:
        return ()
    setting, method = row.setting or shared.setting, row.method or shared.method
    seeds = row.seeds or shared.seeds
    return tuple(canonical(RunId(setting, method, row.variant, seed), scale, config) for seed in seeds)


@functools.cache
def canonical(run: RunId, scale: str, config: Path = CONFIG) -> RunId:
    """The run that stands for every run of the same network: the first declared variant with equal settings."""
    identity = run_settings(run, scale, config).identity()
    for variant in load_method(run.method, config).variants:
        candidate = RunId(run.setting, run.method, variant, run.seed)
        if run_settings(candidate, scale, config).identity() == identity:
            return candidate
    raise AssertionError(f"{run} is among its own method's variants")


def run_settings(run: RunId, scale: str, config: Path = CONFIG) -> RunSettings:
    """Resolved settings of a run."""
    return resolve(run.setting, run.method, run.variant, run.seed, scale, config)
