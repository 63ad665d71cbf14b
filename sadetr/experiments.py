"""Experiments: which run fills which row of which table or figure.

Two rows whose resolved settings are equal are one network and share one run, under the name of the first variant of
the method's file that resolves to it.
"""

import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, model_validator

from sadetr.configuration import ScaleSettings, load_method, load_scale, resolve, resolve_dataset
from sadetr.errors import SettingsError
from sadetr.layering import CONFIG, find, load_yaml, named_files, validate
from sadetr.settings import Record, RunSettings

SEED: int = RunSettings.model_fields["seed"].default
"""With which settings are compared."""


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


@dataclass(frozen=True, order=True)
class Predictions:
    """Name of a published prediction file, ``released_predictions/<setting>/<method>_<split>.jsonl``."""

    setting: str
    method: str
    split: str

    @property
    def name(self) -> str:
        """The file's name without its suffix."""
        return f"{self.method}_{self.split}"


@dataclass(frozen=True, order=True)
class PublishedLog:
    """Name of a published validation curve: a method of ``released_predictions/<setting>/convergence.csv``."""

    setting: str
    method: str


@dataclass(frozen=True)
class Row:
    """One row of a table or one curve of a figure; without runs it shows published numbers alone."""

    key: str
    labels: dict[str, str]
    runs: tuple[RunId, ...]
    checkpoint: str
    """``best``, ``clean`` or ``last``."""
    paper: str | None
    """Row of the paper's numbers; None where the paper has none."""
    rescored: Predictions | None = None
    """Published predictions whose scores stand beside the paper's number."""
    x: float | None = None
    """Place on the horizontal axis of a figure that has one point per row."""
    published_log: PublishedLog | None = None
    """Published validation curve that a figure shows."""


@dataclass(frozen=True)
class Experiment:
    """One table or figure: the paper's, or one of our own, which has no number."""

    name: str
    kind: Literal["table", "figure"]
    number: int | None
    layout: str
    """How it is rendered: a key of ``LAYOUTS`` in :mod:`sadetr.reporting.command`."""
    title: str
    split: str
    checkpoint: str
    metrics: tuple[str, ...]
    label_columns: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str
    part_of_all: bool = True
    """Whether the target ``all``, the gathered metrics and the comparison include it."""

    @property
    def caption(self) -> str:
        """Number, if it has one, and title."""
        return self.title if self.number is None else f"{self.kind.capitalize()} {self.number}: {self.title}"

    @property
    def has_paper_numbers(self) -> bool:
        """Whether its cells stand beside numbers of the paper, in ``config/paper/<name>.csv``."""
        return self.kind == "table" and bool(self.metrics) and any(row.paper is not None for row in self.rows)

    @property
    def runs(self) -> tuple[RunId, ...]:
        """Distinct runs, in row order."""
        return tuple(dict.fromkeys(run for row in self.rows for run in row.runs))

    @property
    def settings(self) -> tuple[str, ...]:
        """Distinct benchmark settings of the rows' runs and published predictions, in row order."""
        named = [entry.setting for row in self.rows for entry in (*row.runs, row.rescored) if entry is not None]
        return tuple(dict.fromkeys(named))

    @property
    def rescored(self) -> tuple[Predictions, ...]:
        """Published predictions of the rows, whether they are there or not."""
        return tuple(row.rescored for row in self.rows if row.rescored is not None)


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
    """Published prediction file, without its suffix: ``<method>_<the experiment's split>``."""
    published_log: str | None = None
    """Method of the published ``convergence.csv``."""
    x: float | None = None
    variant: str | None = None
    setting: str | None = None
    method: str | None = None
    seeds: list[int] | None = None


class ExperimentFields(Record):
    """An experiment file."""

    kind: Literal["table", "figure"]
    number: int | None = None
    """Its number in the paper; an experiment that has one is called ``<kind><number>``."""
    layout: str
    title: str
    part_of_all: bool = True
    keeps_seeds: bool = False
    """Whether its rows keep the seeds written here, whatever others are asked for: it is about seeds, or shows single
    runs."""
    split: str = ""
    checkpoint: Checkpoint = "best"
    metrics: list[str] = Field(default_factory=list)
    """Empty where no predictions are scored (a table of settings)."""
    label_columns: list[str]
    run: RunFields
    rows: Annotated[dict[str, RowFields], Field(min_length=1)]
    note: str = ""

    @model_validator(mode="after")
    def _metrics_need_a_split(self) -> "ExperimentFields":
        if self.metrics and not self.split:
            raise ValueError("metrics are scored on a split: add the key 'split'")
        return self


def experiment_names(config: Path = CONFIG) -> tuple[str, ...]:
    """Names of all experiments: tables, then figures, by number; those without a number after the others."""
    fields = {name: _read(name, config) for name in named_files("experiments", config)}

    def order(name: str) -> tuple[bool, bool, int, str]:
        number = fields[name].number
        return fields[name].kind != "table", number is None, number or 0, name

    return tuple(sorted(fields, key=order))


