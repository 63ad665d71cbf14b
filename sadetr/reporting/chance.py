"""What chance alone does to a number: the spread of one training, and what a number of the paper is really worth.

The constants stand in ``config/paper/tolerances.yaml``, each with its reason. Free of torch and of results: everything
here is known before anything is trained.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, NamedTuple

from pydantic import Field

from sadetr.configuration import ScaleSettings
from sadetr.errors import SettingsError
from sadetr.experiments import Experiment, Row, RunId, experiment_names, load_experiment
from sadetr.layering import extension_folders, load_yaml, validate
from sadetr.records import PositiveFloat, PositiveInt, Record
from sadetr.reporting.paper import PAPER, PaperTable, PaperValue, load_paper_table

Share = Annotated[float, Field(gt=0, lt=1)]
Points = Annotated[float, Field(gt=0, le=100)]


class Levels(Record):
    """Probabilities of a false alarm, of each of the tests that share the whole."""

    cells: Share
    tables: Share
    claims: Share


class MetricSpread(Record):
    """How a metric varies over queries and between two trainings."""

    disagreement: PositiveFloat
    """Standard deviation of the difference of two networks' values of one query, relative to two unrelated queries."""
    query_spread: Points | None = None
    """Standard deviation over queries, in percentage points; None: the metric is a share of the queries."""


class Correlation(Record):
    """Correlation of the differences of two metrics of one run."""

    one_task: Share
    two_tasks: Share


class ReferenceTolerance(Record):
    """How far results may lie from those of another platform, in percentage points."""

    single: Points
    mean: Points


class Additions(Record):
    """What an extension may add: its own metrics, methods, benchmark settings and known spreads."""

    metrics: dict[str, MetricSpread] = Field(default_factory=dict)
    methods: dict[str, PositiveFloat] = Field(default_factory=dict)
    queries: dict[str, dict[str, PositiveInt]] = Field(default_factory=dict)
    """Benchmark setting -> split -> number of queries."""
    spreads: dict[str, dict[str, Points]] = Field(default_factory=dict)
    """Benchmark setting -> metric -> standard deviation of one training, where it is known."""


class ChanceSettings(Additions):
    """``tolerances.yaml``."""

    levels: Levels
    power: Share
    widest: Points
    measured: str
    """Experiment whose numbers of the paper have standard deviations."""
    correlation: Correlation
    rescored: Points
    """How far the score of published predictions may lie from what their authors printed, in either direction."""
    reference: ReferenceTolerance


class Reference(NamedTuple):
    """What a cell of ours is judged by, in percent; ``origin`` is the experiment that it stands in."""

    value: float
    seeds: int
    origin: str


@dataclass(frozen=True)
class Measured:
    """A mean over seeds that the paper prints with its standard deviation."""

    row: Row
    split: str
    value: PaperValue


