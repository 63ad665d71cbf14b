"""What the Snakefile needs to know, as plain functions of the settings. Free of torch."""

import difflib
import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from sadetr.configuration import CONFIG, find, load_method, load_scale, resolve_dataset, resolve_features
from sadetr.errors import SettingsError
from sadetr.experiments import RunId, experiment_names, load_experiment, run_settings
from sadetr.layout import Layout, RunFolder
from sadetr.provenance import code_fingerprint, config_fingerprint, fingerprint
from sadetr.settings import DatasetSettings

OPTIONS = ("scale", "results", "data_root")
TABLE_FORMATS = ("csv", "md", "tex", "html")
FIGURE_FORMATS = ("pdf", "svg", "png")


class Workflow:
    """Paths, commands and fingerprints of one scale."""

    def __init__(self, config: Mapping[str, Any]) -> None:
        """Read ``--config`` values.

        Raises:
            SettingsError: an unknown option, scale, or missing data root.
        """
        for key in config:
            if key not in OPTIONS:
                near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=0.0)[0]
                raise SettingsError(f"--config {key}=...: unknown option; the nearest is {near!r}")
        self._reference = str(config.get("scale", "mini"))
        data_root = config.get("data_root")
        results = Path(str(config.get("results", "results")))
        self.layout = Layout(load_scale(self._reference), results, None if data_root is None else Path(str(data_root)))
        self.data_root = self.layout.data_root
        """Checked here: an error inside a rule's input function is easily lost."""
        self.experiments = {name: load_experiment(name, self._reference) for name in experiment_names()}
        arguments = ["--scale", self._reference, "--results", str(results)]
        self.arguments = shlex.join(arguments)
        """Options that every subcommand takes."""
        given = [] if data_root is None else ["--data-root", str(data_root)]
        self.data_arguments = shlex.join(arguments + given)
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

    def dataset(self, setting: str) -> DatasetSettings:
        """Dataset setting at this scale."""
        return resolve_dataset(setting, self._reference)

    def metrics(self, *names: str) -> list[Path]:
        """``metrics.parquet`` of all runs of the experiments ``names`` (default: all)."""
        return [folder.metrics for folder in self._folders(names)]

    def histories(self, name: str) -> list[Path]:
        """``history.parquet`` of the runs of one experiment."""
        return [folder.history for folder in self._folders([name])]

    def kept(self, *names: str) -> list[Path]:
        """Everything in the run folders of the experiments ``names`` (default: all).

        Targets ask for these files too: Snakemake does not miss a deleted file that only other outputs need.
        """
        return [
            path for folder in self._folders(names) for path in [*folder.trained, folder.predictions, folder.metrics]
        ]

    def _folders(self, names: Sequence[str]) -> list[RunFolder]:
        chosen = [self.experiments[name] for name in names or self.experiments]
        return [self.layout.run(run) for run in dict.fromkeys(run for each in chosen for run in each.runs)]

    def rendered(self, name: str) -> list[Path]:
        """Files of a table or figure."""
        folder, formats = (
            ("tables", TABLE_FORMATS) if self.experiments[name].kind == "table" else ("figures", FIGURE_FORMATS)
        )
        return [self.folder / folder / f"{name}.{suffix}" for suffix in formats]

    def numbers(self, kind: str) -> str:
        """Regular expression of the numbers of the ``table`` or ``figure`` experiments."""
        return "|".join(str(experiment.number) for experiment in self.experiments.values() if experiment.kind == kind)

    def sources(self, *names: str) -> list[Path]:
        """Experiment files and the paper's numbers behind experiments (default: all)."""
        paths = [find("experiments", f"{name}.yaml") for name in names or self.experiments]
        paths += [find("paper", f"{name}.csv") for name in names or self.experiments]
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
        """What a feature store is made from. Official feature folders are inputs too: they must be there."""
        features = self.data_root / "features" / setting
        if self.generated:
            return [*self.annotation_inputs(setting), features]
        dataset = self.dataset(setting)
        folders = [stream.directory for stream in dataset.video_streams] + [dataset.text_stream.directory]
        return self.annotation_inputs(setting) + [features / folder for folder in folders]

    def threads(self, run: str) -> int:
        """CPU threads of a training."""
        return run_settings(RunId.parse(run), self._reference).execution.threads

    def gpus(self, run: str) -> int:
        """GPUs that a training asks Snakemake for."""
        return 0 if run_settings(RunId.parse(run), self._reference).execution.device == "cpu" else 1

    def corpus_fingerprint(self, setting: str) -> str:
        """Of the generated corpus: its code, its settings and the shape of the data."""
        settings = [self.layout.scale.corpus.model_dump(mode="json"), self.dataset(setting).model_dump(mode="json")]
        return fingerprint(code_fingerprint("sadetr.data.corpus.generation"), settings)

    def store_fingerprint(self, setting: str) -> str:
        """Of the feature store."""
        parts = [resolve_features(setting, self._reference), self.dataset(setting)]
        code = code_fingerprint("sadetr.data.preparation")
        return fingerprint(code, [part.model_dump(mode="json") for part in parts])

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
