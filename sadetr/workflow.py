"""What the Snakefile needs to know, as plain functions of the settings. Free of torch."""

import difflib
import os
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadetr.configuration import (
    load_method,
    load_scale,
    resolve_corpus,
    resolve_dataset,
    resolve_features,
    resolve_simulation,
)
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, experiment_names, load_experiment, run_settings
from sadetr.layering import CONFIG, find
from sadetr.layout import Layout, RunFolder
from sadetr.provenance import code_fingerprint, config_fingerprint, fingerprint
from sadetr.reporting.published import LOGS, check_published, published_predictions
from sadetr.settings import DatasetSettings, Record

OPTIONS = ("scale", "results", "data_root", "gpu_partition")
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
        given = {key: _text(key, value) for key, value in config.items()}
        self._reference = given.get("scale", "mini")
        data_root = given.get("data_root")
        results = Path(given.get("results", "results"))
        self._gpu_partition = given.get("gpu_partition")
        self.layout = Layout(load_scale(self._reference), results, None if data_root is None else Path(data_root))
        self.data_root = self.layout.data_root
        """Checked here: an error inside a rule's input function is easily lost."""
        check_published(self.layout.published)
        self.experiments = {name: load_experiment(name, self._reference) for name in experiment_names()}
        self.all = [name for name, experiment in self.experiments.items() if experiment.part_of_all]
        """Names of the experiments that the target ``all`` makes."""
        arguments = ["--scale", self._reference, "--results", str(results)]
        self.arguments = shlex.join(arguments)
        """Options that every subcommand takes."""
        real_data = [] if data_root is None else ["--data-root", data_root]
        self.data_arguments = shlex.join(arguments + real_data)
        """The same for subcommands that read data."""

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
        """Dataset setting at this scale."""
        return resolve_dataset(setting, self._reference)

    def metrics(self, *names: str) -> list[Path]:
        """``metrics.parquet`` of the runs of the experiments ``names`` (default: those of ``all``)."""
        return [folder.metrics for folder in self._folders(names)]

    def figure_inputs(self, name: str) -> list[Path]:
        """What a figure is drawn from, by its layout: histories, predictions and annotations, or (default) metrics."""
        layouts = {"convergence": self._curves, "qualitative": self._predictions}
        return layouts.get(self.experiments[name].layout, self.metrics)(name)

    def _curves(self, name: str) -> list[Path]:
        return [*(folder.history for folder in self._folders([name])), *self.published_logs(name)]

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

    def rescore_inputs(self, setting: str) -> list[Path]:
        """Prediction files that other authors published, and the annotations of their splits."""
        dataset = self.dataset(setting)
        files = published_predictions(self.layout.published, dataset)
        annotations = self.layout.annotations(dataset)
        return [*files.values(), *(annotations[split] for split in dict.fromkeys(name.split for name in files))]

    def published_logs(self, name: str) -> list[Path]:
        """Published validation curves that an experiment shows, where they are there."""
        root = self.layout.published
        logs = [row.published_log for row in self.experiments[name].rows]
        paths = [root / log.setting / LOGS for log in logs if root is not None and log is not None]
        return [path for path in dict.fromkeys(paths) if path.exists()]

    def _predictions(self, name: str) -> list[Path]:
        """Of the runs, with the annotations; published predictions count where they are there."""
        experiment = self.experiments[name]
        paths = [folder.predictions for folder in self._folders([name])]
        for setting in dict.fromkeys(run.setting for run in experiment.runs):
            paths += self.annotation_inputs(setting)
        if self.layout.published is not None:
            published = [self.layout.published / file.setting / f"{file.name}.jsonl" for file in experiment.rescored]
            paths += [path for path in published if path.exists()]
        return paths

    def kept(self, *names: str) -> list[Path]:
        """Everything in the run folders of the experiments ``names`` (default: those of ``all``).

        Targets ask for these files too: Snakemake does not miss a deleted file that only other outputs need.
        """
        return [
            path
            for folder in self._folders(names)
            for path in [*folder.trained, folder.checkpoints, folder.predictions, folder.metrics]
        ]

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
    def tolerances(self) -> Path:
        """Written tolerances of the comparison."""
        return CONFIG / "paper" / "tolerances.yaml"

    def annotation_inputs(self, setting: str) -> list[Path]:
        """What holds the annotations: the generated folder, or the official files."""
        if self.generated:
            return [self.data_root / "annotations" / setting]
        return list(self.layout.annotations(self.dataset(setting)).values())

    def data_inputs(self, setting: str) -> list[Path]:
        """What a feature store is made from. Official features are inputs too: they must be there.

        Simulated features are made from the annotations alone.
        """
        if self.simulated:
            return self.annotation_inputs(setting)
        features = self.data_root / "features" / setting
        if self.generated:
            return [*self.annotation_inputs(setting), features]
        dataset = self.dataset(setting)
        sources = [stream.directory for stream in dataset.video_streams] + [dataset.text_stream.source]
        return self.annotation_inputs(setting) + [features / source for source in sources]

    def checked_inputs(self, setting: str) -> list[Path]:
        """What the data check looks at. Missing official files are for the check to report, not for Snakemake."""
        inputs = self.data_inputs(setting)
        if self.generated:
            return [*inputs, self.layout.store(setting)]
        return [path for path in inputs if path.exists()]

    @property
    def checks(self) -> list[Path]:
        """Reports of the data check, one per benchmark setting that an experiment uses."""
        settings = dict.fromkeys(run.setting for experiment in self.experiments.values() for run in experiment.runs)
        return [self.folder / "checks" / f"{setting}.json" for setting in settings]

    def threads(self, run: str) -> int:
        """CPU threads of a training."""
        return run_settings(RunId.parse(run), self._reference).execution.threads

    def gpus(self, run: str) -> int:
        """GPUs that a training asks Snakemake for."""
        return 0 if run_settings(RunId.parse(run), self._reference).execution.device == "cpu" else 1

    def partition(self, run: str) -> str | None:
        """Slurm partition of a training: None (the cluster's default) unless it asks for a GPU."""
        return self._gpu_partition if self.gpus(run) else None

    def corpus_fingerprint(self, setting: str) -> str:
        """Of the generated corpus: its code, its settings and the shape of the data."""
        parts = [resolve_corpus(setting, self._reference), self.dataset(setting)]
        code = code_fingerprint("sadetr.data.corpus.generation")
        return fingerprint(code, [part.model_dump(mode="json") for part in parts])

    def store_fingerprint(self, setting: str) -> str:
        """Of the feature store."""
        parts: list[Record] = [resolve_features(setting, self._reference), self.dataset(setting)]
        code = code_fingerprint("sadetr.data.preparation")
        if self.simulated:
            parts.append(resolve_simulation(setting, self._reference))
            code = code_fingerprint("sadetr.data.simulation")
        return fingerprint(code, [part.model_dump(mode="json") for part in parts])

    def check_fingerprint(self, setting: str) -> str:
        """Of the data check."""
        known = CONFIG / "sources" / f"{setting}.yaml"
        parts = [self.dataset(setting).model_dump(mode="json"), known.read_text() if known.exists() else ""]
        parts += [] if self.generated else [self._stamps(setting)]
        return fingerprint(code_fingerprint("sadetr.data.verification.checks"), parts)

    def _stamps(self, setting: str) -> list[tuple[str, int, int]]:
        """Name, size and time of every file that the data check reads, the feature store's among them.

        Snakemake sees a folder's own time, which a file that is overwritten in place does not change.
        """
        files: list[Path] = []
        for path in [*self.checked_inputs(setting), self.layout.store(setting)]:
            files += sorted(path.iterdir()) if path.is_dir() else [path]
        found = [(str(file), file.stat()) for file in files if file.is_file()]
        return [(name, status.st_size, status.st_mtime_ns) for name, status in found]

    def run_fingerprint(self, run: str) -> str:
        """Of a training: all code that can change its result, and its resolved settings."""
        run_id = RunId.parse(run)
        code = code_fingerprint("sadetr.training.run", load_method(run_id.method).module)
        return fingerprint(code, config_fingerprint(run_settings(run_id, self._reference)))

    def score_fingerprint(self) -> str:
        """Of scoring."""
        return code_fingerprint("sadetr.reporting.scoring")

    def render_fingerprint(self) -> str:
        """Of tables, figures and the comparison."""
        return fingerprint(code_fingerprint("sadetr.reporting.command"), self.layout.scale.label)


def _text(key: str, value: Any) -> str:
    """A ``--config`` value, ``~`` expanded; YAML makes numbers and dates of some names."""
    if not isinstance(value, str) or not value:
        raise SettingsError(
            f"{key}: found {value!r}, expected text; write --config {key}=./NAME, or quotes in a file for --configfile"
        )
    if "{" in value or "}" in value:
        raise SettingsError(f"{key}: {value}: Snakemake reads braces in paths as wildcards; choose a name without them")
    return os.path.expanduser(value)
