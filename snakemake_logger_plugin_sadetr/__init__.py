"""Progress that people can read, in place of Snakemake's own words; ``profiles/`` ask for it with ``logger: sadetr``.

It has a second task, which no other official place allows: ``snakemake --cores 1 --resources gpu=1 all`` is to mean
what it says. Snakemake imports every installed logger plug-in before it parses its command line, and nothing else of
ours. On import this one moves targets that an option would swallow to the front of ``sys.argv``: only words that
Snakemake would end with a traceback for, so that no other workflow in the same environment notices.
"""

import os
import sys
from logging import INFO, LogRecord

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

from sadetr.commandline import mended


def _is_snakemake() -> bool:
    """Whether this process is Snakemake's command line, not a program that imports Snakemake."""
    program = os.path.realpath(sys.argv[0] if sys.argv else "")
    return os.path.basename(program) in ("snakemake", "snakemake.exe") or program.endswith(
        os.path.join("snakemake", "__main__.py")
    )


if _is_snakemake():
    sys.argv[1:] = mended(sys.argv[1:])

UNTOLD = (LogEvent.WORKFLOW_STARTED, LogEvent.RESOURCES_INFO, LogEvent.JOB_STARTED, LogEvent.GROUP_INFO)
"""Events that are of no interest to people; ``.snakemake/log`` has them."""
ROUTINE = (
    *("Assuming unrestricted shared filesystem", "Building DAG of jobs", "Using shell:", "Select jobs to execute"),
    *("Execute ", "DAG of jobs will be updated", "Updating checkpoint dependencies", "Complete log(s):"),
)
"""How messages begin that say the same every time."""


COMMAND_FAILED = "CalledProcessError"
"""In the message that precedes the one on the job whose command it is."""


class LogHandler(LogHandlerBase):
    """Tells what is done, what runs and what failed; warnings and errors appear in Snakemake's words.

    Whoever asks Snakemake for more or fewer words (``--dry-run``, ``--quiet``, ``--verbose``, ``--debug-dag``) gets its
    own ones, and nothing else.
    """

    writes_to_stream = True
    writes_to_file = False
    # Snakemake adds its own, which know what ``--quiet`` and ``--printshellcmds`` mean.
    has_filter = False
    has_formatter = False
    needs_rulegraph = False

    def __post_init__(self) -> None:
        """Choose the words and the way to show them."""
        # Not at the top: every snakemake of the environment imports this module, and most never make a handler.
        from snakemake.logging import ColorizingTextHandler, DefaultFormatter

        from snakemake_logger_plugin_sadetr.board import Board
        from snakemake_logger_plugin_sadetr.display import make_display

        settings = self.common_settings
        stream = sys.stdout if settings.stdout else sys.stderr
        self._words = ColorizingTextHandler(settings.nocolor, stream)
        self._words.setFormatter(DefaultFormatter(settings.quiet, settings.show_failed_logs))
        asked = settings.dryrun or settings.quiet or settings.verbose or settings.debug_dag
        self._display = None if asked else make_display(Board(), stream, settings.nocolor, settings.show_failed_logs)

    def emit(self, record: LogRecord) -> None:
        """Show one record of Snakemake's."""
        try:
            if self._display is None:
                self._words.emit(record)
            else:
                self._tell(self._display, record)
        except BrokenPipeError:
            # Nobody reads any more; the work goes on.
            return
        except Exception:
            self.handleError(record)

    def _tell(self, display, record: LogRecord) -> None:
        event = getattr(record, "event", None)
        if event == LogEvent.RUN_INFO:
            display.planned(record.stats)
        elif event == LogEvent.JOB_INFO:
            display.started(record)
        elif event == LogEvent.JOB_FINISHED:
            display.finished(record.job_id)
        elif event == LogEvent.PROGRESS:
            display.counted(record.done, record.total)
        elif event == LogEvent.JOB_ERROR:
            display.failed(record.jobid, record)
        elif event in UNTOLD:
            return
        elif (text := self._words.format(record)) and not _is_known(event, record.levelno, text):
            display.repeat(text)

    def close(self) -> None:
        """Leave the terminal as it was."""
        if getattr(self, "_display", None) is not None:
            self._display.close()
        super().close()


def _is_known(event: LogEvent | None, level: int, text: str) -> bool:
    """Whether a message says nothing that is not said anyway."""
    if event == LogEvent.ERROR:
        return text.startswith("RuleException:") and COMMAND_FAILED in text
    return event is None and level <= INFO and text.startswith(ROUTINE)
