"""Where the files lie that belong to sadetr and are no modules: configuration, workflow, profiles, documentation.

In a checkout they lie beside the package. A wheel holds them below it, in ``sadetr/bundle`` (``setup.py``). Nothing is
ever written there.
"""

from pathlib import Path

from sadetr.errors import SadetrError

PACKAGE = Path(__file__).resolve().parent
BUNDLE = PACKAGE / "bundle"


def _root() -> Path:
    # The checkout comes first: a bundle that some build left in it is a copy, and may be an old one.
    checkout = PACKAGE.parent
    marks = ("Snakefile", "config/scales/mini.yaml")
    return checkout if all((checkout / mark).is_file() for mark in marks) else BUNDLE


ROOT = _root()
"""The checkout, or the bundle of an installation: both hold Snakefile, workflow, profiles, config, docs and recorded
benchmark lines."""
INSTALLED = ROOT == BUNDLE
"""Whether this is an installed copy; an editable installation is the checkout itself."""


def snakefile() -> Path:
    """The workflow's Snakefile.

    Raises:
        SadetrError: it is not there.
    """
    path = ROOT / "Snakefile"
    if not path.is_file():
        raise SadetrError(f"{path}: no such file, so this installation is incomplete; install sadetr again")
    return path


def conda_python() -> list[str]:
    """The words that start Python with sadetr in a conda environment, which holds only what sadetr needs.

    Raises:
        SadetrError: this is an installation, whose neighbours are compiled for another Python.
    """
    if INSTALLED:
        raise SadetrError(
            "--sdm conda: works in a checkout only; leave it out, or install sadetr into that environment"
        )
    return ["env", f"PYTHONPATH={ROOT}", "python"]


def document(name: str) -> Path:
    """A page of the documentation, for messages that refer to it."""
    return ROOT / "docs" / name
