"""What stands after ``--config``, as text. Free of torch."""

import difflib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from sadetr.commandline import SWITCHES
from sadetr.errors import SettingsError
from sadetr.overrides import ScaleSettings

OPTIONS = (
    *("scale", "results", "data_root", "gpu_partition", "runs_per_gpu", "gpu_memory"),
    *("seeds", "features", "videos", "preload"),
)
NUMBERS = ("runs_per_gpu", "gpu_memory")
EXTRACT = "extract"
"""The value of ``features`` that has them made from videos and sentences."""


def texts(config: Mapping[str, Any]) -> dict[str, str]:
    """The values that are text, ``~`` expanded.

    Raises:
        SettingsError: an unknown option, or a value that is no text.
    """
    for key in config:
        if key not in OPTIONS:
            near = difflib.get_close_matches(key, OPTIONS, n=1, cutoff=0.0)[0]
            raise SettingsError(f"--config {key}=...: unknown option; the nearest is {near!r}")
    return {key: _text(key, value) for key, value in config.items() if key not in (*NUMBERS, *SWITCHES, "seeds")}


def videos_of(given: Mapping[str, str], scale: ScaleSettings) -> Path | None:
    """The folder of videos that features are to be made from; None where they are not.

    Raises:
        SettingsError: half of the options, a scale without official features, or no such folder.
    """
    features, videos = given.get("features"), given.get("videos")
    if features is None and videos is None:
        return None
    if features != EXTRACT or videos is None:
        raise SettingsError(
            f"--config: features={EXTRACT} and videos=DIR belong together; downloaded features need neither of them"
        )
    if scale.data != "official":
        raise SettingsError(
            f"--config features={EXTRACT}: scale {scale.name!r} has {scale.data} features; leave it out, or choose a "
            "scale with official ones"
        )
    if not Path(videos).is_dir():
        raise SettingsError(f"--config videos={videos}: there is no such folder")
    return Path(videos)


def numbers_of(config: Mapping[str, Any]) -> dict[str, int]:
    """The values that are whole numbers above 0.

    Raises:
        SettingsError: one of them is something else.
    """
    found = {key: config[key] for key in NUMBERS if key in config}
    for key, value in found.items():
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise SettingsError(f"--config {key}={value}: expected a whole number above 0")
    return found


def switches_of(config: Mapping[str, Any]) -> dict[str, bool]:
    """The values that are true or false.

    Raises:
        SettingsError: one of them is something else.
    """
    # Snakemake reads True on the command line as YAML reads true in a file, and leaves other spellings text.
    found = {key: str(config[key]).lower() for key in SWITCHES if key in config}
    for key, value in found.items():
        if value not in ("true", "false"):
            raise SettingsError(f"--config {key}={config[key]}: expected true or false")
    return {key: value == "true" for key, value in found.items()}


def seeds_of(config: Mapping[str, Any]) -> str | None:
    """The value of ``seeds``, which Snakemake reads as a number, a list or text; None where there is none."""
    value = config.get("seeds")
    if value is None:
        return None
    numbers = value if isinstance(value, list | tuple) else [value]
    return ",".join(map(str, numbers))


def _text(key: str, value: Any) -> str:
    """A ``--config`` value, ``~`` expanded; YAML makes numbers and dates of some names."""
    if not isinstance(value, str) or not value:
        raise SettingsError(
            f"{key}: found {value!r}, expected text; write --config {key}=./NAME, or quotes in a file for --configfile"
        )
    if "{" in value or "}" in value:
        raise SettingsError(f"{key}: {value}: Snakemake reads braces in paths as wildcards; choose a name without them")
    return os.path.expanduser(value)
