"""Whether the files that a feature store was made from are still the same.

Their sizes and times are looked at; only where these differ, their content is. So a file that is overwritten in place
is noticed, and one that was copied, moved, linked or touched costs one reading.

What decides is an :class:`Inputs` identity: it stays while the content stays and is another one as soon as anything
differs. It is no checksum of everything, so that planning needs to read nothing before there is a store.
"""

import contextlib
import json
import os
import sys
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from sadetr.data import manifest
from sadetr.data.parallel import in_parallel
from sadetr.errors import DataError, ResultsError
from sadetr.files import atomic_write_text
from sadetr.provenance import fingerprint


class Stamp(NamedTuple):
    """What a file system says about a file without reading it; times in nanoseconds."""

    bytes: int
    modified: int
    changed: int
    """When the entry itself changed: this moves too where a file is overwritten and its former time restored."""


UNKNOWN = Stamp(-1, -1, -1)


class Known(NamedTuple):
    """A file as it was when it was last read."""

    stamp: Stamp
    sha256: str

    @property
    def entry(self) -> dict[str, Any]:
        """The file as a feature store lists it among its sources."""
        return {"bytes": self.stamp.bytes, "sha256": self.sha256}


@dataclass(frozen=True)
class Inputs:
    """What a store was made from.

    Attributes:
        base: of the settings, and of whatever else the names of the files follow from.
        identity: of the files' content under this base.
        files: by path relative to the data root.
    """

    base: str
    identity: str
    files: Mapping[str, Known]


@dataclass(frozen=True)
class Look:
    """What a look at the files found."""

    identity: str
    removed: tuple[str, ...] = ()
    """Files that are not there any more, relative to the data root."""


class Reading:
    """The files that a preparation is about to read: :meth:`of` them before, :meth:`finish` after."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._before: dict[str, Stamp | None] = {}

    def of(self, names: Iterable[str]) -> None:
        """Note sizes and times."""
        self._before |= {name: stamp(self._root / name) for name in names if name not in self._before}

    def finish(self) -> dict[str, Known]:
        """Sizes, times and checksums of all files.

        Raises:
            DataError: a file was changed meanwhile: what was read is not what lies there.
        """
        found = {}
        for name, entry in manifest.record(self._root, self._before).items():
            before = self._before[name]
            if before is None or stamp(self._root / name) != before:
                raise DataError(f"{self._root / name}: was changed while it was prepared; run `prepare` again.")
            found[name] = Known(before, entry["sha256"])
        return found


def look(path: Path, root: Path, base: str, store: Path, regenerated: bool = False) -> Look:
    """Compare the recorded files with what lies below ``root`` now.

    Args:
        path: the record, written by :func:`remember`; it is renewed where files only have other times.
        root: the data root, however it is spelled.
        base: as in :class:`Inputs`; with another base than the recorded one nothing is compared.
        store: the feature store, whose own list of sources stands in for a lost record.
        regenerated: files that are missing will be made again as they were.
    """
    recorded = _read(path)
    known = recorded or _of_store(store, base)
    if known is None or known.base != base:
        return Look(base)
    # Paths as text: there are tens of thousands, at every planning.
    now = {name: stamp(f"{root}/{name}") for name in known.files}
    absent = [name for name, found in now.items() if found is None]
    other = [name for name, found in now.items() if found is not None and found != known.files[name].stamp]
    if other:
        of = f"{len(other):,} of {len(now):,} files have"
        print(f"{store.name}: {of} other times or sizes than when they were prepared; reading them", file=sys.stderr)
    found = dict(zip(other, in_parallel(lambda name: _checksum(root / name), other, "inputs"), strict=True))
    changes: dict[str, str | None] = {name: sum for name, sum in found.items() if sum != known.files[name].sha256}
    changes |= {} if regenerated else dict.fromkeys(absent)
    same = {name: Known(now[name], sum) for name, sum in found.items() if name not in changes}
    if same or recorded is None:
        # Where nothing may be written here the same files are read again next time.
        with contextlib.suppress(ResultsError):
            remember(path, Inputs(base, known.identity, {**known.files, **same}))
    if not changes:
        return Look(known.identity)
    return Look(fingerprint(known.identity, changes), () if regenerated else tuple(absent))


def remember(path: Path, inputs: Inputs) -> None:
    """Write the record.

    Raises:
        ResultsError: it cannot be written.
    """
    files = {name: [*known.stamp, known.sha256] for name, known in inputs.files.items()}
    record = {"base": inputs.base, "identity": inputs.identity, "files": files}
    atomic_write_text(path, json.dumps(record, ensure_ascii=False, indent=0) + "\n")


def stamp(file: Path | str) -> Stamp | None:
    """Size and times of a file, through links; None where there is none."""
    try:
        status = os.stat(file)
    except OSError:
        return None
    return Stamp(status.st_size, status.st_mtime_ns, status.st_ctime_ns)


def _checksum(file: Path) -> str | None:
    try:
        return manifest.sha256(file)
    except OSError:
        return None


def _read(path: Path) -> Inputs | None:
    """The record; None where it is missing or damaged, for then the store's own list is asked."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        files = {name: Known(Stamp(*stamped), sum) for name, (*stamped, sum) in record["files"].items()}
        return Inputs(record["base"], record["identity"], files)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError):
        return None


def _of_store(store: Path, base: str) -> Inputs | None:
    try:
        entries = manifest.read(store / manifest.FILE)
    except DataError:
        return None
    return Inputs(base, base, {name: Known(UNKNOWN, entry["sha256"]) for name, entry in entries.items()})
