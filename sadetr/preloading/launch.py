"""Starts the preloaded process of a Snakemake, and says how jobs find it."""

import atexit
import os
import shutil
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


def launch(folder: Path) -> None:
    """Start the process that jobs of this one are served by, until this one ends.

    Args:
        folder: ``.snakemake`` of the working folder, for the log.
    """
    # Not below the working folder, whose path may be too long for a socket.
    place = Path(tempfile.mkdtemp(prefix="sadetr-"))
    atexit.register(shutil.rmtree, place, ignore_errors=True)
    os.environ[client.VARIABLE] = str(place / "jobs")
    os.environ.setdefault(*ALLOCATOR)
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / LOG, "w") as log:
        _started.append(
            subprocess.Popen(
                [sys.executable, "-m", "sadetr.preloading", str(place / "jobs")],
                # Ends when this process does, however it ends.
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=log,
                env=os.environ | SETTLED,
            )
        )


_started: list[subprocess.Popen] = []
"""Held, as the pipe would be closed with its last reference."""
