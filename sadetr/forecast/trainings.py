"""What one training takes on a device: its steps, validations and predictions times recorded figures."""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sadetr.experiments import RunId, run_settings
from sadetr.forecast.corpora import Corpus
from sadetr.forecast.finished import FINISHED
from sadetr.forecast.lines import RECORDED, Line, Recorded
from sadetr.settings import RunSettings

BYTES_PER_WEIGHT = 4
MEASURED_SETTING = "qvhighlights"
"""Benchmark setting at whose sizes ``training_step`` is measured."""


@dataclass
class Basis:
    """Lines that figures come from, and what was assumed beyond them; filled while estimates are made."""

    lines: dict[str, None] = field(default_factory=dict)
    assumed: dict[str, None] = field(default_factory=dict)

    def use(self, line: Line) -> Line:
        """Note the line and return it."""
        self.lines[str(line)] = None
        return line

    def assume(self, text: str) -> None:
        """Note an assumption."""
        self.assumed[text] = None


@dataclass(frozen=True)
class Network:
    """What a run trains."""

    run: RunId
    settings: RunSettings
    measured_size: bool
    """Whether it has the settings with which ``training_step`` is measured."""


@dataclass(frozen=True)
class Training(Network):
    """A run, and how much work it is."""

    corpus: Corpus

    @property
    def steps(self) -> int:
        """Updates of the whole training."""
        return self.settings.training.epochs * self._batches(self.settings.dataset.train_split)

    @property
    def predictions(self) -> list[str]:
        """Splits that are predicted while it trains, once per validation that selects on them."""
        training = self.settings.training
        return math.ceil(training.epochs / training.validate_every) * self.settings.dataset.selection_splits

    @property
    def kept_predictions(self) -> list[str]:
        """Splits that are predicted at the end: every reported one with every checkpoint."""
        return len(self.settings.dataset.checkpoints) * self.settings.dataset.report_splits

    def forward_batches(self) -> int:
        """Batches of all predictions."""
        return sum(map(self._batches, [*self.predictions, *self.kept_predictions]))

    def queries(self, splits: Iterable[str]) -> int:
        """Queries of the splits, of one that is named twice twice."""
        return sum(self.corpus.splits[split].queries for split in splits)

    def _batches(self, split: str) -> int:
        return math.ceil(self.corpus.splits[split].queries / self.settings.training.batch_size)


def plan_network(run: RunId, scale: str) -> Network:
    """What a run of a scale trains."""
    settings = run_settings(run, scale)
    return Network(run, settings, settings.model == run_settings(run, "paper").model)


def plan_training(run: RunId, scale: str, corpora: Mapping[str, Corpus]) -> Training:
    """The work behind a run of a scale."""
    return Training(**vars(plan_network(run, scale)), corpus=corpora[run.setting])


def recorded_gpu_memory(run: RunId, scale: str, folder: Path = RECORDED) -> float | None:
    """Most MiB that a training of the run takes, without its features, on any GPU with a line; None if none has."""
    # A training must not fail for want of a benchmark.
    if not folder.is_dir():
        return None
    recorded = Recorded.read(folder)
    estimator, network = Estimator(recorded, Basis()), plan_network(run, scale)
    named = recorded.values("device", "memory") + recorded.values("device", "training_step", measured="peak_memory")
    found = [estimator.memory(network, device) for device in named if not device.startswith("cpu")]
    return max((each for each in found if each is not None), default=None)


