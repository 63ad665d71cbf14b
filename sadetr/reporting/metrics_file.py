"""The metrics of many runs in one file, wherever it was made: all that a comparison needs to be told.

Free of torch, and of run folders and data.
"""

from collections.abc import Mapping
from pathlib import Path

from sadetr.configuration import ScaleSettings, choose_seeds, load_scale
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import RunId
from sadetr.reporting.metrics import RELEASED, TRAINED, read_metrics
from sadetr.reporting.scores import Key, Scores

REMEDY = "Gather the results again: 'snakemake --cores 1 all', or 'python -m sadetr gather'."


class MetricsFile(Scores):
    """What ``gather`` wrote, read once."""

    def __init__(self, path: Path | str) -> None:
        """Read the file.

        Raises:
            ResultsError: it is missing, truncated, empty, of another schema, or of several scales or kinds of data; or
                one number stands in it twice.
        """
        self.path = Path(path)
        table = read_metrics(self.path, remedy=REMEDY)
        self._metadata = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
        self.runs: dict[RunId, dict[Key, float | None]] = {}
        """Run -> its numbers in percent, by split, checkpoint and metric."""
        self._released: dict[str, dict[Key, float | None]] = {}
        rows = table.to_pylist()
        self.scale = self._only(rows, "scale")
        self._data = self._only([row for row in rows if row["origin"] == TRAINED], "data")
        for number, row in enumerate(rows, start=1):
            if row["origin"] == RELEASED:
                values = self._released.setdefault(row["setting"], {})
                key = (row["method"], row["split"], row["metric"])
            else:
                run = RunId(row["setting"], row["method"], row["variant"], row["seed"])
                values = self.runs.setdefault(run, {})
                key = (row["split"], row["checkpoint"], row["metric"])
            if key in values:
                raise ResultsError(f"{self.path}: row {number} repeats {', '.join(map(str, key))} of one run. {REMEDY}")
            self._check(row["value"], number)
            values[key] = row["value"]

    def _only(self, rows: list[dict], column: str) -> str:
        found = sorted({str(row[column]) for row in rows})
        if len(found) != 1:
            words = ", ".join(found) or "no runs"
            raise ResultsError(f"{self.path}: expected the runs of one {column}, found {words}. {REMEDY}")
        return found[0]

    def _check(self, value: float | None, number: int) -> None:
        if value is not None and not 0 <= value <= 100:  # also refuses NaN
            raise ResultsError(f"{self.path}: row {number}: value {value!r} is no percentage. {REMEDY}")

    def settings(self, scale: str | None, seeds: str | None) -> ScaleSettings:
        """The scale that the file is of, with the seeds of its tables.

        Args:
            scale: name or path where the user gives one.
            seeds: as :func:`sadetr.configuration.choose_seeds`; None: those that the file was gathered with.

        Raises:
            ResultsError: the file is of another scale, or of a scale that is not here.
            SettingsError: the scale's file or the seeds are malformed.
        """
        try:
            settings = load_scale(scale or self.scale)
        except SettingsError as error:
            if scale is not None:
                raise
            raise ResultsError(
                f"{self.path}: it is of the scale {self.scale!r}, which is not here ({error}); name its file with "
                "--scale"
            ) from error
        if (settings.name, settings.data) != (self.scale, self._data):
            raise ResultsError(
                f"{self.path}: it holds {self._data} data of the scale {self.scale!r}, but {settings.name!r} is of "
                f"{settings.data} data; leave --scale out, or gather the scale that you mean"
            )
        return choose_seeds(settings, seeds or self._metadata.get("sadetr.seeds"))

    def values(self, run: RunId) -> Mapping[Key, float | None] | None:
        """As of :class:`~sadetr.reporting.metrics.Scores`."""
        return self.runs.get(run)

    def released(self, setting: str) -> Mapping[Key, float | None]:
        """As of :class:`~sadetr.reporting.metrics.Scores`."""
        return self._released.get(setting, {})
