"""What the files of scales and methods say, and as which layers it is laid over the settings of a run.

:mod:`sadetr.configuration` reads the files and puts the layers into their order.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import AfterValidator, Field

from sadetr.settings import CorpusSettings, Record

Overrides = dict[str, Any]
Seed = Annotated[int, Field(ge=0)]
SECTIONS = ("dataset", "features", "training", "execution", "simulation")
"""Sections of the settings that a scale changes for all methods alike."""


def _each_once(seeds: list[int]) -> list[int]:
    if len(set(seeds)) < len(seeds):
        raise ValueError("name every seed once")
    return seeds


class Layer(NamedTuple):
    """What one place in a file lays over one section of the settings."""

    section: str
    values: Overrides
    file: Path
    written: tuple[str, ...]
    """Key under which the values stand in the file."""


class SettingOverrides(Record):
    """What a scale changes for one benchmark setting (or, at the top of the file, for all of them)."""

    dataset: Overrides = Field(default_factory=dict)
    features: Overrides = Field(default_factory=dict)
    training: Overrides = Field(default_factory=dict)
    execution: Overrides = Field(default_factory=dict)
    simulation: Overrides = Field(default_factory=dict)
    families: dict[str, Overrides] = Field(default_factory=dict)
    """Family -> settings that its methods have in common."""
    methods: dict[str, Overrides] = Field(default_factory=dict)
    """Method -> its own settings."""
    method_training: dict[str, Overrides] = Field(default_factory=dict)
    """Method -> what its training changes of ``training`` in the same place."""
    corpus: CorpusSettings = CorpusSettings()
    """What generated data look like; :func:`sadetr.configuration.resolve_corpus` joins the layers."""


class ScaleSettings(SettingOverrides):
    """A scale: where the data come from and what differs from the paper's settings."""

    name: str
    reference: str
    """The name or path that the scale was loaded by."""
    label: str
    """Shown on every table and figure; empty where the numbers may be compared with the paper."""
    data: Literal["generated", "simulated", "official"]
    extends: str | None = None
    seeds: Annotated[list[Seed], Field(min_length=1), AfterValidator(_each_once)] | None = None
    """Seeds of the runs behind every row of a table or figure that does not keep its own. None: the paper's."""
    settings: dict[str, SettingOverrides] = Field(default_factory=dict)

    def layers(self, path: Path, setting: str, method: str | None, family: str | None) -> Iterator[Layer]:
        """What this scale, read from ``path``, says on ``setting``, the weakest first: to all methods and to this."""
        here = self.settings.get(setting, SettingOverrides())
        for part, written in ((self, ()), (here, ("settings", setting))):
            spoken_to = [(section, (section,), getattr(part, section)) for section in SECTIONS]
            if family is not None:
                spoken_to.append(("model", ("families", family), part.families.get(family, {})))
            if method is not None:
                spoken_to.append(("training", ("method_training", method), part.method_training.get(method, {})))
                spoken_to.append(("model", ("methods", method), part.methods.get(method, {})))
            for section, key, values in spoken_to:
                yield Layer(section, values, path, (*written, *key))

    @property
    def comparable(self) -> bool:
        """Whether numbers of this scale may be compared with the paper's."""
        return self.data == "official"


class MethodOverrides(Record):
    """What a method's file sets: of its own settings and of training."""

    model: Overrides = Field(default_factory=dict)
    training: Overrides = Field(default_factory=dict)


class BenchmarkOverrides(MethodOverrides):
    """The same for all benchmark settings and, in ``benchmarks``, for single ones."""

    benchmarks: dict[str, MethodOverrides] = Field(default_factory=dict)

    def layers(self, path: Path, setting: str, written: tuple[str, ...] = ()) -> Iterator[Layer]:
        """What stands below the key ``written`` of ``path`` on ``setting``, the weakest first."""
        here = self.benchmarks.get(setting, MethodOverrides())
        for part, key in ((self, written), (here, (*written, "benchmarks", setting))):
            for section in ("model", "training"):
                yield Layer(section, getattr(part, section), path, (*key, section))
