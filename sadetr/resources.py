"""What jobs ask a cluster for: memory and time, from what was measured (``config/resources.yaml``). Free of torch."""

import math
from dataclasses import dataclass
from pathlib import Path

from sadetr.layering import CONFIG, find, load_yaml, validate
from sadetr.records import PositiveFloat, PositiveInt, Record


class Measured(Record):
    """The most that any measured job of a rule took."""

    seconds: PositiveFloat
    mem_mb: PositiveInt


class MeasuredTraining(Record):
    """A training by its steps: their number is known before it begins."""

    mem_mb: PositiveInt
    around_seconds: PositiveFloat
    """Everything but the steps: start, validation, predictions."""
    clips: PositiveInt
    """Longest video of the measured batches, in clips."""
    step_seconds: dict[str, PositiveFloat]
    """Method -> one step. Methods that were not measured count as the slowest that was."""


class SizeFigures(Record):
    """Figures for data of one size."""

    rules: dict[str, Measured]
    training: MeasuredTraining


class Factors(Record):
    """What lies between a figure and a request."""

    time: PositiveFloat
    memory: PositiveFloat
    gpu_speed_up: PositiveFloat
    """How many times faster a step is on a GPU than it was where it was measured."""


class Least(Record):
    """Requests are never smaller."""

    minutes: PositiveInt
    mem_mb: PositiveInt


@dataclass(frozen=True)
class Request:
    """What the first attempt of a job asks for; the n-th asks for n times as much."""

    minutes: int
    mem_mb: int


class ResourceFigures(Record):
    """The content of ``config/resources.yaml``."""

    factors: Factors
    least: Least
    generated: SizeFigures
    full_size: SizeFigures

    def step(self, rule: str, generated: bool) -> Request:
        """Request of a job of any rule but ``train``; KeyError for an unknown one."""
        figures = self._size(generated).rules[rule]
        return self._request(figures.seconds, figures.mem_mb)

    def training(self, method: str, steps: int, clips: int, generated: bool, gpu: bool) -> Request:
        """Request of a training.

        Args:
            method: name of a method.
            steps: of the optimiser, over all epochs.
            clips: of the longest video that the benchmark setting keeps.
            generated: whether the data are generated, hence small.
            gpu: whether it runs on one.
        """
        figures = self._size(generated).training
        longer = max(1.0, clips / figures.clips)
        per_step = figures.step_seconds.get(method, max(figures.step_seconds.values())) * longer
        speed_up = self.factors.gpu_speed_up if gpu else 1.0
        return self._request(figures.around_seconds + steps * per_step / speed_up, math.ceil(figures.mem_mb * longer))

    def _size(self, generated: bool) -> SizeFigures:
        return self.generated if generated else self.full_size

    def _request(self, seconds: float, mem_mb: int) -> Request:
        minutes = math.ceil(seconds * self.factors.time / 60)
        memory = math.ceil(mem_mb * self.factors.memory)
        return Request(max(minutes, self.least.minutes), max(memory, self.least.mem_mb))


def load_resources(config: Path = CONFIG) -> ResourceFigures:
    """Read ``resources.yaml``.

    Raises:
        SettingsError: an unknown or missing key, or a value of the wrong type.
    """
    path = config / "resources.yaml"
    return validate(ResourceFigures, load_yaml(path), path)
