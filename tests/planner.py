"""Dry runs by processes that are forked with Snakemake imported: a second less for each of many.

What is imported defines things and reads no settings; where a file of it has changed since, a new process imports anew.
"""

import contextlib
import importlib.util
import json
import os
import pkgutil
import runpy
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

# What a dry run imports, but for the plug-in that looks at its words when it is imported.
MODULES = (
    *("snakemake.cli", "snakemake.report", "snakemake.profiles", "yte", "numpy", "yaml.cyaml"),
    *("sadetr.workflow", "sadetr.commandline", "sadetr.running", "sadetr.preloading.launch"),
)


class Planner:
    """Starts ``python -m snakemake`` in one folder, with the package that lies there."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._server: subprocess.Popen | None = None

    def run(self, *words: str) -> subprocess.CompletedProcess:
        """As :func:`subprocess.run` with ``capture_output`` and ``text``."""
        code = None
        while code is None:
            if self._server is None:
                self._server = self._start()
            self._server.stdin.write(json.dumps(words) + "\n")
            self._server.stdin.flush()
            code = json.loads(self._server.stdout.readline())
            if code is None:
                self._server.wait()
                self._server = None
        outputs = [self._streams.joinpath(name).read_text() for name in ("stdout", "stderr")]
        return subprocess.CompletedProcess(["snakemake", *words], code, *outputs)

    @property
    def _streams(self) -> Path:
        return self._folder / ".snakemake" / "planner"

    def _start(self) -> subprocess.Popen:
        # It ends with its standard input, and so with whoever started it.
        self._streams.mkdir(parents=True, exist_ok=True)
        return subprocess.Popen(
            [sys.executable, "-P", __file__, str(self._streams)],
            cwd=self._folder,
            env={**os.environ, "PYTHONPATH": str(self._folder)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )


def modules() -> Iterator[str]:
    """Names of what is imported; of the methods, what settings are made of."""
    yield from MODULES
    for package in pkgutil.iter_modules(importlib.import_module("sadetr.models").__path__, "sadetr.models."):
        if package.ispkg and importlib.util.find_spec(f"{package.name}.settings"):
            yield f"{package.name}.settings"


def serve(streams: Path) -> None:
    """Answer lines of words with exit codes until there are no more, or a file of what was imported has changed."""
    from sadetr.preloading.imports import Imports

    imported = Imports(modules())
    for line in sys.stdin:
        if imported.changed():
            print("null", flush=True)
            return
        process = os.fork()
        if process == 0:
            start(json.loads(line), streams)
        print(json.dumps(os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])), flush=True)


def start(words: list[str], streams: Path) -> None:
    """Become ``python -m snakemake``, with what it says in files; never returns."""
    for number, path in enumerate((Path(os.devnull), streams / "stdout", streams / "stderr")):
        descriptor = os.open(path, os.O_RDONLY if number == 0 else os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
        os.dup2(descriptor, number)
        os.close(descriptor)
    sys.path.insert(0, os.getcwd())
    sys.argv = ["snakemake", *words]
    runpy.run_module("snakemake", run_name="__main__", alter_sys=True)
    sys.exit()


if __name__ == "__main__":
    with contextlib.suppress(BrokenPipeError):
        serve(Path(sys.argv[1]))
