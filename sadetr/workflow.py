"""What the Snakefile needs to know, as plain functions of the settings. Free of torch."""

import difflib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadetr.configuration import choose_seeds, load_scale, resolve_dataset
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, experiment_names, load_experiment, run_settings
from sadetr.fingerprints import Fingerprints
from sadetr.layering import find
from sadetr.layout import Layout, RunFolder
from sadetr.planning import PREPARED, TRAINED, check_removed, check_rescored
from sadetr.reporting.chance import chance_files, load_chance
from sadetr.reporting.published import LOGS, check_published, published_predictions
from sadetr.reporting.requirements import check_compared, check_rendered
from sadetr.settings import DatasetSettings

OPTIONS = ("scale", "results", "data_root", "gpu_partition", "runs_per_gpu", "gpu_memory", "seeds")
NUMBERS = ("runs_per_gpu", "gpu_memory")
TABLE_FORMATS = ("csv", "md", "tex", "html")
FIGURE_FORMATS = ("pdf", "svg", "png")


class Workflow:
    """Paths, commands and fingerprints of one scale."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read ``--config`` values.

        Raises:
            SettingsError: an unknown option, a value that is no text, an unknown scale, or a missing data root.
            DataError: published predictions lie in a wrong folder.
        """
        for key in config:
            if key not in OPTIONS:
                near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=0.0)[0]
                raise SettingsError(f"--config {key}=...: unknown option; the nearest is {near!r}")
        given = {key: _text(key, value) for key, value in config.items() if key not in (*NUMBERS, "seeds")}
        numbers = {key: _number(key, config[key]) for key in NUMBERS if key in config}
        seeds = _seeds(config.get("seeds"))
        self._reference = given.get("scale", "mini")
        data_root = given.get("data_root")
        results = Path(given.get("results", "results"))
        self._gpu_partition = given.get("gpu_partition")
        self.runs_per_gpu = numbers.get("runs_per_gpu", 1)
        """Slots of a GPU, which is what the resource ``gpu`` counts."""
        words = [(f"--{key.replace('_', '-')}", str(value)) for key, value in numbers.items()]
        self.gpu_arguments = shlex.join(word for pair in words for word in pair)
        """Options of trainings alone."""
        scale = choose_seeds(load_scale(self._reference), seeds)
        self.layout = Layout(scale, results, None if data_root is None else Path(data_root))
        self.data_root = self.layout.data_root
        """Checked here: an error inside a rule's input function is easily lost."""
        check_published(self.layout.published)
        self.fingerprints = Fingerprints(self.layout)
        self._trainable: set[str] = set()
        self.experiments = {name: load_experiment(name, scale) for name in experiment_names()}
        self.all = [name for name, experiment in self.experiments.items() if experiment.part_of_all]
        """Names of the experiments that the target ``all`` makes."""
        arguments = ["--scale", self._reference, "--results", str(results)]
        self.arguments = shlex.join(arguments)
        """Options that every subcommand takes."""
        chosen = [] if seeds is None else ["--seeds", seeds]
        self.table_arguments = shlex.join(arguments + chosen)
        """Options that every subcommand takes which makes tables."""
        real_data = [] if data_root is None else ["--data-root", data_root]
        self.data_arguments = shlex.join(arguments + real_data)
        self.figure_arguments = shlex.join(arguments + real_data + chosen)
        """Options that every subcommand takes which reads data."""

    @property
    def folder(self) -> Path:
        """``results/<scale>``."""
        return self.layout.folder

    @property
    def wildcard_run(self) -> RunFolder:
        """Files of the run that the wildcard ``run`` stands for."""
        return RunFolder(self.folder / "runs" / "{run}")

    @property
    def generated(self) -> bool:
        """Whether the scale makes its own data."""
        return self.layout.scale.data == "generated"

    @property
    def simulated(self) -> bool:
        """Whether the scale makes its features from the annotations."""
        return self.layout.scale.data == "simulated"

    def dataset(self, setting: str) -> DatasetSettings:
        """The benchmark setting as this scale has it."""
        return resolve_dataset(setting, self._reference)

    def metrics(self, *names: str) -> list[Path]:
        """``metrics.parquet`` of the runs of the experiments ``names`` (default: those of ``all``)."""
        return [folder.metrics for folder in self._folders(names)]

    def render_inputs(self, name: str) -> list[Path]:
        """What a table or figure is made from, by its layout: histories, predictions, or (default) metrics.

        Raises:
            SettingsError: it could not be rendered.
        """
        check_rendered(self.experiments[name], self.layout.scale)
        layouts = {"convergence": self._histories, "qualitative": self._predictions}
        return layouts.get(self.experiments[name].layout, self.metrics)(name)

    def _histories(self, name: str) -> list[Path]:
        return [folder.history for folder in self._folders([name])]

    def _predictions(self, name: str) -> list[Path]:
        """Files that stand for predictions and annotations: provenance, and what was prepared from the annotations."""
        provenance = [folder.provenance for folder in self._folders([name])]
        return [*provenance, *map(self.layout.prepared, self._settings(name))]

    def rescored(self, *names: str) -> list[Path]:
        """Metrics of the published predictions of the experiments ``names``; by default of all settings that occur.

        They are made whether or not anything was published, so that a prediction file that is taken away leaves the
        results too. Generated queries are nobody else's.
        """
        if self.generated:
            return []
        if names:
            settings = [entry.setting for name in names for entry in self.experiments[name].rescored]
        else:
            settings = [setting for name in self.all for setting in self.experiments[name].settings]
        return [self.layout.rescored(setting) for setting in dict.fromkeys(settings)]

    def published_inputs(self, name: str) -> list[Path]:
        """What others published and a figure reads, where it is there: validation curves and predictions."""
        experiment, root = self.experiments[name], self.layout.published
        if root is None or experiment.kind != "figure":
            return []
        logs = [root / row.published_log.setting / LOGS for row in experiment.rows if row.published_log is not None]
        files = [root / file.setting / f"{file.name}.jsonl" for file in experiment.rescored]
        return [path for path in dict.fromkeys([*logs, *files]) if path.exists()]

    def kept(self, *names: str) -> list[Path]:
        """Everything in the run folders of the experiments ``names`` (default: those of ``all``), and their features.

        Targets ask for these files too: Snakemake does not miss a deleted file that only other outputs need.
        """
        return [
            path
            for folder in self._folders(names)
            for path in [*folder.trained, folder.checkpoints, folder.predictions, folder.metrics, folder.query_scores]
        ] + self._stores(names)

    def _stores(self, names: Sequence[str]) -> list[Path]:
        settings = self._settings(*names)
        return [path for setting in settings for path in (self.layout.store(setting), self.layout.prepared(setting))]

    def _settings(self, *names: str) -> list[str]:
        """Benchmark settings of the experiments ``names`` (default: those of ``all``)."""
        runs = (run for name in names or self.all for run in self.experiments[name].runs)
        return list(dict.fromkeys(run.setting for run in runs))

    def _folders(self, names: Sequence[str]) -> list[RunFolder]:
        chosen = [self.experiments[name] for name in names or self.all]
        return [self.layout.run(run) for run in dict.fromkeys(run for each in chosen for run in each.runs)]

    def rendered(self, name: str) -> list[Path]:
        """Files of a table or figure."""
        folder, formats = (
            ("tables", TABLE_FORMATS) if self.experiments[name].kind == "table" else ("figures", FIGURE_FORMATS)
        )
        return [self.folder / folder / f"{name}.{suffix}" for suffix in formats]

    def names(self, kind: str) -> str:
        """Regular expression of the names of the ``table`` or ``figure`` experiments."""
        return "|".join(name for name, experiment in self.experiments.items() if experiment.kind == kind)

    def sources(self, *names: str) -> list[Path]:
        """Experiment files and the paper's numbers behind experiments (default: those of ``all``)."""
        paths = [find("experiments", f"{name}.yaml") for name in names or self.all]
        paths += [find("paper", f"{name}.csv") for name in names or self.all]
        return [path for path in paths if path.exists()]

    @property
    def tolerances(self) -> list[Path]:
        """What the comparison knows of chance, and the paper's claims."""
        return [*chance_files(), find("paper", "claims.yaml")]

    def prepare_inputs(self, setting: str) -> list[Path]:
        """What a feature store is made from, as far as the workflow makes it; what is given must be there.

        Raises:
            DataError: annotations or features are missing.
        """
        dataset = self.dataset(setting)
        for check in PREPARED:
            check(dataset, self.layout)
        check_removed(dataset, self.layout, self.fingerprints.inputs(setting).removed)
        return [self.layout.corpus(setting)] if self.generated else []

    def train_inputs(self, setting: str) -> list[Path]:
        """What trainings need beside features: nothing, but the annotations must be fit for them.

        Raises:
            DataError: a split that is trained or selected on has no labels.
        """
        # Asked again while trainings run, when a store is finished; what was fit then is not looked at twice.
        for check in TRAINED if setting not in self._trainable else ():
            check(self.dataset(setting), self.layout)
        self._trainable.add(setting)
        return []

    def rescore_inputs(self, setting: str) -> list[Path]:
        """What scoring of published predictions needs: files of the workflow's none, but all of the others'.

        Raises:
            DataError: a file's name does not say what is predicted, or the annotations of its split are missing.
        """
        dataset = self.dataset(setting)
        splits = dict.fromkeys(name.split for name in published_predictions(self.layout.published, dataset))
        check_rescored(dataset, self.layout, splits)
        return []

    def checked_inputs(self, setting: str) -> list[Path]:
        """What the data check looks at and the workflow makes. Missing official files are for the check to report."""
        return [self.layout.corpus(setting), self.layout.prepared(setting)] if self.generated else []

    def compared_inputs(self) -> list[Path]:
        """Metrics of the runs that are compared with the paper, and of their queries.

        Raises:
            SettingsError: something could not be scored or compared.
        """
        for name in self.all:
            check_rendered(self.experiments[name], self.layout.scale)
        check_compared([self.experiments[name] for name in self.all], load_chance(self.layout.scale))
        return [*self.metrics(), *(folder.query_scores for folder in self._folders([]))]

    @property
    def checks(self) -> list[Path]:
        """Reports of the data check, one per benchmark setting that the target ``all`` needs."""
        return [self.folder / "checks" / f"{setting}.json" for setting in self._settings()]

    def threads(self, run: str) -> int:
        """CPU threads of a training."""
        return run_settings(RunId.parse(run), self._reference).execution.threads

    def gpus(self, run: str) -> int:
        """GPUs that a training asks Snakemake for."""
        return 0 if run_settings(RunId.parse(run), self._reference).execution.device == "cpu" else 1

    def partition(self, run: str) -> str | None:
        """Slurm partition of a training: None (the cluster's default) unless it asks for a GPU."""
        return self._gpu_partition if self.gpus(run) else None


def _seeds(value: Any) -> str | None:
    """The value of ``--config seeds=``, which Snakemake reads as a number, a list or text."""
    if value is None:
        return None
    numbers = value if isinstance(value, list | tuple) else [value]
    return ",".join(map(str, numbers))


def _number(key: str, value: Any) -> int:
    """A ``--config`` value that is a whole number above 0."""
    if not isinstance(value, int) or isinstance(value, bool) or value < 1:
        raise SettingsError(f"--config {key}={value}: expected a whole number above 0")
    return value


def _text(key: str, value: Any) -> str:
    """A ``--config`` value, ``~`` expanded; YAML makes numbers and dates of some names."""
    if not isinstance(value, str) or not value:
        raise SettingsError(
            f"{key}: found {value!r}, expected text; write --config {key}=./NAME, or quotes in a file for --configfile"
        )
    if "{" in value or "}" in value:
        raise SettingsError(f"{key}: {value}: Snakemake reads braces in paths as wildcards; choose a name without them")
    return os.path.expanduser(value)
