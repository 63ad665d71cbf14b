"""One file over HTTP: continued after a broken connection, verified, and in place only when it is complete."""

import errno
import hashlib
import http.client
import json
import os
import shutil
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr.data.download.progress import Progress
from sadetr.disguise import ANYTHING, HEAD, of_content
from sadetr.errors import DownloadError
from sadetr.installation import document

ATTEMPTS = 5
"""Attempts in a row without a new byte before giving up."""
TIMEOUT = 60.0
"""Seconds without an answer."""
CHUNK = 1 << 20
TEMPORARY = {408, 425, 429, 500, 502, 503, 504}
"""Status codes worth another attempt."""
BROKEN = (OSError, http.client.HTTPException)
"""What a connection raises while it breaks; HTTPError is told apart before."""


class _Broken(Exception):
    """The connection ended early; another attempt may help."""


@dataclass
class Transfer:
    """Fetches one file.

    While it is incomplete it lies beside its final place as ``.<name>.part``, with what is needed to continue it in
    ``.<name>.part.json``.
    """

    target: Path
    sha256: str | None = None
    size: int | None = None
    """Bytes, where they are known."""
    pause: float = 1.0
    """Seconds before the second attempt; doubled every time."""

    def fetch(self, urls: Sequence[str]) -> None:
        """Fetch from the first of ``urls`` that has the right content.

        Raises:
            DownloadError: none has; nothing lies under the final name then.
        """
        failures = []
        for url in urls:
            try:
                self._fetch(url)
            except DownloadError as error:
                failures.append(str(error))
            else:
                return
        raise DownloadError("\n".join(failures))

    @property
    def _part(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part")

    @property
    def _state(self) -> Path:
        return self.target.with_name(f".{self.target.name}.part.json")

    def _fetch(self, url: str) -> None:
        try:
            self.target.parent.mkdir(parents=True, exist_ok=True)
            with Progress(self.target.name, self.size) as progress:
                self._attempt_until_complete(url, progress)
            self._finish(url)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise DownloadError(
                    f"{self.target}: the disk is full. Make room and run the same command again: it continues where "
                    "it stopped."
                ) from error
            raise DownloadError(f"{self.target}: cannot be written ({error.strerror or error}).") from error

    def _attempt_until_complete(self, url: str, progress: Progress) -> None:
        failures = 0
        while True:
            before = self._done()
            try:
                self._attempt(url, progress)
                return
            except _Broken as error:
                failures = 1 if self._done() > before else failures + 1
                if failures == ATTEMPTS:
                    raise DownloadError(
                        f"{url}: gave up after {ATTEMPTS} attempts without progress ({error}); {self._done():,} bytes "
                        "are kept. Run the same command again to continue."
                    ) from error
                time.sleep(self.pause * 2 ** (failures - 1))

    def _attempt(self, url: str, progress: Progress) -> None:
        """One request. Raises _Broken where another may help, DownloadError where none will."""
        headers = {"User-Agent": "sadetr", "Accept-Encoding": "identity", **self._continuation(url)}
        request = urllib.request.Request(url, headers=headers)
        try:
            response = urllib.request.urlopen(request, timeout=TIMEOUT)
        except urllib.error.HTTPError as error:
            with error:
                self._refused(url, error)
            return
        except urllib.error.URLError as error:
            if isinstance(error.reason, socket.gaierror):
                raise DownloadError(f"{url}: the server's name is unknown: no network, or an old address.") from error
            raise _Broken(str(error.reason)) from error
        except BROKEN as error:
            raise _Broken(str(error)) from error
        with response:
            self._receive(url, response, progress)

    def _continuation(self, url: str) -> dict[str, str]:
        """Headers that ask for the missing rest, or none where there is nothing to continue.

        ``If-Range`` makes the server send the whole file if it is another one by now; where the server names no
        version, only a checksum can tell, so without one the transfer starts again.
        """
        done = self._done()
        state = self._read_state()
        if done == 0 or state.get("url") != url:
            self._discard()
            return {}
        if version := state.get("version"):
            return {"Range": f"bytes={done}-", "If-Range": version}
        if self.sha256 is not None:
            return {"Range": f"bytes={done}-"}
        self._discard()
        return {}

    def _refused(self, url: str, error: urllib.error.HTTPError) -> None:
        if error.code == 416:
            # The rest that was asked for does not exist: all is there already, or the file is another one.
            whole = error.headers.get("Content-Range", "").rpartition("/")[2]
            if whole == str(self._done()):
                return
            self._discard()
            raise _Broken("the server has a file of another length")
        if error.code in TEMPORARY:
            raise _Broken(f"HTTP {error.code} {error.reason}")
        raise DownloadError(
            f"{url}: the server says {error.code} {error.reason}. The address may have moved: see "
            f"{document('data.md')} for others, and put the file in its place by hand."
        )

    def _receive(self, url: str, response: http.client.HTTPResponse, progress: Progress) -> None:
        continued = response.status == 206
        start = self._done() if continued else 0
        if continued and not response.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            self._discard()
            raise _Broken("the server sent another part than it was asked for")
        length = response.headers.get("Content-Length")
        whole = None if length is None else start + int(length)
        self._check_room(url, whole, start)
        if not continued:
            self._write_state(url, response)
        progress.start(start, whole)
        received = 0
        with open(self._part, "ab" if continued else "wb") as part:
            while chunk := self._read(response):
                part.write(chunk)
                received += len(chunk)
                progress.advance(len(chunk))
        if length is not None and received < int(length):
            raise _Broken(f"the connection ended after {start + received:,} of {whole:,} bytes")

    def _read(self, response: http.client.HTTPResponse) -> bytes:
        try:
            return response.read(CHUNK)
        except BROKEN as error:
            raise _Broken(str(error)) from error

    def _check_room(self, url: str, whole: int | None, start: int) -> None:
        if whole is None:
            return
        if self.size is not None and whole != self.size:
            raise DownloadError(f"{url}: the server has {whole:,} bytes, the official file has {self.size:,}.")
        free = shutil.disk_usage(self.target.parent).free
        if whole - start > free:
            raise DownloadError(
                f"{self.target}: needs {whole - start:,} bytes more, the disk has {free:,}. Make room and run the same "
                "command again."
            )

    def _finish(self, url: str) -> None:
        """Verify and put in place; a file with the wrong content is removed."""
        if self.sha256 is not None:
            found = checksum(self._part)
            if found != self.sha256:
                what = self._disguise()
                self._discard()
                raise DownloadError(
                    f"{url}: wrong content: sha256 {found}, expected {self.sha256}{what and f' ({what})'}. Nothing was "
                    "kept."
                )
        elif what := self._disguise():
            self._discard()
            raise DownloadError(f"{url}: what the server sent {what}. Nothing was kept.")
        with open(self._part, "rb") as part:
            os.fsync(part.fileno())
        os.replace(self._part, self.target)
        self._state.unlink(missing_ok=True)

    def _disguise(self) -> str:
        """What came instead of the file, as far as that shows; '' where nothing speaks against it."""
        with open(self._part, "rb") as part:
            found = of_content(part.read(HEAD), ANYTHING)
        return "" if found is None else found.fault

    def _done(self) -> int:
        return self._part.stat().st_size if self._part.exists() else 0

    def _discard(self) -> None:
        self._part.unlink(missing_ok=True)
        self._state.unlink(missing_ok=True)

    def _write_state(self, url: str, response: http.client.HTTPResponse) -> None:
        tag = response.headers.get("ETag", "")
        # A weak tag promises no equal bytes.
        version = response.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag
        self._state.write_text(json.dumps({"url": url, "version": version}), encoding="utf-8")

    def _read_state(self) -> dict[str, Any]:
        try:
            state = json.loads(self._state.read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return state if isinstance(state, dict) else {}


def checksum(file: Path, algorithm: str = "sha256") -> str:
    """Hexadecimal digest of a file's content."""
    with open(file, "rb") as content:
        return hashlib.file_digest(content, algorithm).hexdigest()
