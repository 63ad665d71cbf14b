"""What was typed after ``snakemake``: the words that Snakemake loses, changes or ignores without saying so.

Everything here is plain text work on the list of words. Free of torch and of Snakemake.
"""

import itertools
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from sadetr.errors import SettingsError

CONFIG = ("--config", "-C")
NUMBERS = ("seeds", "runs_per_gpu", "gpu_memory")
"""Keys of ``--config`` whose values may be numbers."""
SWITCHES = ("preload",)
"""Keys of ``--config`` whose values are true or false, however Snakemake reads them."""
NAMED_VALUES = (
    *CONFIG,
    *("--resources", "--res", "--default-resources", "--default-res", "--set-resources", "--set-resource-scopes"),
    *("--set-threads", "--set-scatter", "--consider-ancient", "--groups", "--group-components"),
)
"""Options of Snakemake that take any number of ``NAME=VALUE``."""
CONFIG_FILES = ("--configfile", "--configfiles")
CONFIG_SUFFIXES = (".yaml", ".yml", ".json")


def mended(words: Sequence[str]) -> list[str]:
    """The words with targets in front that Snakemake's parser would read as values of an option.

    ``--resources``, ``--config``, ``--configfile`` and their like swallow every following word that is no option, so
    that ``--resources gpu=1 all`` ends with a traceback about the resource ``all``. Moved are only words that can be
    no value of the option before them: those without ``=``, and those that name no file. Whatever Snakemake can parse
    is left as it is.

    They go to the front and not behind a ``--``, which would make targets of all that follows it, options included:
    ``--resources gpu=1 all --cores 1`` is as common.
    """
    targets: list[str] = []
    kept: list[str] = []
    given = 0
    option = ""
    for position, word in enumerate(words):
        if word == "--":
            return [*targets, *kept, *words[position:]]
        if word.startswith("-"):
            # --option=value takes this one value only.
            option, given = word, 0
        elif given and _is_no_value(option, word):
            targets.append(word)
            continue
        else:
            given += 1
        kept.append(word)
    return [*targets, *kept]


def _is_no_value(option: str, word: str) -> bool:
    if option in NAMED_VALUES:
        return "=" not in word
    return option in CONFIG_FILES and not word.endswith(CONFIG_SUFFIXES) and not os.path.exists(word)


def check_config(words: Sequence[str], config: Mapping[str, Any]) -> None:
    """Refuse ``--config`` values that do not reach the workflow as they were typed.

    Raises:
        SettingsError: Snakemake dropped a value, or reads it as something else.
    """
    for key, text in _typed(words):
        if key not in config:
            raise SettingsError(
                f"--config {key}={text}: lost, as Snakemake keeps the last --config only; write all values after one"
            )
    # The last one wins, in Snakemake as here.
    for key, text in dict(_typed(words)).items():
        if config[key] == text or (_is_quoted(text) and config[key] == text[1:-1]):
            continue
        if key in NUMBERS and str(config[key]) == text:
            continue
        if key in SWITCHES:
            continue
        meant = text[1:-1] if _is_quoted(text) else text
        if not text:
            remedy = "give it a value or leave it out"
        elif _is_kept(f"./{meant}"):
            remedy = f"write it as a path: --config {key}=./{meant}"
        else:
            remedy = f"put it in quotes into a file, and name that with --configfile: {key}: {_in_quotes(meant)}"
        raise SettingsError(f"--config {key}={text}: Snakemake reads this as {config[key]!r}; {remedy}")


def check_profiles(words: Sequence[str], snakefile_folder: Path, folder: Path) -> None:
    """Refuse names of profiles that Snakemake ignores, or whose options it would not use.

    Args:
        words: after ``snakemake``.
        snakefile_folder: where the Snakefile and ``profiles/`` lie.
        folder: where Snakemake was started.

    Raises:
        SettingsError: there is no such profile, or it is given with the option that lets ``default`` override it.
    """
    ours = snakefile_folder / "profiles"
    known = ", ".join(sorted(path.name for path in ours.glob("*") if path.is_dir()))
    for name in _values(words, "--workflow-profile"):
        places = [folder / name, folder / "profiles" / name, ours / name]
        if name != "none" and not any(path.exists() for path in places):
            raise SettingsError(
                f"--workflow-profile {name}: no such profile, and Snakemake goes on without one; known: {known}"
            )
    for name in _values(words, "--profile"):
        if ours.resolve() in (folder / name).resolve().parents:
            raise SettingsError(
                f"--profile {name}: profiles/default would override it; write --workflow-profile {Path(name).name}"
            )


def _typed(words: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Key and text of everything after ``--config``."""
    option = ""
    for word in words:
        if word == "--":
            return
        if word.startswith(("--config=", "-C")) and word != "-C":
            option, text = "", word.removeprefix("--config=").removeprefix("-C")
        elif word.startswith("-"):
            option, text = word, ""
        else:
            text = word if option in CONFIG else ""
        if "=" in text:
            key, _, value = text.partition("=")
            yield key, value


def _values(words: Sequence[str], option: str) -> list[str]:
    """What follows an option: ``--option value`` or ``--option=value``."""
    following = [after for word, after in itertools.pairwise(words) if word == option]
    return following + [word.partition("=")[2] for word in words if word.startswith(f"{option}=")]


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] == text[-1] and text[0] in "'\""


def _is_kept(text: str) -> bool:
    """Whether Snakemake takes a text that is no number as it stands: it strips quotes, then reads YAML."""
    try:
        return yaml.load(text, Loader=yaml.BaseLoader) == text.strip("'\"") == text
    except yaml.YAMLError:
        return text.strip("'\"") == text


def _in_quotes(text: str) -> str:
    return "'" + text.replace("'", "''") + "'"
