"""Our numbers behind the cells of tables: of runs and of published predictions, each file read once."""

import statistics
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa

from sadetr.configuration import ScaleSettings
from sadetr.data.labelling import part_of
from sadetr.errors import ResultsError
from sadetr.experiments import Predictions, RunId
from sadetr.layout import Layout, RunFolder
from sadetr.reporting.metrics import RELEASED, read_metrics
from sadetr.reporting.query_scores import query_scores_by_split, read_query_scores

LABELLED = {"windows": "labelled_windows", "saliency": "labelled_saliency"}
"""Part of a query -> the metric that says which percentage of the queries has it; only there where it is not 100."""


@dataclass(frozen=True)
class Score:
    """One cell of ours: mean and sample standard deviation over the seeds that are there, in percent, unrounded.

    ``std`` is None with fewer than two seeds; ``mean`` is None unless ``state`` is "scored". Published predictions
    count as one seed. ``labelled`` is the percentage of the split's queries that have what the metric is scored on.
    """

    mean: float | None
    std: float | None
    found: int
    wanted: int
    state: Literal["scored", "not run", "not evaluated", "no queries", "no labels", "no file"]
    labelled: float = 100.0

    @property
    def complete(self) -> bool:
        """Whether every seed has been trained and evaluated."""
        return self.found == self.wanted


Key = tuple[str, str, str]


class Scores(ABC):
    """Our numbers of the cells of tables, wherever they are kept."""

    @abstractmethod
    def values(self, run: RunId) -> Mapping[Key, float | None] | None:
        """Metrics of a run, by split, checkpoint and name; None where it has not been evaluated."""

    @abstractmethod
    def released(self, setting: str) -> Mapping[Key, float | None]:
        """Scores of the published predictions of a benchmark setting, by method, split and metric."""

    def query_scores(self, run: RunId, checkpoint: str, split: str) -> pa.Table | None:
        """What every query adds to every metric: the columns ``qid``, in sorted order, and one per metric, in percent.

        Null where a query does not count; None where there is no such file.

        Raises:
            ResultsError: the file is unreadable.
        """
        return None

    def score(self, runs: Sequence[RunId], split: str, checkpoint: str, metric: str) -> Score:
        """Our number for one cell, over runs that differ by their seed alone.

        Raises:
            ResultsError: a metrics file is unreadable, or was made at another scale or from other data.
        """
        scores = [self.values(run) for run in runs]
        key = (split, checkpoint, metric)
        found = [score[key] for score in scores if score is not None and key in score]
        values = [value for value in found if value is not None]
        share = (split, checkpoint, LABELLED[part_of(metric)])
        labelled = min((score.get(share, 100.0) for score in scores if score is not None), default=100.0)
        if values:
            std = statistics.stdev(values) if len(values) > 1 else None
            return Score(statistics.fmean(values), std, len(found), len(scores), "scored", labelled)
        empty = "no queries" if labelled else "no labels"
        state = empty if found else "not run" if all(score is None for score in scores) else "not evaluated"
        return Score(None, None, len(found), len(scores), state, labelled)

    def seed_values(self, runs: Sequence[RunId], split: str, checkpoint: str, metric: str) -> dict[int, float]:
        """Our numbers behind one cell: seed -> value in percent, for the seeds that are trained and evaluated.

        Raises:
            ResultsError: as :meth:`score`.
        """
        key = (split, checkpoint, metric)
        values = {run.seed: (self.values(run) or {}).get(key) for run in runs}
        return {seed: value for seed, value in values.items() if value is not None}

    def rescored(self, predictions: Predictions, metric: str) -> Score:
        """The score of published predictions; its state is "no file" where there are none.

        Raises:
            ResultsError: their metrics are unreadable, or were made at another scale.
        """
        values = self.released(predictions.setting)
        if not any(key[:2] == (predictions.method, predictions.split) for key in values):
            return Score(None, None, 0, 1, "no file")
        key = (predictions.method, predictions.split, metric)
        value = values.get(key)
        labelled = values.get((*key[:2], LABELLED[part_of(metric)]), 100.0)
        empty = "no queries" if labelled else "no labels"
        state = "scored" if value is not None else empty if key in values else "not evaluated"
        return Score(value, None, int(key in values), 1, state, labelled)


class ScaleResults(Scores):
    """The runs and rescored predictions of one scale, below ``<results>/<scale>``; each file is read once."""

    def __init__(self, results: Path | str, scale: ScaleSettings, data_root: Path | None = None) -> None:
        self.layout = Layout(scale, Path(results), data_root)
        self.folder = self.layout.folder
        self._scale = scale
        self._cache: dict[RunId, dict[Key, float | None] | None] = {}
        self._rescored: dict[str, dict[Key, float | None]] = {}
        self._queries: dict[RunId, dict[tuple[str, str], pa.Table]] = {}

    def run(self, run: RunId) -> RunFolder:
        """Files of a run."""
        return self.layout.run(run)

    def values(self, run: RunId) -> Mapping[Key, float | None] | None:
        """As of :class:`Scores`, from the run's folder.

        Raises:
            ResultsError: the file is unreadable or belongs to another run.
        """
        if run not in self._cache:
            path = self.run(run).metrics
            self._cache[run] = self._load(path, run) if path.exists() else None
        return self._cache[run]

    def query_scores(self, run: RunId, checkpoint: str, split: str) -> pa.Table | None:
        """As of :class:`Scores`, from the run's folder."""
        if run not in self._queries:
            path = self.run(run).query_scores
            self._queries[run] = query_scores_by_split(read_query_scores(path)) if path.exists() else {}
        return self._queries[run].get((checkpoint, split))

    def _load(self, path: Path, run: RunId) -> dict[Key, float | None]:
        expected = {
            "scale": self._scale.name,
            "setting": run.setting,
            "method": run.method,
            "variant": run.variant,
            "seed": run.seed,
            "data": self._scale.data,
        }
        rows = _checked(path, expected, "the file belongs to another run. Delete the run's folder and run it again.")
        return {(row["split"], row["checkpoint"], row["metric"]): row["value"] for row in rows}

    def released(self, setting: str) -> Mapping[Key, float | None]:
        """As of :class:`Scores`, from the setting's file of rescored predictions.

        Raises:
            ResultsError: it is unreadable, or was made at another scale.
        """
        if setting not in self._rescored:
            self._rescored[setting] = self._load_rescored(setting)
        return self._rescored[setting]

    def _load_rescored(self, setting: str) -> dict[Key, float | None]:
        path = self.layout.rescored(setting)
        if not path.exists():
            return {}
        expected = {"scale": self._scale.name, "setting": setting, "origin": RELEASED}
        rows = _checked(path, expected, f"delete it and run 'python -m sadetr rescore --setting {setting}'.")
        return {(row["method"], row["split"], row["metric"]): row["value"] for row in rows}


def _checked(path: Path, expected: Mapping[str, Any], remedy: str) -> list[dict[str, Any]]:
    """Rows of a metrics file, all of which say what is ``expected``."""
    rows = read_metrics(path).to_pylist()
    for number, row in enumerate(rows, start=1):
        for column, value in expected.items():
            if row[column] != value:
                found = f"{column} = {row[column]!r}"
                raise ResultsError(f"{path}: row {number} says {found}, expected {value!r}: {remedy}")
    return rows
