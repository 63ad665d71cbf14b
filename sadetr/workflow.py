"""What the Snakefile needs to know, as plain functions of the settings. Free of torch."""

import math
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadetr.configuration import choose_seeds, load_scale, resolve_corpus, resolve_dataset, resolve_execution
from sadetr.experiments import RunId, experiment_names, load_experiment, run_settings
from sadetr.extraction.choices import IMPORTED
from sadetr.fingerprints import Fingerprints
from sadetr.layering import find
from sadetr.layout import Layout, RunFolder
from sadetr.planning import PREPARED, TRAINED, check_removed, check_rescored
from sadetr.reporting.chance import chance_files, load_chance
from sadetr.reporting.published import LOGS, check_published, published_predictions
from sadetr.reporting.requirements import check_compared, check_rendered
from sadetr.reporting.typesetting import typeset_file
from sadetr.resources import Request, Training, load_resources
from sadetr.settings import DatasetSettings
from sadetr.workflow_options import numbers_of, seeds_of, switches_of, texts, videos_of

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
        given, numbers, seeds = texts(config), numbers_of(config), seeds_of(config)
        self._reference = given.get("scale", "mini")
        data_root = given.get("data_root")
        results = Path(given.get("results", "results"))
        self._gpu_partition = given.get("gpu_partition")
        self.runs_per_gpu = numbers.get("runs_per_gpu", 1)
        """Slots of a GPU, which is what the resource ``gpu`` counts."""
        scale = choose_seeds(load_scale(self._reference), seeds)
        videos = videos_of(given, scale)
        self.layout = Layout(scale, results, None if data_root is None else Path(data_root), videos)
        # Where jobs are as short as their start. Elsewhere they take minutes to days, and a GPU's memory is measured.
        self.preloading = switches_of(config).get("preload", self.generated)
        """Whether jobs are served by a process that has imported everything."""
        self.data_root = self.layout.data_root
        """Checked here: an error inside a rule's input function is easily lost."""
        check_published(self.layout.published)
        self.fingerprints = Fingerprints(self.layout)
        self._trainable: set[str] = set()
        self._resources = load_resources()
        self._queries: dict[str, int] = {}
        self.experiments = {name: load_experiment(name, scale) for name in experiment_names()}
        self.all = [name for name, experiment in self.experiments.items() if experiment.part_of_all]
        """Names of the experiments that the target ``all`` makes."""
        self._options = {
            "scale": ["--scale", self._reference],
            "results": ["--results", str(results)],
            "data": [] if data_root is None else ["--data-root", data_root],
            "seeds": [] if seeds is None else ["--seeds", seeds],
            "videos": ["--videos", str(videos)],
            "gpu": [word for key, value in numbers.items() for word in (f"--{key.replace('_', '-')}", str(value))],
        }

    def command(self, python: Sequence[str], name: str, options: Sequence[str]) -> str:
        """A subcommand with options that it shares with others, quoted for the shell.

        Args:
            python: the words that start Python.
            name: of the subcommand.
            options: which: ``scale``, ``results``, ``data`` (where real data lie), ``seeds``, ``videos``,
                ``gpu`` (how GPUs are shared).
        """
        words = [word for option in options for word in self._options[option]]
        return shlex.join([*python, "-m", "sadetr", name, *words])

    @property
    def extracting(self) -> bool:
        """Whether features are made from videos and sentences."""
        return self.layout.videos is not None

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

    def trained(self) -> list[Path]:
        """What the trainings of the target ``all`` say of themselves."""
        return [path for folder in self._folders([]) for path in folder.trained]

    @property
    def figures(self) -> list[Path]:
        """Files of the figures of the target ``all``."""
        return [path for name in self.all if self.experiments[name].kind == "figure" for path in self.rendered(name)]

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

    def typeset_inputs(self) -> list[Path]:
        """Files of the tables and figures that the LaTeX document shows: those of ``all``."""
        return [typeset_file(self.experiments[name], self.folder) for name in self.all]

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
        extracted = self.extracted(setting)
        removed = self.fingerprints.inputs(setting).removed
        again = [f"features/{setting}/{dataset.feature_folders[path.stem]}/" for path in extracted if not path.exists()]
        check_removed(dataset, self.layout, [name for name in removed if not name.startswith(tuple(again))])
        return [*extracted, *([self.layout.corpus(setting)] if self.generated else [])]

    def extracted(self, setting: str) -> list[Path]:
        """Records of the streams that the workflow extracts for a setting."""
        streams = self.dataset(setting).feature_folders if self.extracting else {}
        return [self.layout.extracted(setting, stream) for stream in streams]

    def extract_inputs(self, setting: str) -> list[Path]:
        """What an extraction needs and the workflow makes: nothing, but the annotations name its videos and sentences.

        Raises:
            DataError: they are missing.
        """
        for check in PREPARED:
            check(self.dataset(setting), self.layout)
        return []

    def extract_gpus(self, setting: str, stream: str) -> int:
        """GPUs that an extraction asks Snakemake for."""
        return 0 if stream == IMPORTED or self.extract_device(setting) == "cpu" else 1

    def extract_device(self, setting: str) -> str:
        """Where the networks of an extraction compute."""
        return resolve_execution(setting, self._reference).device

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
        generated = [self.layout.corpus(setting), self.layout.prepared(setting)] if self.generated else []
        return generated + self.extracted(setting)

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

    def request(self, rule: str, run: str | None) -> Request:
        """Time and memory that the first attempt of a job asks a cluster for.

        Args:
            rule: its rule.
            run: of a training; other jobs do not depend on it.
        """
        if rule != "train" or run is None:
            return self._resources.request(rule, self.generated)
        settings = run_settings(RunId.parse(run), self._reference)
        epochs, batch_size = settings.training.epochs, settings.training.batch_size
        steps = epochs * math.ceil(self._train_queries(settings.dataset) / batch_size)
        training = Training(settings.method, settings.setting, steps, batch_size, bool(self.gpus(run)))
        return self._resources.training_request(training, self.generated)

    def _train_queries(self, dataset: DatasetSettings) -> int:
        """Lines of the training split; 0 where there is no such file, which another step reports."""
        if self.generated:
            return resolve_corpus(dataset.name, self._reference).train_queries
        if dataset.name not in self._queries:
            file = self.layout.annotations(dataset)[dataset.train_split]
            try:
                self._queries[dataset.name] = file.read_bytes().count(b"\n")
            except OSError:
                self._queries[dataset.name] = 0
        return self._queries[dataset.name]

    def partition(self, gpus: int) -> str | None:
        """Slurm partition of a job: None (the cluster's default) unless it asks for a GPU."""
        return self._gpu_partition if gpus else None
