"""What the command ``download`` does for one setting: fetch, unpack, or say exactly what to do by hand."""

from collections.abc import Callable
from pathlib import Path

from sadetr.data.download.archives import unpack
from sadetr.data.download.transfer import Transfer, checksum
from sadetr.data.sources import AnnotationSource, Archive, Sources
from sadetr.disguise import JSON_LINES, disguise
from sadetr.errors import DownloadError
from sadetr.settings import DatasetSettings

Say = Callable[[str], None]

DOWNLOADS = "downloads"
"""Folder of archives below the data root."""


def download_annotations(dataset: DatasetSettings, sources: Sources, root: Path, dry_run: bool, say: Say) -> None:
    """Fetch every annotation file of ``dataset`` that is not there yet.

    Raises:
        DownloadError: a file cannot be fetched, or another one lies in its place. Later files are tried nevertheless.
    """
    failures = []
    for name in dataset.annotations.values():
        place = f"annotations/{dataset.annotations_in}/{name}"
        try:
            _download_annotation(name, place, sources.annotations.get(name), root, dry_run, say)
        except DownloadError as error:
            failures.append(str(error))
    if failures:
        raise DownloadError("\n".join(failures))


def _download_annotation(
    name: str, place: str, known: AnnotationSource | None, root: Path, dry_run: bool, say: Say
) -> None:
    file = root / place
    if file.exists():
        if known is not None:
            _check_present(file, known.sha256)
        say(f"{place}: already there")
        return
    if known is None or not known.urls:
        raise DownloadError(f"{file}: no address is known for this file. Put it there by hand.")
    if dry_run:
        say(f"{place}: would fetch {known.bytes:,} bytes from {known.urls[0]}")
        return
    Transfer(file, known.sha256, known.bytes).fetch(known.urls)
    say(f"{place}: fetched and verified")


def _check_present(file: Path, sha256: str) -> None:
    content = f"sha256 {checksum(file)}" if file.is_file() else "no file at all"
    if content != f"sha256 {sha256}":
        found = disguise(file, JSON_LINES)
        what = f"; it {found.fault}" if found else ""
        raise DownloadError(
            f"{file}: another file lies here: {content}, official {sha256}{what}. Move it away and run this command "
            "again."
        )


def download_features(dataset: DatasetSettings, sources: Sources, root: Path, dry_run: bool, say: Say) -> None:
    """Fetch and unpack archives with a direct address; say what to do about the others.

    Raises:
        DownloadError: an archive cannot be fetched or unpacked.
    """
    target = root / "features" / dataset.name
    for archive in sources.archives:
        if all((target / place).exists() for place in archive.provides.values()):
            say(f"{archive.file}: already unpacked in features/{dataset.name}")
        elif archive.url is None:
            say(instructions(dataset, archive, root))
        elif dry_run:
            say(f"{archive.file}: would fetch {archive.size} from {archive.url}")
        else:
            file = root / DOWNLOADS / archive.file
            if not file.exists():
                Transfer(file, archive.sha256, archive.bytes).fetch([archive.url])
            unpack_archive(dataset, sources, file, root, say)


def unpack_archive(dataset: DatasetSettings, sources: Sources, file: Path, root: Path, say: Say) -> None:
    """Verify an archive as far as anything is known about it, and unpack what the setting needs.

    Raises:
        DownloadError: it has another content than a known checksum says, or cannot be unpacked.
    """
    known = next((archive for archive in sources.archives if archive.file == file.name), None)
    if known is not None and file.is_file():
        _verify(known, file, say)
    provides = {key: place for archive in sources.archives for key, place in archive.provides.items()}
    counts = unpack(file, provides, root / "features" / dataset.name)
    for place, files in counts.items():
        say(f"features/{dataset.name}/{place}: {files:,} files")
    for place in provides.values():
        if place not in counts:
            there = (root / "features" / dataset.name / place).exists()
            say(f"features/{dataset.name}/{place}: {'kept as it was' if there else 'not in this archive'}")
    say(f"Now run: python -m sadetr check-data --setting {dataset.name} --data-root {root}")


def _verify(known: Archive, file: Path, say: Say) -> None:
    if known.sha256 is not None:
        found = checksum(file)
        if found != known.sha256:
            raise DownloadError(
                f"{file}: wrong content: sha256 {found}, expected {known.sha256}. Delete it and download it again."
            )
        say(f"{file.name}: sha256 is the known one")
    elif known.md5 is not None:
        found = checksum(file, "md5")
        verdict = "is the one that was published" if found == known.md5 else f"{found}, {known.md5} was published"
        say(f"{file.name}: md5 {verdict}{'' if found == known.md5 else ': check-data decides'}")


def instructions(dataset: DatasetSettings, archive: Archive, root: Path) -> str:
    """What to do about an archive that only a browser can fetch."""
    file = root / DOWNLOADS / archive.file
    command = f"python -m sadetr download --setting {dataset.name} --data-root {root} --from-archive {file}"
    places = ", ".join(f"features/{dataset.name}/{place}" for place in archive.provides.values())
    lines = [
        f"{archive.file} ({archive.size}) needs a browser:",
        *(f"  1. download {page}" if number == 0 else f"     or {page}" for number, page in enumerate(archive.pages)),
        f"  2. save it as {file}" + (f" (md5 {archive.md5} was published)" if archive.md5 else ""),
        f"  3. run: {command}",
        f"     which fills {places}",
        *([f"  {archive.note}"] if archive.note else []),
    ]
    return "\n".join(lines)
