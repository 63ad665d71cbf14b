"""Build step: what lies beside the package in a checkout goes below it in a wheel (:mod:`sadetr.installation`)."""

import os
import shutil
from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

BUNDLED = ("Snakefile", "workflow", "profiles", "config", "docs", "benchmarks/results")
"""Files and folders of the repository that an installation needs; everything else is declared in pyproject.toml."""
PACKAGE, BUNDLE = "sadetr", "bundle"

Files = tuple[str, str, str, list[str]]


def bundled_files() -> list[str]:
    """Paths relative to the repository, without hidden files and caches."""
    found = [Path(name) for name in BUNDLED]
    found += [path for folder in BUNDLED for path in Path(folder).rglob("*")]
    visible = (path for path in found if not any(part.startswith((".", "__pycache__")) for part in path.parts))
    return sorted(str(path) for path in visible if path.is_file())


class BuildWithBundle(build_py):
    """``build_py`` that adds the bundle to the package's data files."""

    def finalize_options(self) -> None:
        """Let the bundle be copied, recorded and, in a source distribution, included as other data files are."""
        super().finalize_options()
        self.data_files = [*self.data_files, self._bundle()]

    def get_data_files_without_manifest(self) -> list[Files]:
        """The same for the list of a source distribution's files."""
        return [*super().get_data_files_without_manifest(), self._bundle()]

    def run(self) -> None:
        """Build anew: setuptools leaves files in ``build/`` that the repository no longer has, and would ship them."""
        if not self.editable_mode:
            for package in {name.partition(".")[0] for name in self.packages}:
                shutil.rmtree(Path(self.build_lib, package), ignore_errors=True)
        super().run()

    def _bundle(self) -> Files:
        return PACKAGE, os.curdir, os.path.join(self.build_lib, PACKAGE, BUNDLE), bundled_files()


setup(cmdclass={"build_py": BuildWithBundle})
