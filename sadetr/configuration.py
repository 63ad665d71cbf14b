"""Reading ``config/``: scales, benchmark settings, families and methods, layered into the settings of a run.

Layers, later ones win (docs/settings.md says why in this order):

1. the types' defaults;
2. the record of the benchmark setting (``dataset`` alone);
3. the method's file: what holds on all benchmark settings, then its section ``benchmarks`` for this one;
4. the scale, after those that it extends. Of each the part for all benchmark settings, then the part for this one; in
   each part what is said to all methods, then to the method's family, then to the method by name. Behind each
   scale comes what the method answers to it, in the section ``scales`` of the method's file;
5. the variant.

Every error names the file that holds the value, the key, and the nearest key that exists.
"""

import copy
import difflib
import functools
import importlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field

from sadetr.errors import SettingsError
from sadetr.layering import CONFIG, Origins, check_keys, find, load_yaml, merge, named_files, validate
from sadetr.overrides import SECTIONS, BenchmarkOverrides, Layer, MethodOverrides, ScaleSettings, SettingOverrides
from sadetr.settings import (
    CorpusSettings,
    DatasetSettings,
    ExecutionSettings,
    FeatureSettings,
    Record,
    RunSettings,
    SimulationSettings,
)

PAPER_SEEDS = "paper"
"""What is asked for where every row has the seeds of its experiment file."""
ClassReference = Annotated[str, Field(pattern=r"^\w+(\.\w+)*:\w+$")]
"""``package.module:Class``."""


class FamilySettings(Record):
    """Methods that have settings in common, so that a scale can speak to all of them at once."""

    name: str
    settings: ClassReference
    """Class that the settings of every method of the family extend."""

    def settings_type(self, config: Path = CONFIG) -> type[Record]:
        """Import the class; it must not need torch."""
        return _imported(self.settings, "settings", find("families", f"{self.name}.yaml", config))


class MethodSettings(BenchmarkOverrides):
    """A method: its classes, its values and its variants. The first variant is the full method."""

    name: str
    title: str
    network: ClassReference
    """The method's :class:`sadetr.models.interface.Method`."""
    settings: ClassReference
    """The class of the method's settings; its module never imports torch."""
    official: str | None = None
    """Module that says what the authors call everything (:mod:`sadetr.models.official`); None where there is none."""
    family: str | None = None
    """Family whose settings type that class extends; None where a scale is to reach the method by its name alone."""
    scales: dict[str, BenchmarkOverrides] = Field(default_factory=dict)
    """Scale -> what the method needs there in particular, and at the scales that extend it."""
    variants: dict[str, MethodOverrides]
    """Short named changes of the full method; the reason stands as a comment in the file."""

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
        return _imported(reference, key, find("methods", f"{self.name}.yaml"))


def _imported(reference: str, key: str, file: Path) -> Any:
    """The class that ``key`` of ``file`` names."""
    module, _, name = reference.partition(":")
    try:
        return getattr(importlib.import_module(module), name)
    except (ImportError, AttributeError) as error:
        raise SettingsError(f"{file}: {key}: {reference!r} cannot be imported ({error})") from error


def _named(folder: str, name: str, config: Path) -> Path:
    """``name`` is the stem of a file in ``config/<folder>`` or a path to a YAML file of one's own."""
    return Path(name) if name.endswith((".yaml", ".yml")) else find(folder, f"{name}.yaml", config)


@functools.cache
def load_scale(name: str, config: Path = CONFIG) -> ScaleSettings:
    """Read a scale by name, or from a path ending in ``.yaml``; ``extends`` is followed by :func:`resolve`.

    Raises:
        SettingsError: as of :func:`resolve`, or the file speaks to a benchmark setting, family or method that is not
            there, or to a family of what its type does not have.
    """
    path = _named("scales", name, config)
    scale = validate(ScaleSettings, {"name": path.stem, "reference": name, **load_yaml(path)}, path)
    _check_names(path, ("settings",), scale.settings, "settings", config)
    parts = {("settings", setting): part for setting, part in scale.settings.items()}
    for written, part in {(): scale, **parts}.items():
        for key in ("methods", "method_training"):
            _check_names(path, (*written, key), getattr(part, key), "methods", config)
        _check_names(path, (*written, "families"), part.families, "families", config)
        for family, overrides in part.families.items():
            shared = load_family(family, config).settings_type(config)
            check_keys(shared, overrides, path, (*written, "families", family))
    return scale


def choose_seeds(scale: ScaleSettings, text: str | None) -> ScaleSettings:
    """The scale with other seeds of the rows of tables and figures.

    Args:
        scale: as :func:`load_scale` reads it.
        text: whole numbers with commas between them; ``paper`` for those of the paper; None leaves the scale as it is.

    Raises:
        SettingsError: neither, or one seed twice.
    """
    if text is None:
        return scale
    if text == PAPER_SEEDS:
        return scale.model_copy(update={"seeds": None})
    words = [word.strip() for word in text.split(",")]
    if not all(word.isdecimal() for word in words) or len(set(map(int, words))) < len(words):
        raise SettingsError(
            f"seeds {text!r}: expected {PAPER_SEEDS!r} or different whole numbers, 0,1,2,3,2018 say, without blanks"
        )
    return scale.model_copy(update={"seeds": [int(word) for word in words]})


def seeds_text(scale: ScaleSettings) -> str:
    """Inverse of :func:`choose_seeds`."""
    return PAPER_SEEDS if scale.seeds is None else ",".join(map(str, scale.seeds))