class Chance:
    """Spreads of trainings and references of rows, at one scale."""

    def __init__(self, settings: ChanceSettings, path: Path, measured: Mapping[str, tuple[Measured, ...]]) -> None:
        """Args:
        settings: the constants.
        path: their file, for errors.
        measured: per metric, what the experiment ``settings.measured`` prints.
        """
        self.settings = settings
        self._path = path
        self._measured = measured

    def spread(self, setting: str, method: str, split: str, metric: str, value: float) -> float:
        """Standard deviation of one training's ``metric``, in percentage points.

        Args:
            setting, method: of the run.
            split: that is scored.
            metric: its name.
            value: what is expected, in percent: a share of queries varies most around a half.

        Raises:
            SettingsError: the constants do not say how the metric varies, or how many queries the split has.
        """
        if (known := self.settings.spreads.get(setting, {}).get(metric)) is not None:
            return known
        for measured in self._measured.get(metric, ()):
            run = measured.row.runs[0]
            if (run.setting, run.method) == (setting, method):
                ratio = self._queries(setting, measured.split) / self._queries(setting, split)
                return measured.value.std * math.sqrt(ratio)
        model = self.settings.metrics.get(metric)
        if model is None:
            raise SettingsError(
                f"{self._path}: key 'metrics' does not say how {metric!r} varies; add it with its reason, or its "
                f"standard deviation over seeds under spreads.{setting}"
            )
        # A share of nought or all queries would not vary at all.
        share = min(max(value, 1.0), 99.0) / 100
        over_queries = model.query_spread or 100 * math.sqrt(share * (1 - share))
        factor = self.settings.methods.get(method, 1.0)
        return factor * model.disagreement * over_queries / math.sqrt(self._queries(setting, split))

    def _queries(self, setting: str, split: str) -> int:
        try:
            return self.settings.queries[setting][split]
        except KeyError:
            raise SettingsError(
                f"{self._path}: key 'queries' does not say how many queries split {split!r} of setting {setting!r} "
                f"has; add it: queries: {{{setting}: {{{split}: NUMBER}}}}"
            ) from None

    def reference(self, experiment: Experiment, row: Row, paper: PaperValue) -> Reference:
        """What a trained row is judged by: the mean over seeds of its network where one is printed, else its number.

        A row of a single seed may be a favourable one; the mean of several is what a reproduction is expected at.
        """
        network = _network(row)
        for measured in self._measured.get(paper.metric, ()):
            same = (measured.split, _network(measured.row)) == (experiment.split, network)
            if same and measured.row.checkpoint == row.checkpoint:
                return Reference(measured.value.value, measured.value.seeds or 1, self.settings.measured)
        return Reference(paper.value, paper.seeds or 1, experiment.name)

    def correlation(self, first: str, second: str) -> float:
        """Correlation of the differences of two metrics of one run."""
        if first == second:
            return 1.0
        one_task = _is_of_highlights(first) == _is_of_highlights(second)
        return self.settings.correlation.one_task if one_task else self.settings.correlation.two_tasks


def _network(row: Row) -> tuple[str, str, str]:
    run: RunId = row.runs[0]
    return run.setting, run.method, run.variant


def _is_of_highlights(metric: str) -> bool:
    return metric.startswith(("HD_", "HIT@"))


def chance_files(folder: Path = PAPER) -> list[Path]:
    """``<folder>/tolerances.yaml``, and the file of this name of every extension that has one."""
    added = [base / PAPER.name / "tolerances.yaml" for base in extension_folders()]
    return [folder / "tolerances.yaml", *(path for path in added if path.exists())]


def load_chance_settings(folder: Path = PAPER) -> ChanceSettings:
    """Read ``<folder>/tolerances.yaml`` and what extensions add; what is written down already stays.

    Raises:
        SettingsError: a file is missing or malformed, or the levels leave nothing.
    """
    first, *added = chance_files(folder)
    settings = validate(ChanceSettings, load_yaml(first), first)
    for path in added:
        more = validate(Additions, load_yaml(path), path)
        joined = {
            name: {**getattr(more, name), **getattr(settings, name)} for name in ("metrics", "methods", "queries")
        }
        spreads = {name: {**own, **settings.spreads.get(name, {})} for name, own in more.spreads.items()}
        settings = settings.model_copy(update={**joined, "spreads": {**settings.spreads, **spreads}})
    return settings


def load_chance(scale: ScaleSettings) -> Chance:
    """The constants, and what the paper prints with a standard deviation.

    Raises:
        SettingsError: as :func:`load_chance_settings`, or the experiment that it names does not fit its numbers.
    """
    settings = load_chance_settings()
    if settings.measured not in experiment_names():
        # A configuration with tables of one's own alone.
        return Chance(settings, chance_files()[0], {})
    experiment = load_experiment(settings.measured, scale)
    return Chance(settings, chance_files()[0], measured_values(experiment, load_paper_table(settings.measured)))


def measured_values(experiment: Experiment, table: PaperTable) -> dict[str, tuple[Measured, ...]]:
    """Per metric, the means that ``table`` prints with a standard deviation.

    Raises:
        SettingsError: the table lacks a row or metric of the experiment.
    """
    found: dict[str, tuple[Measured, ...]] = {}
    for row in experiment.rows:
        for metric in experiment.metrics if row.runs else ():
            value = table.of(row, metric)
            if value.value is not None and value.std is not None:
                found[metric] = (*found.get(metric, ()), Measured(row, experiment.split, value))
    return found
