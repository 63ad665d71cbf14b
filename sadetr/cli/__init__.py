"""The command line: one subcommand per rule of the workflow, under the same name.

Modules are imported inside the commands: only training needs torch, and a table should render in a second.
"""

import sys

# Importing a module registers its subcommands.
from sadetr.cli import (  # noqa: F401
    data,
    evaluation,
    extraction,
    inspection,
    installation,
    locating,
    planning,
    prediction,
    progress,
    reporting,
    serving,
    training,
    weights,
)
from sadetr.cli.options import app
from sadetr.errors import SadetrError


def main() -> None:
    """Run a command; an error with a remedy is one message and exit code 1."""
    try:
        app()
    except SadetrError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(1)
