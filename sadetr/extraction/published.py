"""Where weights and vocabulary come from, and whether a file is what its publisher has."""

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import filelock

from sadetr.data.download.transfer import Transfer, checksum
from sadetr.errors import DataError, DownloadError, ResultsError
from sadetr.installation import document


@dataclass(frozen=True)
class Published:
    """A file that its authors offer."""

    what: str
    file: str
    url: str
    sha256: str | None
    """None where nobody published it."""


CLIP = Published(
    "CLIP's weights",
    "ViT-B-32.pt",
    "https://openaipublic.azureedge.net/clip/models/"
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af/ViT-B-32.pt",
    "40d365715913c9da98579312b702a82c18be219cc2a73407c4526f58eba950af",
)
SLOWFAST = Published(
    "SlowFast's weights",
    "SLOWFAST_8x8_R50.pkl",
    "https://dl.fbaipublicfiles.com/pyslowfast/model_zoo/kinetics400/SLOWFAST_8x8_R50.pkl",
    None,
)
VOCABULARY = Published(
    "CLIP's vocabulary",
    "bpe_simple_vocab_16e6.txt.gz",
    "https://raw.githubusercontent.com/openai/CLIP/dcba3cb2e2827b402d2701e7e1c7d9fed8a20ef1/clip/"
    "bpe_simple_vocab_16e6.txt.gz",
    "924691ac288e54409236115652ad4aa250f48203de50a9e4722a6ecd48d6804a",
)


@dataclass(frozen=True)
class Found:
    """A file that lies here."""

    path: Path
    sha256: str
    official: bool | None
    """Whether it is the published one; None where no checksum tells."""

    @property
    def record(self) -> dict[str, Any]:
        """What a record of extraction says about it."""
        remark = {True: "official", False: "not the official file", None: "no checksum was published"}
        return {"file": self.path.name, "sha256": self.sha256, "is": remark[self.official]}


def obtain(published: Published, named: Path | None, folder: Path, accept_others: bool = False) -> Found:
    """The file that the user names; otherwise the published one in ``folder``, fetched first where it is not there.

    Args:
        published: what is wanted.
        named: a file of the user's, or None.
        folder: where fetched files lie.
        accept_others: whether another content than the published one is accepted, and recorded as such.

    Raises:
        DataError: the file is missing, or has another content.
        DownloadError: it cannot be fetched.
        ResultsError: ``folder`` cannot be written.
    """
    path = folder / published.file if named is None else named
    if named is None and not path.exists():
        _fetch(published, path)
    try:
        found = checksum(path)
    except OSError as error:
        raise DataError(f"{path}: {published.what} cannot be read ({error.strerror}); correct the path.") from error
    # Other formats than the published one hold other people's conversions or trainings.
    known = published.sha256 is not None or path.suffix != Path(published.file).suffix
    official = found == published.sha256 if known else None
    if official is False and published.sha256 is not None and not accept_others:
        raise DataError(
            f"{path}: is not {published.what} as published: sha256 {found}, expected {published.sha256}. Get the "
            f"official file from {published.url}, or say --other-weights to use this one: features then say so."
        )
    return Found(path, found, official)


def _fetch(published: Published, path: Path) -> None:
    with _alone(published, path):
        if path.exists():
            return
        try:
            Transfer(path, published.sha256).fetch([published.url])
        except DownloadError as error:
            raise DownloadError(
                f"{error}\n{published.what} are needed: put {published.file} into {path.parent}, or name the file "
                f"({document('extraction.md')})."
            ) from error


@contextlib.contextmanager
def _alone(published: Published, path: Path) -> Iterator[None]:
    """Let other jobs that want the same file wait."""
    lock = filelock.FileLock(path.with_name(f".{path.name}.lock"))
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        lock.acquire()
    except OSError as error:
        raise ResultsError(
            f"{path}: {published.what} cannot be fetched to there ({error.strerror or error}). Check that the "
            f"folder is writable and the disk has room, or name the file ({document('extraction.md')})."
        ) from error
    try:
        yield
    finally:
        lock.release()