def experiment_name(kind: str, text: str) -> str:
    """Name of the experiment that a user calls ``text``: a number of the paper, or the name itself."""
    return f"{kind}{text}" if text.isdigit() else text


def _read(name: str, config: Path) -> ExperimentFields:
    path = find("experiments", f"{name}.yaml", config)
    fields = validate(ExperimentFields, load_yaml(path), path)
    if fields.number is not None and name != f"{fields.kind}{fields.number}":
        raise SettingsError(f"{path}: {fields.kind} {fields.number} belongs in {fields.kind}{fields.number}.yaml")
    return fields


def load_experiment(name: str, scale: ScaleSettings | str, config: Path = CONFIG) -> Experiment:
    """Read one experiment and map its rows to runs.

    Args:
        name: ``table4``, ``figure5`` and so on.
        scale: which rows happen to be the same network, and other seeds than the experiment's own.

    Raises:
        SettingsError: unknown experiment, variant, setting or key, or labels that do not fit the columns.
    """
    fields = _read(name, config)
    scale = load_scale(scale, config) if isinstance(scale, str) else scale
    scale_name = scale.reference
    seeds = None if fields.keeps_seeds else scale.seeds
    rows = []
    for key, row in fields.rows.items():
        place = f"{find('experiments', f'{name}.yaml', config)}: row {key!r}"
        if len(row.labels) != len(fields.label_columns):
            raise SettingsError(f"{place} has {len(row.labels)} labels for {len(fields.label_columns)} label columns")
        setting = row.setting or fields.run.setting
        runs = _runs(row, fields.run, seeds, scale_name, config)
        checkpoint = row.checkpoint or fields.checkpoint
        if runs and checkpoint not in (kept := resolve_dataset(setting, scale_name, config).checkpoints):
            raise SettingsError(
                f"{place}: setting {setting!r} keeps no checkpoint {checkpoint!r}; it has {', '.join(kept)}"
            )
        rows.append(
            Row(
                key,
                dict(zip(fields.label_columns, row.labels, strict=True)),
                runs,
                checkpoint=checkpoint,
                paper=None if row.paper == "none" else row.paper or key,
                rescored=_rescored(row.rescored, setting, fields.split, place),
                x=row.x,
                published_log=PublishedLog(setting, row.published_log) if row.published_log else None,
            )
        )
    shared = ("kind", "number", "layout", "title", "split", "checkpoint", "note", "part_of_all")
    values = {key: getattr(fields, key) for key in shared}
    return Experiment(
        name=name, metrics=tuple(fields.metrics), label_columns=tuple(fields.label_columns), rows=tuple(rows), **values
    )


def target_experiments(names: Sequence[str], scale: ScaleSettings) -> list[Experiment]:
    """The named experiments, by default those of the target ``all``.

    Raises:
        SettingsError: as :func:`load_experiment`.
    """
    loaded = [load_experiment(name, scale) for name in names or experiment_names()]
    return [experiment for experiment in loaded if names or experiment.part_of_all]


def _rescored(name: str | None, setting: str, split: str, place: str) -> Predictions | None:
    if name is None:
        return None
    predictions = Predictions(setting, name.removesuffix(f"_{split}"), split)
    if predictions.name != name or not predictions.method:
        raise SettingsError(f"{place}: rescored: {name!r} is not of split {split!r}; expected '<method>_{split}'")
    return predictions


def _runs(row: RowFields, shared: RunFields, chosen: list[int] | None, scale: str, config: Path) -> tuple[RunId, ...]:
    if row.variant is None:
        return ()
    setting, method = row.setting or shared.setting, row.method or shared.method
    seeds = chosen or row.seeds or shared.seeds
    return tuple(canonical(RunId(setting, method, row.variant, seed), scale, config) for seed in seeds)


@functools.cache
def canonical(run: RunId, scale: str, config: Path = CONFIG) -> RunId:
    """The run that stands for every run of the same network: the first declared variant with equal settings."""
    run_settings(run, scale, config)
    return dataclasses.replace(run, variant=_canonical(run.setting, run.method, run.variant, scale, config))


@functools.cache
def _canonical(setting: str, method: str, variant: str, scale: str, config: Path) -> str:
    """The first variant with the settings of ``variant``. No variant speaks of seeds."""
    network = _network(setting, method, variant, scale, config)
    candidates = load_method(method, config).variants
    return next(name for name in candidates if _network(setting, method, name, scale, config) == network)


@functools.cache
def _network(setting: str, method: str, variant: str, scale: str, config: Path) -> dict[str, Any]:
    """Everything that defines a trained network, with any seed."""
    return resolve(setting, method, variant, SEED, scale, config).identity()


def run_settings(run: RunId, scale: str, config: Path = CONFIG) -> RunSettings:
    """Resolved settings of a run."""
    return resolve(run.setting, run.method, run.variant, run.seed, scale, config)
