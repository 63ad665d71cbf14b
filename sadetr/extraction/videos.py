"""Which file of a folder is the video of a ``vid``."""

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

from sadetr.disguise import is_companion
from sadetr.errors import DataError

SUFFIXES = frozenset(
    {".3gp", ".asf", ".avi", ".flv", ".m2ts", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".mts", ".ogv", ".ts"}
    | {".vob", ".webm", ".wmv"}
)
"""Lower-cased endings of files that are looked at."""


def find_videos(folder: Path, vids: Iterable[str]) -> dict[str, Path | None]:
    """vid -> its file ``<vid>.<any video suffix>`` below ``folder``; None where there is none.

    Raises:
        DataError: ``folder`` cannot be read, or holds two files of one vid.
    """
    listings: dict[str, dict[str, list[Path]]] = {}
    found: dict[str, Path | None] = {}
    for vid in vids:
        inner, _, name = vid.rpartition("/")
        if inner not in listings:
            listings[inner] = _videos_in(folder / inner, inner)
        files = listings[inner].get(name, [])
        if len(files) > 1:
            both = " and ".join(file.name for file in files)
            raise DataError(f"{files[0].parent}: {both} are both named as the video {vid!r}; move one of them away.")
        found[vid] = files[0] if files else None
    return found


def _videos_in(folder: Path, inner: str) -> dict[str, list[Path]]:
    """Name without suffix -> files. A subfolder that is missing holds nothing."""
    if inner and not folder.is_dir():
        return {}
    try:
        entries = sorted(folder.iterdir())
    except OSError as error:
        raise DataError(
            f"{folder}: the folder of videos cannot be read ({error.strerror}); correct --videos."
        ) from error
    named = defaultdict(list)
    for file in entries:
        if file.suffix.lower() in SUFFIXES and not is_companion(file.name):
            named[file.name.removesuffix(file.suffix)].append(file)
    return named
