"""Lets ``snakemake --cores 1 --resources gpu=1 all`` mean what it says. Logs nothing.

Snakemake imports every installed logger plug-in before it parses its command line, and nothing else of ours. On import
this one moves targets that an option would swallow to the front of ``sys.argv``: only words that Snakemake would end
with a traceback for, so that no other workflow in the same environment notices.
"""

import os
import sys
from logging import LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase

from sadetr.commandline import mended


def _is_snakemake() -> bool:
    """Whether this process is Snakemake's command line, not a program that imports Snakemake."""
    program = os.path.realpath(sys.argv[0] if sys.argv else "")
    return os.path.basename(program) in ("snakemake", "snakemake.exe") or program.endswith(
        os.path.join("snakemake", "__main__.py")
    )


if _is_snakemake():
    sys.argv[1:] = mended(sys.argv[1:])


class LogHandler(LogHandlerBase):
    """What the interface asks for; used by nobody who does not write ``--logger sadetr``."""

    writes_to_stream = False
    writes_to_file = False
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def emit(self, record: LogRecord) -> None:
        """Log nothing."""
