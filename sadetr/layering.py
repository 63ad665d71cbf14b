"""Settings files: where they lie, how one mapping is laid over another, errors that name file, key and remedy."""

import copy
import difflib
import functools
import importlib.metadata
import importlib.util
from pathlib import Path
from typing import Any, TypeVar, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError

from sadetr.disguise import YAML, disguise, is_companion
from sadetr.errors import SettingsError
from sadetr.installation import ROOT

CONFIG = ROOT / "config"
EXTENSIONS = "sadetr.extensions"
"""Entry point group of installed packages that add methods, experiments, scales or settings."""

LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)

T = TypeVar("T", bound=BaseModel)


@functools.cache
def extension_folders() -> tuple[Path, ...]:
    """Folders laid out like ``config/`` that installed packages declare (docs/adding_a_method.md), by entry point name.

    Raises:
        SettingsError: an entry point names a package that does not exist.
    """
    folders = []
    for entry in sorted(importlib.metadata.entry_points(group=EXTENSIONS)):
        # Looked up, not imported: reading settings must not load torch.
        package, *inner = entry.value.split(".")
        spec = importlib.util.find_spec(package)
        if spec is None or not spec.submodule_search_locations:
            raise SettingsError(f"entry point {entry.name!r} of {EXTENSIONS!r}: {entry.value!r} is no package")
        folders.append(Path(next(iter(spec.submodule_search_locations)), *inner))
    return tuple(folders)


def find(folder: str, file: str, config: Path = CONFIG) -> Path:
    """``<config>/<folder>/<file>``, or the file of this name that an extension adds."""
    paths = [base / folder / file for base in (config, *extension_folders())]
    return next((path for path in paths if path.exists()), paths[0])


def named_files(folder: str, config: Path = CONFIG) -> list[str]:
    """Names of all configuration files of a kind, those of extensions included."""
    return sorted({name for base in (config, *extension_folders()) for name in _names(base / folder)})


def _names(folder: Path) -> list[str]:
    return [path.stem for path in folder.glob("*.yaml") if not is_companion(path.name)]


