"""Unpacking archives from elsewhere: only regular files, only what was asked for, never outside the target."""

import gzip
import lzma
import os
import secrets
import shutil
import stat
import tarfile
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import IO

from sadetr.disguise import ARCHIVE, Wanted, disguise, is_companion
from sadetr.errors import DownloadError
from sadetr.installation import document

_DAMAGED = (
    *(tarfile.TarError, zipfile.BadZipFile, gzip.BadGzipFile, zlib.error, lzma.LZMAError),
    *(EOFError, NotImplementedError, RuntimeError, ValueError),
)
_BLOCK = 512
"""Bytes of a tar archive's header; two empty ones end it."""


_ZIP_OR_TAR = Wanted("the archive", frozenset({"zip", "tar"}))
"""A compressed file that holds no tar archive is none of these."""


@dataclass(frozen=True)
class Member:
    """A regular file in an archive."""

    name: str
    content: IO[bytes]


def unpack(archive: Path, provides: dict[str, str], target: Path) -> dict[str, int]:
    """Unpack the folders and files that are keys of ``provides`` to their places below ``target``.

    A key is found at whatever depth it lies in the archive; everything else in there is left alone, and so are hidden
    files and what operating systems add. All is unpacked to a temporary folder first: a place appears complete or not
    at all. Places that exist already are kept.

    Returns:
        Place -> number of files, for the places that were filled.

    Raises:
        DownloadError: the archive is damaged, holds none of the keys, or holds anything that an honest archive of
            features does not: absolute paths, ``..``, links, devices, a file twice. Nothing is left behind then.
    """
    wanted = {key: place for key, place in provides.items() if not (target / place).exists()}
    temporary = target / f".unpacking-{secrets.token_hex(4)}.tmp"
    try:
        temporary.mkdir(parents=True)
        counts = _unpack_to(archive, wanted, temporary)
        if wanted and not counts:
            names = ", ".join(provides)
            raise DownloadError(f"{archive}: holds none of {names}. It is another archive: see {document('data.md')}.")
        for place in counts:
            (target / place).parent.mkdir(parents=True, exist_ok=True)
            os.replace(temporary / place, target / place)
        return counts
    except OSError as error:
        raise DownloadError(
            f"{archive}: cannot be unpacked to {target} ({error.strerror or error}). Check the disk's room and "
            "permissions; nothing was left half-unpacked."
        ) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)


def _unpack_to(archive: Path, wanted: dict[str, str], folder: Path) -> dict[str, int]:
    counts: dict[str, int] = {}
    try:
        for member in _members(archive, folder):
            found = _place(PurePosixPath(member.name).parts, wanted)
            if found is None:
                continue
            place, path = found
            file = folder / path
            file.parent.mkdir(parents=True, exist_ok=True)
            if file.exists():
                raise _unsafe(archive, member.name, "two members would become the same file")
            with open(file, "xb") as output:
                shutil.copyfileobj(member.content, output, 1 << 20)
            counts[place] = counts.get(place, 0) + 1
    except _DAMAGED as error:
        raise DownloadError(
            f"{archive}: damaged archive ({type(error).__name__}: {error}). Download it again."
        ) from error
    return counts


def _place(parts: tuple[str, ...], wanted: dict[str, str]) -> tuple[str, str] | None:
    """The place that a member belongs to, and its path below the target; None where nobody wants it."""
    if any(map(is_companion, parts)):
        return None
    for key, place in wanted.items():
        names = PurePosixPath(key).parts
        for start in range(len(parts) - len(names) + 1):
            if parts[start : start + len(names)] == names:
                return place, str(PurePosixPath(place, *parts[start + len(names) :]))
    return None


def _members(archive: Path, folder: Path) -> Iterator[Member]:
    """Regular files in order, every member checked before the next is read."""
    found = disguise(archive, ARCHIVE)
    if found or not archive.is_file():
        raise DownloadError(f"{archive}: {found or 'no such file'}.")
    if zipfile.is_zipfile(archive):
        yield from _zip_members(archive)
    elif tarfile.is_tarfile(archive):
        yield from _tar_members(archive, folder)
    else:
        found = disguise(archive, _ZIP_OR_TAR)
        raise DownloadError(f"{archive}: neither a zip nor a tar archive{f': it {found}' if found else ''}.")


def _zip_members(archive: Path) -> Iterator[Member]:
    with zipfile.ZipFile(archive) as opened:
        # The directory is at the end: a bad name is found before anything is unpacked.
        for info in opened.infolist():
            _check_name(archive, info.filename)
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
                raise _unsafe(archive, info.filename, "it is a link or a device")
        for info in opened.infolist():
            if not info.is_dir():
                with opened.open(info) as content:
                    yield Member(info.filename, content)


def _tar_members(archive: Path, folder: Path) -> Iterator[Member]:
    with tarfile.open(archive) as opened:
        for info in opened:
            _check_name(archive, info.name)
            try:
                tarfile.data_filter(info, str(folder))
            except tarfile.FilterError as error:
                raise _unsafe(archive, info.name, str(error)) from error
            if info.isdir():
                continue
            content = opened.extractfile(info) if info.isreg() else None
            if content is None:
                raise _unsafe(archive, info.name, "it is a link")
            with content:
                yield Member(info.name, content)
        # The reader takes any end for the end: an archive that was cut between two files would pass as whole.
        if opened.fileobj.read(_BLOCK) != bytes(_BLOCK):
            raise tarfile.ReadError("the two empty blocks that end a tar archive are missing: cut off")
        # To the end of the stream: compressors put their checksum there.
        while opened.fileobj.read(1 << 20):
            pass


def _check_name(archive: Path, name: str) -> None:
    """Refuse names that mean another place on any system."""
    windows = PureWindowsPath(name)
    if not name or "\0" in name or "\\" in name:
        raise _unsafe(archive, name, "its name is malformed")
    if PurePosixPath(name).is_absolute() or windows.drive or windows.root:
        raise _unsafe(archive, name, "its path is absolute")
    if ".." in PurePosixPath(name).parts:
        raise _unsafe(archive, name, "its path leaves the archive's folder")


def _unsafe(archive: Path, name: str, reason: str) -> DownloadError:
    return DownloadError(
        f"{archive}: member {name!r} is refused: {reason}. An archive of features holds nothing like that: do not use "
        "it. Nothing was unpacked."
    )
