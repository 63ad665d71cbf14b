"""The process that decodes one file: ``python -m sadetr.serving.child FILE SECONDS BYTES``.

It says on standard output what the file is, and for every request on standard input sends its pictures. It ends with
its parent, whose end closes the input. Nothing of the networks is here: what a hostile file can reach is this process,
and what the process may use is limited.
"""

import errno
import os
import queue
import resource
import sys
import threading
from fractions import Fraction
from pathlib import Path
from typing import BinaryIO

from sadetr.errors import DataError
from sadetr.extraction.decoding import Video, pictures, probe
from sadetr.serving.wire import FACTS, FAULT, PICTURE, Facts, Fault, Request, send

GRACE = 5
"""Seconds of processor time between the signal that ends a process and the one that always does."""


def main(path: str, seconds: str, size: str) -> None:
    """Serve the parent until it ends or the file is at fault."""
    _limit(int(seconds), int(size))
    # Whatever prints must not reach the parent as a message.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    requests = _requests()
    try:
        video = probe(Path(path))
        _send_facts(out, video)
        while True:
            request = requests.get()
            for picture in pictures(video, Fraction(*request.rate), request.late):
                send(out, PICTURE, picture.tobytes())
            _send_facts(out, video)
    except Exception as error:  # The parent tells it: the output for errors is closed.
        kind = "memory" if _out_of_memory(error) else "file" if isinstance(error, DataError) else "defect"
        text = str(error) if kind == "file" else f"{type(error).__name__}: {error}"
        send(out, FAULT, Fault(kind=kind, message=text[:2000]).model_dump_json().encode())
    # At once: the other thread still listens.
    os._exit(0)


def _limit(seconds: int, size: int) -> None:
    for kind, limits in (
        (resource.RLIMIT_AS, (size, size)),
        (resource.RLIMIT_CPU, (seconds, seconds + GRACE)),
        (resource.RLIMIT_FSIZE, (0, 0)),
        (resource.RLIMIT_CORE, (0, 0)),
    ):
        _, hard = resource.getrlimit(kind)
        if hard != resource.RLIM_INFINITY:
            limits = tuple(min(limit, hard) for limit in limits)
        resource.setrlimit(kind, limits)


def _requests() -> "queue.SimpleQueue[Request]":
    found: queue.SimpleQueue[Request] = queue.SimpleQueue()

    def listen() -> None:
        for line in sys.stdin.buffer:
            found.put(Request.model_validate_json(line))
        # The parent is gone, or wants no more.
        os._exit(0)

    threading.Thread(target=listen, daemon=True).start()
    return found


def _send_facts(out: BinaryIO, video: Video) -> None:
    facts = Facts(
        width=video.width,
        height=video.height,
        frame_rate=video.frame_rate.as_integer_ratio(),
        announced=video.announced,
        counted=video.counted,
        duration=video.duration,
        warnings=video.warnings,
    )
    send(out, FACTS, facts.model_dump_json().encode())


def _out_of_memory(error: BaseException | None) -> bool:
    while error is not None:
        if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
            return True
        error = error.__cause__
    return False


if __name__ == "__main__":
    main(*sys.argv[1:])
