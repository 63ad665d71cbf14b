"""The forecast of a target: all its runs, each once, by method and by table or figure."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from sadetr.configuration import resolve_features
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, experiment_names, target_experiments
from sadetr.forecast.corpora import Corpus, measure_corpus
from sadetr.forecast.finished import FINISHED, finished_runs
from sadetr.forecast.lines import Recorded
from sadetr.forecast.trainings import Basis, Estimator, Training, plan_training
from sadetr.installation import ROOT
from sadetr.layout import Layout

NUMBER_BYTES = {"float16": 2, "float32": 4}


@dataclass(frozen=True)
class Sum:
    """A sum over runs; runs about which no line says anything are counted apart."""

    value: float = 0.0
    known: int = 0
    unknown: int = 0

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Sum":
        """Add what is known up."""
        found = list(values)
        known = [value for value in found if value is not None]
        return cls(sum(known), len(known), len(found) - len(known))


@dataclass(frozen=True)
class Part:
    """One line of the forecast: a method, or a table or figure."""

    name: str
    runs: int
    new: int
    """Runs that no part before this one has."""
    steps: int
    """Of these."""
    seconds: dict[str, Sum]
    """Device -> time of these, one after the other."""


@dataclass(frozen=True)
class Forecast:
    """What a target takes before anything is started."""

    runs: int
    devices: tuple[str, ...]
    """Those for which lines are recorded, as they name them."""
    methods: tuple[Part, ...]
    experiments: tuple[Part, ...]
    total: Part
    memory: dict[str, dict[str, float | None]]
    """Device -> method -> MiB of its largest training."""
    kept: Sum
    """Bytes of checkpoints and predictions."""
    stores: dict[str, float]
    """Benchmark setting -> bytes of its feature store; settings whose data are generated are left out."""
    counted_in: dict[str, str]
    """Benchmark setting -> where its queries were counted."""
    basis: Basis


def make_forecast(layout: Layout, folders: Sequence[Path], names: Sequence[str] = ()) -> Forecast:
    """Forecast the experiments ``names``, by default those of the target ``all``.

    Args:
        layout: scale with its seeds; with a data root, annotations are counted.
        folders: of recorded lines.
        names: of experiments.

    Raises:
        SadetrError: an unknown name, a broken line or annotation file, or data of an unknown size.
    """
    experiments = _experiments(layout, names)
    runs = list(dict.fromkeys(run for chosen in experiments.values() for run in chosen))
    recorded = Recorded.read(*folders)
    # The scale's own finished runs count before those that came with the repository.
    reference = ROOT / "results" / "reference" / layout.scale.name / "metrics.parquet"
    recorded = recorded.with_lines([*finished_runs(reference), *finished_runs(layout.metrics)])
    corpora = {setting: measure_corpus(setting, layout) for setting in dict.fromkeys(run.setting for run in runs)}
    trainings = {run: plan_training(run, layout.scale.reference, corpora) for run in runs}
    basis = Basis()
    estimator = Estimator(recorded, basis)
    named = [*recorded.values("device", "training_step", measured="step"), *recorded.values("device", FINISHED)]
    seconds = {
        device: {run: estimator.seconds(training, device) for run, training in trainings.items()}
        for device in dict.fromkeys(named)
    }
    seconds = {device: found for device, found in seconds.items() if any(each is not None for each in found.values())}
    by_method: dict[str, list[RunId]] = {}
    for run in runs:
        by_method.setdefault(run.method, []).append(run)
    return Forecast(
        runs=len(runs),
        devices=tuple(seconds),
        methods=_parts(by_method, trainings, seconds),
        experiments=_parts(experiments, trainings, seconds),
        total=_parts({"total": runs}, trainings, seconds)[0],
        memory={device: _memory(trainings.values(), device, estimator) for device in seconds},
        kept=Sum.of(estimator.kept_bytes(training) for training in trainings.values()),
        stores={} if layout.scale.data == "generated" else _stores(corpora, layout),
        counted_in={setting: corpus.counted_in for setting, corpus in corpora.items()},
        basis=basis,
    )


def _experiments(layout: Layout, names: Sequence[str]) -> dict[str, tuple[RunId, ...]]:
    known = experiment_names()
    for name in names:
        if name not in known:
            raise SettingsError(f"no experiment {name!r}; known: {', '.join(known)}")
    return {experiment.name: experiment.runs for experiment in target_experiments(names, layout.scale)}


def _parts(
    groups: dict[str, Sequence[RunId]],
    trainings: dict[RunId, Training],
    seconds: dict[str, dict[RunId, float | None]],
) -> tuple[Part, ...]:
    seen: set[RunId] = set()
    parts = []
    for name, runs in groups.items():
        new = [run for run in runs if run not in seen]
        seen.update(new)
        times = {device: Sum.of(found[run] for run in new) for device, found in seconds.items()}
        parts.append(Part(name, len(runs), len(new), sum(trainings[run].steps for run in new), times))
    return tuple(parts)


def _memory(trainings: Iterable[Training], device: str, estimator: Estimator) -> dict[str, float | None]:
    most: dict[str, float | None] = {}
    for training in trainings:
        found, before = estimator.memory(training, device), most.get(training.run.method)
        most[training.run.method] = max((each for each in (found, before) if each is not None), default=None)
    return most


def _stores(corpora: dict[str, Corpus], layout: Layout) -> dict[str, float]:
    return {
        setting: corpus.stored_values * NUMBER_BYTES[resolve_features(setting, layout.scale.reference).dtype]
        for setting, corpus in corpora.items()
    }
