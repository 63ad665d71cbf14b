"""Reading ``config/``: scales, dataset settings and methods, layered into the settings of a run.

Layers, later ones win: type defaults, the dataset setting's record, the scale (its ``extends`` chain first; within one
file the part for all settings, then the part for this setting; in each part what concerns the method alone comes last),
the variant. Every error names the file that holds the value, the key, and the nearest key that exists.
"""

import difflib
import functools
import importlib
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field

from sadetr.errors import SettingsError
from sadetr.layering import CONFIG, Origins, find, load_yaml, merge, validate
from sadetr.settings import (
    CorpusSettings,
    DatasetSettings,
    FeatureSettings,
    Record,
    RunSettings,
    SimulationSettings,
)

Overrides = dict[str, Any]
ClassReference = Annotated[str, Field(pattern=r"^\w+(\.\w+)*:\w+$")]
"""``package.module:Class``."""


class SettingOverrides(Record):
    """What a scale changes for one benchmark setting (or, at the top of the file, for all of them)."""

    dataset: Overrides = Field(default_factory=dict)
    features: Overrides = Field(default_factory=dict)
    training: Overrides = Field(default_factory=dict)
    execution: Overrides = Field(default_factory=dict)
    simulation: Overrides = Field(default_factory=dict)
    methods: dict[str, Overrides] = Field(default_factory=dict)
    """Method -> its own settings."""
    method_training: dict[str, Overrides] = Field(default_factory=dict)
    """Method -> what its training changes of ``training`` in the same place."""
    corpus: CorpusSettings = CorpusSettings()
    """Of generated data; :func:`resolve_corpus` joins the layers."""


class ScaleSettings(SettingOverrides):
    """A scale: where the data come from and what differs from the paper's settings."""

    name: str
    reference: str
    """The name or path that the scale was loaded by."""
    label: str
    """Shown on every table and figure; empty where the numbers may be compared with the paper."""
    data: Literal["generated", "simulated", "official"]
    extends: str | None = None
    settings: dict[str, SettingOverrides] = Field(default_factory=dict)

    @property
    def comparable(self) -> bool:
        """Whether numbers of this scale may be compared with the paper's."""
        return self.data == "official"


class VariantOverrides(Record):
    """A short named change of the full method; the reason stands as a comment in the file."""

    model: Overrides = Field(default_factory=dict)
    training: Overrides = Field(default_factory=dict)


class MethodSettings(Record):
    """A method: its classes and its variants. The first variant is the full method."""

    name: str
    title: str
    network: ClassReference
    """Of the method's :class:`sadetr.models.interface.Method`."""
    settings: ClassReference
    """Of the method's settings; its module never imports torch."""
    official: str | None = None
    """Module that says what the authors call everything (:mod:`sadetr.models.official`); None where there is none."""
    variants: dict[str, VariantOverrides]

    @property
    def module(self) -> str:
        """Module of the network."""
        return self.network.partition(":")[0]

    def network_type(self) -> type:
        """Import the network's class, which needs torch.

        Raises:
            SettingsError: it cannot be imported.
        """
        return self._imported("network", self.network)

    def settings_type(self) -> type[Record]:
        """Import the settings' class, which does not need torch.

        Raises:
            SettingsError: it cannot be imported.
        """
        return self._imported("settings", self.settings)

    def _imported(self, key: str, reference: str) -> Any:
        module, _, name = reference.partition(":")
        try:
            return getattr(importlib.import_module(module), name)
        except (ImportError, AttributeError) as error:
            file = find("methods", f"{self.name}.yaml")
            raise SettingsError(f"{file}: {key}: {reference!r} cannot be imported ({error})") from error


def _named(folder: str, name: str, config: Path) -> Path:
    """``name`` is the stem of a file in ``config/<folder>`` or a path to a YAML file of one's own."""
    return Path(name) if name.endswith((".yaml", ".yml")) else find(folder, f"{name}.yaml", config)


@functools.cache
def load_scale(name: str, config: Path = CONFIG) -> ScaleSettings:
    """Read a scale by name, or from a path ending in ``.yaml``; ``extends`` is followed by :func:`resolve`."""
    path = _named("scales", name, config)
    return validate(ScaleSettings, {"name": path.stem, "reference": name, **load_yaml(path)}, path)


@functools.cache
def load_method(name: str, config: Path = CONFIG) -> MethodSettings:
    """Read a method's file: its classes and variants."""
    path = _named("methods", name, config)
    return validate(MethodSettings, {"name": path.stem, **load_yaml(path)}, path)


