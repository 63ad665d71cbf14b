"""A folder with a server that has imported next to nothing, where jobs are started as Snakemake starts them."""

import os
import shlex
import subprocess
import sys
import time
from pathlib import Path

from sadetr.preloading import client
from sadetr.preloading.launch import PYTHON, listening

ROOT = Path(__file__).parents[2]
SERVE = """
import sys
from sadetr.preloading.server import serve
serve(int(sys.argv[1]), ["probe"])
"""
# What a job does, and where it says who ran it: the process that has imported `probe` has its number there.
JOB = """
import atexit, os, signal, subprocess, sys, time
import probe
from pathlib import Path
Path(sys.argv[1]).write_text(f"{os.getpid()} {os.getpid() != probe.IMPORTED_BY}")
exec(sys.argv[2])
"""
PROBE = "import os\nIMPORTED_BY = os.getpid()\n"
WAITING = "print('started', flush=True); time.sleep(60)"


class Place:
    """A folder with a server, where jobs are started as Snakemake starts them: by a shell."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        (folder / "probe.py").write_text(PROBE)
        (folder / "job.py").write_text(JOB)
        (folder / "serving.py").write_text(SERVE)
        self.socket = folder.parent / "place" / "jobs"
        self.variables = {**os.environ, "PYTHONPATH": str(ROOT), client.VARIABLE: str(self.socket), "HUE": "red"}
        self.server = self.serve()
        self._started: list[subprocess.Popen] = []

    def serve(self, stderr=None) -> subprocess.Popen:
        """Start a server with standard error ``stderr``, by default its log; it hears at once."""
        self.socket.parent.mkdir()
        with open(self.folder / "server.log", "w") as log, listening(self.socket) as listener:
            return subprocess.Popen(
                [sys.executable, "-m", "serving", str(listener.fileno())],
                cwd=self.folder,
                env=self.variables,
                stdin=subprocess.PIPE,
                stderr=stderr or log,
                pass_fds=[listener.fileno()],
                text=True,
            )

    def start(self, code: str, python: list[str] = PYTHON, shell: str = "{} > out 2>&1", **options) -> subprocess.Popen:
        """Start a job that executes ``code``."""
        command = ["bash", "-c", shell.replace("{}", "exec " + shlex.join([*python, "-m", "job", "who", code]))]
        process = subprocess.Popen(command, **{"cwd": self.folder, "env": self.variables, **options})
        self._started.append(process)
        return process

    def run(self, code: str, python: list[str] = PYTHON, **options) -> tuple[int, str]:
        """Exit code and output of a job."""
        (self.folder / "who").unlink(missing_ok=True)
        status = self.start(code, python, **options).wait(30)
        return status, (self.folder / "out").read_text()

    @property
    def forked(self) -> bool:
        """Whether the last job was run by the server."""
        return (self.folder / "who").read_text().split()[1] == "True"

    @property
    def job(self) -> int:
        """The process that runs the last job."""
        await_until(lambda: len((self.folder / "who").read_text().split()) == 2 if self.has_begun else False)
        return int((self.folder / "who").read_text().split()[0])

    @property
    def has_begun(self) -> bool:
        return (self.folder / "who").exists()

    def close(self) -> None:
        for process in [*self._started, self.server]:
            if process.poll() is None:
                process.kill()
            process.wait()


def await_until(condition, seconds: float = 20) -> None:
    limit = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < limit
        time.sleep(0.02)


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
