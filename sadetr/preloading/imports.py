"""What is imported for jobs, and whether the files it came from are still the same."""

import importlib
import os
import pkgutil
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from sadetr.provenance import code_fingerprint

TRAINING = "sadetr.training.run"
METHODS = "sadetr.models"
MODULES = (
    "sadetr.cli",
    TRAINING,
    "sadetr.forecast.trainings",
    "sadetr.reporting.scoring",
    "sadetr.reporting.command",
    # What torch's optimisers import when one is made: nearly two seconds.
    "torch._dynamo",
    # pyarrow, when it makes an array of a list.
    "pandas",
    "pyarrow.pandas_compat",
)


class Imports:
    """Modules that were imported, and what their files were then."""

    def __init__(self, modules: Iterable[str]) -> None:
        """Import ``modules``, which only define things: none reads settings or data."""
        begun = time.time_ns()
        for name in modules:
            importlib.import_module(name)
        files = {getattr(module, "__file__", None) for module in list(sys.modules.values())} - {None}
        self._stamps = {file: _stamp(file) for file in sorted(files) if Path(file).is_file()}
        # Edited while it was imported: nobody knows which half was read.
        self._edited = next((file for file in self._stamps if os.stat(file).st_ctime_ns > begun), None)

    def changed(self) -> str | None:
        """A file that is not what was imported; None if there is none."""
        return self._edited or next((file for file, stamp in self._stamps.items() if _stamp(file) != stamp), None)


def needed() -> Iterator[str]:
    """Names of what the jobs of a workflow import, methods included.

    The sources of these have been parsed then, which the fingerprint of a training takes half a second for. They are
    remembered by their text, so that an edited one is parsed again.
    """
    yield from MODULES
    folders = importlib.import_module(METHODS).__path__
    methods = [module.name for module in pkgutil.walk_packages(folders, f"{METHODS}.")]
    yield from methods
    for module in methods:
        code_fingerprint(TRAINING, module)
    # These are remembered by name.
    code_fingerprint.cache_clear()


def _stamp(file: str) -> tuple[int, ...] | None:
    try:
        status = os.stat(file)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