class Estimator:
    """Seconds, memory and disk of trainings, from recorded lines alone: None where no line says anything."""

    def __init__(self, recorded: Recorded, basis: Basis) -> None:
        self._recorded = recorded
        self._basis = basis

    def seconds(self, training: Training, device: str) -> float | None:
        """Of a training on a device, as the lines name it."""
        run = training.run
        wanted = {"setting": run.setting, "method": run.method, "variant": run.variant}
        whole = self._recorded.find(FINISHED, **wanted, device=device)
        if whole is not None:
            return self._basis.use(whole)["seconds"]
        step = self._line(training, device, measured="step")
        if step is None:
            return None
        size = self._relative_size(training, step)
        seconds = training.steps * (step["median_ms"] * size + self._waiting(device)) / 1000
        forward = self._line(training, device, measured="forward")
        if forward is None:
            self._basis.assume("validation and prediction: not counted where no forward pass is recorded")
            return seconds
        handled = training.queries([*training.predictions, *training.kept_predictions])
        beside = handled * self._host_milliseconds(device)
        return seconds + (training.forward_batches() * forward["median_ms"] * size + beside) / 1000

    def _waiting(self, device: str) -> float:
        """Milliseconds per step in which training waits for its batch."""
        line = self._recorded.find("full_size_training", measured="summary", device=device)
        if line is None:
            self._basis.assume(f"{device}: no waiting for batches, since none is recorded")
            return 0.0
        return self._basis.use(line)["wait_for_batch_ms"]

    def _host_milliseconds(self, device: str) -> float:
        """Milliseconds per predicted query beside the forward pass: windows in seconds and their scores."""
        line = self._recorded.find("evaluation", device=device)
        if line is None:
            self._basis.assume(f"{device}: no time for ranking and scoring, since none is recorded")
            return 0.0
        return self._basis.use(line)["host_ms_per_query"]

    def memory(self, training: Network, device: str) -> float | None:
        """Most MiB of a training: of the device's memory on a GPU, of the process elsewhere."""
        kind = "resident_memory" if device.startswith("cpu") else "peak_memory"
        line = self._line(training, device, benchmark="memory") or self._line(training, device, measured=kind)
        if line is None:
            return None
        # What a process holds before there is a network does not grow with its batches.
        before = line.values.get("resident_mib", {}).get("imported", 0.0) if device.startswith("cpu") else 0.0
        return before + (line["mib"] - before) * max(1.0, self._relative_size(training, line))

    def kept_bytes(self, training: Training) -> float | None:
        """Checkpoints and predictions that a finished run keeps."""
        if not training.measured_size:
            return None
        line = self._recorded.find("training_step", method=training.run.method, measured="parameters")
        if line is None:
            return None
        weights = self._basis.use(line)["total"] * BYTES_PER_WEIGHT * len(training.settings.dataset.checkpoints)
        self._basis.assume("checkpoints: networks of all settings and variants as large as the recorded one")
        written = self._recorded.find("evaluation")
        if written is None:
            self._basis.assume("prediction files: not counted, no line is recorded")
            return weights
        return weights + training.queries(training.kept_predictions) * self._basis.use(written)["bytes_per_query"]

    def _line(self, training: Network, device: str, benchmark: str = "training_step", **measured: str) -> Line | None:
        """The line of the run's variant, else of the method's full one."""
        if not training.measured_size:
            return None
        wanted = {"method": training.run.method, "device": device, **measured}
        own = self._recorded.find(benchmark, variant=training.run.variant, **wanted)
        line = own or self._recorded.find(benchmark, variant="full", **wanted)
        if line is None:
            return None
        if own is None:
            self._basis.assume("variants without a line of their own: as `full` of their method")
        return self._basis.use(line)

    def _relative_size(self, training: Network, line: Line) -> float:
        """Positions (samples times clips) of the run's batches over those of the measured batch."""
        samples, clips, _ = line["batch"]
        padded = self._padded_clips(training, clips)
        if training.run.setting != MEASURED_SETTING:
            self._basis.assume(
                f"{training.run.setting}: times and memory in proportion to the clips of a batch ({padded:.0f} per "
                f"video, measured with {clips}), networks and features as wide as those of {MEASURED_SETTING}"
            )
        return training.settings.training.batch_size * padded / (samples * clips)

    def _padded_clips(self, training: Network, measured: int) -> float:
        """Mean clips to which the batches of a training are padded."""
        dataset, setting = training.settings.dataset, training.run.setting
        wanted = {"setting": setting, "bucket_batches": training.settings.training.bucket_batches}
        composition = self._recorded.find("batch_composition", **wanted)
        if composition is not None and "padded_clips" in composition.values:
            return self._basis.use(composition)["padded_clips"]
        longest = dataset.max_stored_clips
        if longest is None:
            self._basis.assume(f"{setting}: batches as long as the measured ones, since no composition is recorded")
        return longest or measured