def load_yaml(path: Path) -> dict[str, Any]:
    """Read one configuration file; an empty file is an empty mapping."""
    try:
        # A plan reads the same few files hundreds of times. Copied, as whoever reads one may change it.
        content = copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        if found := disguise(path, YAML):
            raise SettingsError(f"{path}: {found}") from None
        folders = [path.parent, *(folder / path.parent.name for folder in extension_folders())]
        known = ", ".join(sorted({name for folder in folders for name in _names(folder)})) or "none"
        raise SettingsError(f"{path}: no such configuration file. Known names: {known}") from None
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        found = disguise(path, YAML)
        raise SettingsError(f"{path}: {found or f'cannot be read as YAML: {error}'}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        found = disguise(path, YAML)
        raise SettingsError(f"{path}: {found or f'expected keys and values, found a {type(content).__name__}'}")
    return content


@functools.lru_cache(maxsize=256)
def _parsed(text: str) -> Any:
    """The content of a YAML file, by libyaml where PyYAML was built with it: six times as fast."""
    try:
        return yaml.load(text, Loader=LOADER)
    except yaml.YAMLError:
        # The same refusal, in words that show the line.
        return yaml.safe_load(text)


def validate(model: type[T], values: dict[str, Any], origins: "Origins | Path", prefix: tuple = ()) -> T:
    """Validate ``values``, turning the first fault into a :class:`SettingsError` that names file, key and remedy."""
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _settings_error(model, error.errors()[0], origins, prefix) from None


def check_keys(model: type[BaseModel], values: dict[str, Any], file: Path, prefix: tuple) -> None:
    """Refuse keys in part of a record of type ``model``, written in ``file`` below ``prefix``, that it does not have.

    Only all layers together show whether the values are right.

    Raises:
        SettingsError: names the first such key.
    """
    try:
        model.model_validate(values)
    except ValidationError as error:
        unknown = [fault for fault in error.errors() if fault["type"] == "extra_forbidden"]
        if unknown:
            raise _settings_error(model, unknown[0], file, prefix) from None


def _settings_error(model: type[BaseModel], fault: Any, origins: "Origins | Path", prefix: tuple) -> SettingsError:
    """The error for a fault in values of type ``model``, which stand at ``prefix`` of the merged settings or a file."""
    location, record = _locate(model, tuple(fault["loc"]))
    place = prefix + location
    file, written = (origins, place) if isinstance(origins, Path) else origins.find(place)
    return SettingsError(f"{file}: {_explain(record, fault, location, written)}")


def _explain(record: type[BaseModel] | None, fault: Any, location: tuple, written: tuple) -> str:
    """The fault at ``location``, in a part of the settings of type ``record``; ``written`` as the file spells it."""
    key = ".".join(map(str, written))
    if fault["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(location[-1]), record.model_fields if record else [], n=1, cutoff=0.0)
        hint = ".".join([*map(str, written[:-1]), *near])
        return f"unknown key {key!r}; the nearest valid key is {hint!r}"
    if fault["type"] == "missing":
        return f"key {key!r} is missing"
    if fault["type"] == "union_tag_not_found":
        return f"key '{key}.kind' is missing; it says what the other keys mean"
    if fault["type"] == "union_tag_invalid":
        context = fault["ctx"]
        return f"key '{key}.kind': unknown kind {context['tag']!r}; known: {context['expected_tags']}"
    message = fault["msg"].removeprefix("Value error, ")
    given = fault["input"]
    if isinstance(given, BaseModel | dict):
        return f"key {key!r}: {message}" if key else message
    hint = " (YAML reads 1e-4 as text: write 1.0e-4)" if isinstance(given, str) and _looks_numeric(given) else ""
    return f"key {key!r}: {message}, found {given!r}{hint}"


def _looks_numeric(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _locate(model: type[BaseModel], location: tuple) -> tuple[tuple, type[BaseModel] | None]:
    """``location`` of a fault as a file would spell it, and the record that holds its last key.

    Where records are told apart by a tag, pydantic puts the tag into the location although no file nests there.
    """
    keys: list[Any] = []
    annotation: Any = model
    holder: type[BaseModel] | None = model
    for part in location:
        records = _record_types(annotation)
        tagged = [record for record in records if part in _tags(record)] if len(records) > 1 else []
        if tagged:
            annotation = tagged[0]
            continue
        keys.append(part)
        if get_origin(annotation) is dict:
            annotation = get_args(annotation)[1]
        # An index into a list stays with the records of its items.
        elif isinstance(part, str):
            holder = records[0] if records else None
            field = holder.model_fields.get(part) if holder else None
            annotation = field.annotation if field else None
    return tuple(keys), holder


def _tags(record: type[BaseModel]) -> tuple[Any, ...]:
    """Values of a record's field ``kind``, by which a union tells its members apart."""
    return get_args(record.model_fields["kind"].annotation) if "kind" in record.model_fields else ()


def _record_types(annotation: Any) -> list[type[BaseModel]]:
    """All records inside a type such as ``list[A]`` or ``A | B``."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [record for inner in get_args(annotation) for record in _record_types(inner)]


class Origins:
    """Which file set which key of the merged settings, and under what path it stands there."""

    def __init__(self, default: Path) -> None:
        self._default = default
        self._found: dict[tuple, tuple[Path, tuple]] = {}

    def copy(self) -> "Origins":
        """One of its own, to be gone on with."""
        copied = Origins(self._default)
        copied._found = dict(self._found)
        return copied

    def record(self, location: tuple, file: Path, section: tuple) -> None:
        """``file`` set the key at ``location``, whose first part stands there as ``section``."""
        # Set again, a key moves to the end: the order is that of the layers.
        self._found.pop(location, None)
        self._found[location] = (file, section)

    def find(self, location: tuple) -> tuple[Path, tuple]:
        """File and written path of the key at ``location``; of a whole record, the last file that set part of it."""
        for length in range(len(location), 0, -1):
            prefix = location[:length]
            found = [entry for key, entry in self._found.items() if key[:length] == prefix]
            if found:
                file, section = found[-1]
                return file, section + location[1:]
        return self._default, location

    def layer(self, location: tuple) -> tuple[Path, tuple] | None:
        """File and section that set exactly the key at ``location``; None where the type's default stands."""
        return self._found.get(location)


def merge(
    base: dict[str, Any], override: dict[str, Any], file: Path, origins: Origins, at: tuple, section: tuple
) -> None:
    """Lay ``override`` over ``base`` in place: mappings are merged, everything else is replaced.

    ``at`` is where ``base`` stands in the merged settings; its first part is written as ``section`` in ``file``.
    """
    for key, value in override.items():
        location = (*at, key)
        if not isinstance(value, dict):
            base[key] = value
            origins.record(location, file, section)
            continue
        # A merge into an empty mapping records where each nested key comes from; another kind of record starts so too.
        present = base.get(key)
        if not isinstance(present, dict) or value.get("kind", present.get("kind")) != present.get("kind"):
            base[key] = {}
            origins.record(location, file, section)
        merge(base[key], value, file, origins, location, section)
