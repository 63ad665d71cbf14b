"""What jobs ask a cluster for: time and memory, from what was measured (``config/resources.yaml``). Free of torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from sadetr.layering import CONFIG, load_yaml, validate
from sadetr.records import PositiveFloat, PositiveInt, Record


@dataclass(frozen=True)
class Request:
    """What the first attempt of a job asks for; the n-th asks for n times as much."""

    minutes: int
    mem_mb: int


class Measured(Record):
    """The most that a measured job of a rule took."""

    seconds: PositiveFloat
    mem_mb: PositiveInt


class StepFigures(Record):
    """Trainings, by the number of their steps, which is known before they begin."""

    mem_mb: PositiveInt
    other_seconds: PositiveFloat
    """Everything but the steps: start, validation, predictions."""
    positions: PositiveInt
    """Samples times clips of a measured batch."""
    step_seconds: dict[str, PositiveFloat]
    """Method -> seconds per step. A method that is not here counts as the slowest one."""
    padded_clips: dict[str, PositiveFloat]
    """Benchmark setting -> clips that batches are padded to; empty where all take about as long. One that is not here
    counts as the longest."""


class SizeFigures(Record):
    """Figures for data of one size."""

    rules: dict[str, Measured]
    training: StepFigures


class Factors(Record):
    """What lies between a figure and a request."""

    time: PositiveFloat
    memory: PositiveFloat
    gpu_speed_up: PositiveFloat
    """How many times faster a step is on a GPU than on the processor where it was measured."""


@dataclass(frozen=True)
class Training:
    """What the time and the memory of a training follow from."""

    method: str
    setting: str
    steps: int
    batch_size: int
    gpu: bool


class ResourceFigures(Record):
    """The content of ``config/resources.yaml``."""

    factors: Factors
    least: Measured
    """No request is smaller."""
    generated: SizeFigures
    full_size: SizeFigures

    def request(self, rule: str, generated: bool) -> Request:
        """For a job of any rule but ``train``; KeyError for a rule that has no figures.

        Args:
            rule: its name.
            generated: whether the data are generated, hence small.
        """
        figures = self._size(generated).rules[rule]
        return self._request(figures.seconds, figures.mem_mb)

    def training_request(self, training: Training, generated: bool) -> Request:
        """For a job of the rule ``train``.

        Larger batches of longer videos take more time in proportion; on a processor more memory too, on a GPU theirs is
        not the job's.
        """
        figures = self._size(generated).training
        clips = figures.padded_clips.get(training.setting, max(figures.padded_clips.values(), default=0.0))
        larger = max(1.0, training.batch_size * clips / figures.positions)
        step = figures.step_seconds.get(training.method, max(figures.step_seconds.values())) * larger
        speed_up = self.factors.gpu_speed_up if training.gpu else 1.0
        seconds = figures.other_seconds + training.steps * step / speed_up
        return self._request(seconds, figures.mem_mb * (1.0 if training.gpu else larger))

    def _size(self, generated: bool) -> SizeFigures:
        return self.generated if generated else self.full_size

    def _request(self, seconds: float, mem_mb: float) -> Request:
        seconds = max(seconds * self.factors.time, self.least.seconds)
        return Request(math.ceil(seconds / 60), math.ceil(max(mem_mb * self.factors.memory, self.least.mem_mb)))


def load_resources(config: Path = CONFIG) -> ResourceFigures:
    """Read ``resources.yaml``.

    Raises:
        SettingsError: an unknown or missing key, or a value of the wrong type.
    """
    path = config / "resources.yaml"
    return validate(ResourceFigures, load_yaml(path), path)
