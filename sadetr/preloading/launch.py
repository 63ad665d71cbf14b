"""Starts the preloaded process of a Snakemake, and says how jobs find it."""

import atexit
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from pathlib import Path

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


def launch(folder: Path) -> subprocess.Popen:
    """Start the process that jobs of this one are served by, until this one ends.

    Args:
        folder: ``.snakemake`` of the working folder, for the log.

    Returns:
        It; it ends when its standard input is closed.
    """
    # Not below the working folder, whose path may be too long for a socket.
    place = Path(tempfile.mkdtemp(prefix="sadetr-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ[client.VARIABLE] = str(place / "jobs")
    os.environ.setdefault(*ALLOCATOR)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG, "w") as log, listening(place / "jobs") as listener:
        process = subprocess.Popen(
            [sys.executable, "-m", "sadetr.preloading", str(listener.fileno())],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=log,
            env=os.environ | SETTLED,
            pass_fds=[listener.fileno()],
        )
    # The pipe would be closed with its last reference.
    _started.append(process)
    return process


def listening(path: Path) -> socket.socket:
    """A socket for the process to inherit: who asks before that has begun is heard when it has."""
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.bind(str(path))
    listener.listen(256)
    return listener


_started: list[subprocess.Popen] = []
