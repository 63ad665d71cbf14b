"""Starts the preloaded process of a Snakemake, and says how jobs find it."""

import atexit
import contextlib
import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TextIO

from sadetr.preloading import client

PYTHON = [sys.executable, "-I", "-S", client.__file__]
"""The words that stand for ``python`` in the commands of jobs."""
LOG = "preloaded.log"
POSSIBLE = sys.platform == "linux"
"""Elsewhere forking is unsafe, or nobody says when a parent dies."""
THREADS = ("OMP", "GOTO", "OPENBLAS", "MKL", "NUMEXPR")
SETTLED = {**{f"{name}_NUM_THREADS": "1" for name in THREADS}, "VECLIB_MAXIMUM_THREADS": "1"}
"""Variables that Snakemake sets for jobs of one thread. A job of more starts the usual way."""

ALLOCATOR = ("JE_ARROW_MALLOC_CONF", "background_thread:false")
"""Keeps an allocator that pyarrow brings along, and does not use, from starting a thread."""


def launch(folder: Path) -> subprocess.Popen | None:
    """Start the process that jobs of this one are served by, until this one ends.

    Args:
        folder: ``.snakemake`` of the working folder, for the log.

    Returns:
        It, which ends when its standard input is closed; None where it cannot be started: jobs start the usual way.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG, "a") as log:
        _empty(log)
        try:
            process = _start(log)
        except OSError as error:
            print(f"nothing is preloaded: {error}", file=log)
            return None
    # The pipe would be closed with its last reference.
    _started.append(process)
    return process


def _empty(log: TextIO) -> None:
    """Remove the lines of an earlier time; those of a process that is still there stay."""
    with contextlib.suppress(OSError):
        # Held as long as a process has this file open, which is the one that is to be started.
        fcntl.flock(log, fcntl.LOCK_EX | fcntl.LOCK_NB)
        log.truncate(0)


def _start(log: TextIO) -> subprocess.Popen:
    """Start the process, and let jobs find it.

    Raises:
        OSError: there is no room for its socket, or the socket's path is too long.
    """
    # Not below the working folder, whose path may be too long for a socket.
    place = Path(tempfile.mkdtemp(prefix="sadetr-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    with listening(place / "jobs") as listener:
        os.environ[client.VARIABLE] = str(place / "jobs")
        os.environ.setdefault(*ALLOCATOR)
        return subprocess.Popen(
            [sys.executable, "-m", "sadetr.preloading", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=os.environ | SETTLED,
            pass_fds=[listener.fileno()],
        )


def listening(path: Path) -> socket.socket:
    """A socket for the process to inherit: who asks before that has begun is heard when it has."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.bind(str(path))
    except OSError as error:
        listener.close()
        raise OSError(f"{path}: {error}") from error
    listener.listen(256)
    return listener


_started: list[subprocess.Popen] = []
