"""Decoding in a process of its own, with limits of time and memory (:mod:`sadetr.serving.child` is the other side)."""

import contextlib
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any, Self

import numpy as np

from sadetr.errors import DataError
from sadetr.extraction.decoding import SIZE, Decoder, Picture, Video
from sadetr.installation import PACKAGE
from sadetr.serving.limits import MIB, Limits, shown_time
from sadetr.serving.wire import FACTS, FAULT, PICTURE, Facts, Fault, Request, receive

KEPT = ("PATH", "LD_LIBRARY_PATH", "LANG", "LC_ALL")
"""Variables that the process sees; others may hold secrets."""
FEW_THREADS = {"OPENBLAS_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "2"}
"""Each thread of these would reserve address space, which is what is limited."""

Progress = Callable[[int, float | None], None]
"""Called with how many times pictures were asked for, from 1, and the part of the video that is decoded, if known."""


class Stopped(DataError):
    """Decoding was stopped from outside."""


class IsolatedDecoding:
    """A process that decodes one file. Used by one thread; any may :meth:`stop` it."""

    def __init__(self, path: Path, limits: Limits, progress: Progress = lambda number, part: None):
        """Start the process."""
        self._path = path
        self._limits = limits
        self._progress = progress
        self._left = limits.time
        self._asked = 0
        self._stopped = False
        self._process = subprocess.Popen(
            [sys.executable, "-B", "-m", "sadetr.serving.child", path.name, f"{limits.time:.0f}", str(limits.memory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd=path.parent,
            env={
                **{name: os.environ[name] for name in KEPT if name in os.environ},
                **FEW_THREADS,
                "PYTHONPATH": str(PACKAGE.parent),
                "PYTHONSAFEPATH": "1",
            },
            start_new_session=True,
        )
        self._output = self._process.stdout.fileno()
        self._poll = select.poll()
        self._poll.register(self._output, select.POLLIN)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._kill()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        self._process.stdout.close()

    @property
    def decoder(self) -> Decoder:
        """Opens the process's file, whichever is named, in that process.

        Errors are those of decoding here, and :class:`DataError` where a limit is reached.
        """
        return Decoder(self._probe, self._pictures)

    def stop(self) -> None:
        """End it: whoever waits for pictures gets :class:`Stopped`."""
        self._stopped = True
        self._kill()

    def _probe(self, path: Path) -> Video:
        video = Video(path, 1, 1, Fraction(1), None, False)
        self._take_facts(video, self._receive(FACTS)[1])
        if video.announced is not None:
            self._check_duration(video.announced)
        return video

    def _pictures(self, video: Video, rate: Fraction, late: float | None) -> Iterator[Picture]:
        self._asked += 1
        self._progress(self._asked, None)
        request = Request(rate=rate.as_integer_ratio(), late=late)
        with contextlib.suppress(OSError):
            self._process.stdin.write(request.model_dump_json().encode() + b"\n")
            self._process.stdin.flush()
        number = 0
        while True:
            kind, content = self._receive(PICTURE, FACTS)
            if kind == FACTS:
                return self._take_facts(video, content)
            number += 1
            self._check_duration(float((number - 1) / rate))
            if video.announced:
                self._progress(self._asked, min(1.0, float(number / rate) / video.announced))
            yield np.frombuffer(content, np.uint8).reshape(SIZE, SIZE, 3)

    def _take_facts(self, video: Video, facts: Facts) -> None:
        video.width, video.height, video.frame_rate = facts.width, facts.height, facts.rate
        video.announced, video.counted, video.duration = facts.announced, facts.counted, facts.duration
        video.warnings[:] = facts.warnings

    def _check_duration(self, seconds: float) -> None:
        if seconds > self._limits.duration:
            raise DataError(
                f"{self._path}: is longer than {shown_time(self._limits.duration)}, the most that is taken here; cut it"
            )

    def _receive(self, *kinds: bytes) -> tuple[bytes, Any]:
        try:
            kind, content = receive(self._read)
        except ValueError as error:
            raise self._crash() from error
        if kind == FAULT:
            raise self._fault(content)
        if kind not in kinds:
            raise self._crash()
        return kind, content

    def _fault(self, fault: Fault) -> Exception:
        if fault.kind == "defect":
            return RuntimeError(f"the decoding process failed: {fault.message}")
        if fault.kind == "memory":
            return self._too_much_memory()
        # The file lies in the working folder of the process, which knows no other name.
        return DataError(f"{self._path}: {fault.message.removeprefix(f'{self._path.name}: ')}")

    def _read(self, size: int) -> bytes:
        content = bytearray()
        while len(content) < size:
            before = time.monotonic()
            ready = self._poll.poll(max(0.0, self._left) * 1000)
            self._left -= time.monotonic() - before
            if not ready:
                raise self._too_slow()
            part = os.read(self._output, size - len(content))
            if not part:
                raise self._ended()
            content += part
        return bytes(content)

    def _ended(self) -> DataError:
        """Why the process is gone."""
        if self._stopped:
            return Stopped(f"{self._path}: decoding was stopped")
        try:
            code = self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return self._crash()
        if code == -signal.SIGXCPU:
            return self._too_slow()
        # Nobody else kills it but a system that is short of memory.
        return self._too_much_memory() if code == -signal.SIGKILL else self._crash()

    def _too_slow(self) -> DataError:
        return DataError(
            f"{self._path}: decoding takes longer than {shown_time(self._limits.time)}, the most that is spent here; "
            "cut it, or encode it smaller."
        )

    def _too_much_memory(self) -> DataError:
        return DataError(
            f"{self._path}: decoding takes more than {self._limits.memory // MIB:,} MiB of memory, the most that is "
            "given here; encode it smaller."
        )

    def _crash(self) -> DataError:
        return DataError(f"{self._path}: the decoder crashed, so the file is damaged; copy or encode it again.")

    def _kill(self) -> None:
        # The whole group: whatever the process has started goes too.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._process.pid, signal.SIGKILL)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout=10)