@functools.cache
def scale_chain(name: str, config: Path = CONFIG) -> tuple[tuple[Path, ScaleSettings], ...]:
    """The scale and those it extends, most general first."""
    chain: list[tuple[Path, ScaleSettings]] = []
    following: str | None = name
    while following is not None:
        path = _named("scales", following, config)
        if any(path == seen for seen, _ in chain):
            raise SettingsError(f"{chain[0][0]}: key 'extends' leads back to {following!r}")
        scale = load_scale(following, config)
        chain.append((path, scale))
        following = scale.extends
    return tuple(reversed(chain))


@functools.cache
def resolve_dataset(setting: str, scale: str, config: Path = CONFIG) -> DatasetSettings:
    """The dataset setting as the scale sees it."""
    merged, origins = _layers(setting, scale, None, config)
    return validate(DatasetSettings, merged["dataset"], origins, ("dataset",))


@functools.cache
def resolve_features(setting: str, scale: str, config: Path = CONFIG) -> FeatureSettings:
    """How the scale stores the features of a benchmark setting."""
    merged, origins = _layers(setting, scale, None, config)
    return validate(FeatureSettings, merged["features"], origins, ("features",))


@functools.cache
def resolve_corpus(setting: str, scale: str, config: Path = CONFIG) -> CorpusSettings:
    """The generated corpus of a benchmark setting."""
    values: dict[str, Any] = {}
    for _, layer in scale_chain(scale, config):
        for part in (layer, layer.settings.get(setting, SettingOverrides())):
            values |= part.corpus.model_dump(exclude_unset=True)
    return validate(CorpusSettings, values, _named("scales", scale, config))


@functools.cache
def resolve_simulation(setting: str, scale: str, config: Path = CONFIG) -> SimulationSettings:
    """How hard the simulated features of a benchmark setting are."""
    merged, origins = _layers(setting, scale, None, config)
    return validate(SimulationSettings, merged["simulation"], origins, ("simulation",))


@functools.cache
def resolve(setting: str, method: str, variant: str, seed: int, scale: str, config: Path = CONFIG) -> RunSettings:
    """The settings of one run.

    Raises:
        SettingsError: a name is unknown, or a file holds an unknown key or a value of the wrong type.
    """
    record = load_method(method, config)
    merged, origins = _run_layers(setting, method, variant, scale, config)
    model = validate(record.settings_type(), merged.pop("model"), origins, ("model",))
    values = {"setting": setting, "method": method, "variant": variant, "seed": seed, **merged, "model": model}
    return validate(RunSettings, values, origins)


def resolve_origins(setting: str, method: str, variant: str, scale: str, config: Path = CONFIG) -> Origins:
    """Which file set which key of a run's settings; errors are those of :func:`resolve`."""
    return _run_layers(setting, method, variant, scale, config)[1]


def _run_layers(setting: str, method: str, variant: str, scale: str, config: Path) -> tuple[dict[str, Any], Origins]:
    record = load_method(method, config)
    path = _named("methods", method, config)
    if variant not in record.variants:
        near = difflib.get_close_matches(variant, record.variants, n=1, cutoff=0.0)
        raise SettingsError(f"{path}: no variant {variant!r}; the nearest is {near[0]!r}")
    merged, origins = _layers(setting, scale, method, config)
    for section, values in record.variants[variant].model_dump(exclude_unset=True).items():
        merge(merged.setdefault(section, {}), values, path, origins, (section,), ("variants", variant, section))
    # Like the generated corpus, simulated features reach a run through the feature store, which has a digest.
    del merged["simulation"]
    return merged, origins


def _layers(setting: str, scale: str, method: str | None, config: Path) -> tuple[dict[str, Any], Origins]:
    dataset_file = _named("settings", setting, config)
    origins = Origins(dataset_file)
    sections = ("dataset", "features", "training", "execution", "simulation")
    merged: dict[str, Any] = {section: {} for section in (*sections, "model")}
    record = {"name": dataset_file.stem, **load_yaml(dataset_file)}
    merge(merged["dataset"], record, dataset_file, origins, ("dataset",), ())
    for path, layer in scale_chain(scale, config):
        for part, prefix in ((layer, ()), (layer.settings.get(setting, SettingOverrides()), ("settings", setting))):
            for section in sections:
                merge(merged[section], getattr(part, section), path, origins, (section,), (*prefix, section))
            for section, key in (("training", "method_training"), ("model", "methods")):
                overrides = {} if method is None else getattr(part, key).get(method, {})
                merge(merged[section], overrides, path, origins, (section,), (*prefix, key, method))
    return merged, origins