def _check_names(path: Path, key: tuple[str, ...], names: Iterable[str], folder: str, config: Path) -> None:
    """Refuse keys below ``key`` that name no file of a kind: they would be without effect."""
    known = named_files(folder, config)
    for name in names:
        if name not in known:
            near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
            hint = f"; the nearest valid key is {'.'.join((*key, *near))!r}" if near else ""
            raise SettingsError(
                f"{path}: unknown key {'.'.join((*key, name))!r}: there is no {folder}/{name}.yaml, here or in an "
                f"installed extension{hint}"
            )


@functools.cache
def load_family(name: str, config: Path = CONFIG) -> FamilySettings:
    """Read a family's file: its settings type."""
    path = find("families", f"{name}.yaml", config)
    return validate(FamilySettings, {"name": name, **load_yaml(path)}, path)


@functools.cache
def load_method(name: str, config: Path = CONFIG) -> MethodSettings:
    """Read a method's file: its classes, values and variants.

    Raises:
        SettingsError: as of :func:`resolve`, or the file names a family, scale or benchmark setting that is not there.
    """
    path = _named("methods", name, config)
    method = validate(MethodSettings, {"name": path.stem, **load_yaml(path)}, path)
    families = named_files("families", config)
    if method.family is not None and method.family not in families:
        raise SettingsError(f"{path}: key 'family': unknown family {method.family!r}; known: {', '.join(families)}")
    _check_names(path, ("benchmarks",), method.benchmarks, "settings", config)
    _check_names(path, ("scales",), method.scales, "scales", config)
    for scale, answer in method.scales.items():
        _check_names(path, ("scales", scale, "benchmarks"), answer.benchmarks, "settings", config)
    return method


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
    """The benchmark setting as the scale sees it."""
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
def resolve_execution(setting: str, scale: str, config: Path = CONFIG) -> ExecutionSettings:
    """Where the scale computes for a benchmark setting, whatever the method."""
    merged, origins = _layers(setting, scale, None, config)
    return validate(ExecutionSettings, merged["execution"], origins, ("execution",))


@functools.cache
def resolve(setting: str, method: str, variant: str, seed: int, scale: str, config: Path = CONFIG) -> RunSettings:
    """The settings of one run.

    Raises:
        SettingsError: a name is unknown, or a file holds an unknown key or a value of the wrong type.
    """
    merged, origins = _run_layers(setting, method, variant, scale, config)
    model = validate(_model_type(method, config), merged["model"], origins, ("model",))
    values = {"setting": setting, "method": method, "variant": variant, "seed": seed, **merged, "model": model}
    return validate(RunSettings, values, origins)


def resolve_origins(setting: str, method: str, variant: str, scale: str, config: Path = CONFIG) -> Origins:
    """Which file set which key of a run's settings; errors are those of :func:`resolve`."""
    return _run_layers(setting, method, variant, scale, config)[1]


def _model_type(method: str, config: Path) -> type[Record]:
    record = load_method(method, config)
    model = record.settings_type()
    if record.family is not None:
        family = load_family(record.family, config)
        if not issubclass(model, family.settings_type(config)):
            raise SettingsError(
                f"{_named('methods', method, config)}: settings: {record.settings!r} does not extend "
                f"{family.settings!r}, the type of the family {family.name!r}; extend it or leave 'family' out"
            )
    return model


@functools.cache
def _run_layers(setting: str, method: str, variant: str, scale: str, config: Path) -> tuple[dict[str, Any], Origins]:
    """All layers of a run, the same for all seeds. Nobody changes what is returned."""
    record = load_method(method, config)
    path = _named("methods", method, config)
    if variant not in record.variants:
        near = difflib.get_close_matches(variant, record.variants, n=1, cutoff=0.0)
        raise SettingsError(f"{path}: no variant {variant!r}; the nearest is {near[0]!r}")
    shared, found = _layers(setting, scale, method, config)
    merged, origins = copy.deepcopy(shared), found.copy()
    for section, values in record.variants[variant].model_dump(exclude_unset=True).items():
        merge(merged.setdefault(section, {}), values, path, origins, (section,), ("variants", variant, section))
    # Like the generated corpus, simulated features reach a run through the feature store, which has a digest.
    del merged["simulation"]
    return merged, origins


@functools.cache
def _layers(setting: str, scale: str, method: str | None, config: Path) -> tuple[dict[str, Any], Origins]:
    """All layers but the variant, laid over each other; without a method, what holds for all of them.

    Nobody changes what is returned.
    """
    dataset_file = _named("settings", setting, config)
    origins = Origins(dataset_file)
    merged: dict[str, Any] = {section: {} for section in (*SECTIONS, "model")}
    record = {"name": dataset_file.stem, **load_yaml(dataset_file)}
    merge(merged["dataset"], record, dataset_file, origins, ("dataset",), ())
    for layer in _overrides(setting, scale, method, config):
        merge(merged[layer.section], layer.values, layer.file, origins, (layer.section,), layer.written)
    return merged, origins


def _overrides(setting: str, scale: str, method: str | None, config: Path) -> Iterator[Layer]:
    if method is None:
        for path, layer in scale_chain(scale, config):
            yield from layer.layers(path, setting, None, None)
        return
    record = load_method(method, config)
    own = _named("methods", method, config)
    yield from record.layers(own, setting)
    for path, layer in scale_chain(scale, config):
        yield from layer.layers(path, setting, record.name, record.family)
        # Told apart by reference: a scale of a user's own may have the file name of one of ours.
        answer = record.scales.get(layer.reference, BenchmarkOverrides())
        yield from answer.layers(own, setting, ("scales", layer.reference))
