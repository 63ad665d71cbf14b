"""Videos that visitors sent: received within limits, held under names that nobody can guess, deleted after use."""

import asyncio
import errno
import secrets
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path

from starlette.concurrency import run_in_threadpool

from sadetr.disguise import HEAD
from sadetr.locating.cache import VideoFeatures
from sadetr.serving.containers import complaint, media_type
from sadetr.serving.limits import AWAY, NAME, UPLOAD_PAUSE, Limits, Refusal, shown_size


@dataclass(frozen=True)
class Waiting:
    """For its turn."""

    before: int
    """Videos that come first."""


@dataclass(frozen=True)
class Reading:
    """Its features are being made."""

    stream: str
    number: int
    """Of the stream, from 1."""
    streams: int
    part: float | None
    """Of the video, where its length is known."""


@dataclass(frozen=True)
class Ready:
    """For sentences."""

    features: VideoFeatures


@dataclass(frozen=True)
class Failed:
    """It has no features."""

    message: str


State = Waiting | Reading | Ready | Failed


@dataclass
class Upload:
    """A video of a visitor."""

    id: str
    name: str
    """As the visitor calls the file; for messages alone."""
    path: Path
    kind: str
    """Media type."""
    deadline: float
    """Of the monotonic clock: when it goes unless its page is heard of."""
    state: State = Waiting(0)
    removed: bool = False
    on_removal: list[Callable[[], None]] = field(default_factory=list)
    """Called once, when it is removed."""


class Uploads:
    """All videos of a server; for its event loop alone."""

    def __init__(self, folder: Path, limits: Limits):
        self._folder = folder
        self._limits = limits
        self._held: dict[str, Upload] = {}
        self._arriving = 0

    async def receive(self, chunks: AsyncIterator[bytes], name: str, announced: int | None) -> Upload:
        """Store what a visitor sends.

        Args:
            chunks: the content.
            name: of the visitor's file.
            announced: bytes that are said to come; what comes counts.

        Raises:
            Refusal: it is too large or no video, too many are here, or the disk is full.
        """
        name = "".join(letter for letter in name if letter.isprintable())[-NAME:] or "video"
        if announced is not None:
            self._check_size(name, announced)
        if len(self._held) + self._arriving >= self._limits.videos:
            raise Refusal(
                503, f"{name}: this server holds {self._limits.videos} videos already; try again in some minutes", 60
            )
        path = self._folder / secrets.token_urlsafe(16)
        self._arriving += 1
        try:
            kind = await self._store(path, chunks, name)
        except BaseException as error:
            path.unlink(missing_ok=True)
            if isinstance(error, OSError):
                raise _unwritable(name, error) from error
            raise
        finally:
            self._arriving -= 1
        upload = Upload(secrets.token_urlsafe(16), name, path, kind, time.monotonic() + self._limits.keep)
        self._held[upload.id] = upload
        return upload

    async def _store(self, path: Path, chunks: AsyncIterator[bytes], name: str) -> str:
        """Write a file; returns its media type."""
        head, size, kind = b"", 0, None
        with open(path, "xb") as file:
            async for chunk in _paced(chunks, name):
                size += len(chunk)
                self._check_size(name, size)
                if kind is None:
                    head += chunk
                    kind = _known_kind(head, name) if len(head) >= HEAD else None
                await run_in_threadpool(file.write, chunk)
        return kind or _known_kind(head, name)

    def _check_size(self, name: str, size: int) -> None:
        if size > self._limits.upload:
            raise Refusal(
                413, f"{name}: is larger than {shown_size(self._limits.upload)}; cut it, or encode it smaller"
            )

    def get(self, name: str) -> Upload:
        """The video of an id, which is kept for longer now.

        Raises:
            Refusal: there is none.
        """
        upload = self._held.get(name)
        if upload is None:
            raise Refusal(404, "this video is not here any more; choose it again")
        upload.deadline = time.monotonic() + self._limits.keep
        return upload

    def leave(self, name: str) -> None:
        """Its page was left: it goes soon, unless the page comes back."""
        self.get(name).deadline = time.monotonic() + min(AWAY, self._limits.keep)

    def remove(self, name: str) -> None:
        """Delete a video and all that was made of it."""
        upload = self._held.pop(name, None)
        if upload is None:
            return
        upload.removed = True
        upload.state = Failed("removed")
        upload.path.unlink(missing_ok=True)
        for call in upload.on_removal:
            call()

    def remove_all(self) -> None:
        """The server ends."""
        for name in list(self._held):
            self.remove(name)

    async def expire(self) -> None:
        """Remove, for ever, videos whose pages were not heard of for too long."""
        while True:
            await asyncio.sleep(min(1.0, self._limits.keep / 4))
            now = time.monotonic()
            for name in [name for name, upload in self._held.items() if upload.deadline < now]:
                self.remove(name)


async def _paced(chunks: AsyncIterator[bytes], name: str) -> AsyncIterator[bytes]:
    """``chunks``, as long as they keep coming."""
    while True:
        try:
            yield await asyncio.wait_for(anext(chunks), UPLOAD_PAUSE)
        except StopAsyncIteration:
            return
        except TimeoutError as error:
            raise Refusal(408, f"{name}: nothing came for {UPLOAD_PAUSE:g} seconds; send it again") from error


def _known_kind(head: bytes, name: str) -> str:
    kind = media_type(head[:HEAD])
    if kind is None:
        raise Refusal(415, f"{name}: {complaint(head)}")
    return kind


def _unwritable(name: str, error: OSError) -> Refusal:
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return Refusal(507, f"{name}: the server's disk is full; try again later, or a smaller file", 60)
    return Refusal(500, f"{name}: the server cannot store it ({error.strerror}); tell whoever runs it")
