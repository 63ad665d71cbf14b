"""Which settings of a run are not the full model's, and which files say so. Free of torch."""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from sadetr.configuration import load_method, resolve_origins
from sadetr.experiments import RunId, canonical, run_settings
from sadetr.installation import ROOT
from sadetr.layering import Origins

DEFAULT = "default"
"""Origin of a value that no file sets."""


@dataclass(frozen=True)
class Difference:
    """A key of the settings whose value is not the full model's, with the files that say so."""

    key: str
    value: Any
    origin: str
    full: Any
    full_origin: str


def full_model(run: RunId, scale: str) -> RunId:
    """The full method with the run's setting and seed: its method file's first variant."""
    variant = next(iter(load_method(run.method).variants))
    return canonical(replace(run, variant=variant), scale)


def differences(run: RunId, scale: str) -> list[Difference]:
    """Settings of ``run`` that are not the full model's, by key."""
    other = full_model(run, scale)
    ours, theirs = (dict(_leaves(run_settings(each, scale).identity())) for each in (run, other))
    origins = [resolve_origins(each.setting, each.method, each.variant, scale) for each in (run, other)]
    return [
        Difference(
            ".".join(location), ours.get(location), _origin(origins[0], location), theirs.get(location), other_origin
        )
        for location in sorted(ours.keys() | theirs.keys())
        if ours.get(location) != theirs.get(location)
        for other_origin in [_origin(origins[1], location)]
    ]


def _leaves(value: Any, location: tuple = ()) -> Iterator[tuple[tuple, Any]]:
    """Values that are no mapping, with the keys that lead there."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _leaves(inner, (*location, key))
    else:
        yield location, value


def _origin(origins: Origins, location: tuple) -> str:
    found = origins.layer(location)
    if found is None:
        return DEFAULT
    path, section = found
    shown = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
    return f"{shown}: {'.'.join(map(str, section))}" if section else str(shown)
