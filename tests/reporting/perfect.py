"""A reproduction that reaches the paper's numbers, in memory: for tests and simulations of verdicts."""

import contextlib
from collections.abc import Iterable, Iterator, Mapping, Sequence

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Row, RunId, experiment_names, load_experiment
from sadetr.reporting.paper import PaperTable
from sadetr.reporting.requirements import compared_table
from sadetr.reporting.scores import Key, Score, Scores

Experiments = list[tuple[Experiment, PaperTable | None]]


def compared(scale: ScaleSettings) -> Experiments:
    """What the target ``all`` compares."""
    loaded = [load_experiment(name, scale) for name in experiment_names()]
    return [(experiment, compared_table(experiment)) for experiment in loaded if experiment.part_of_all]


def rows_of(experiments: Experiments) -> Iterator[tuple[Experiment, Row, str, float | None]]:
    """Every trained cell with the paper's number."""
    for experiment, table in experiments:
        for row in experiment.rows:
            for metric in experiment.metrics if row.runs else ():
                paper = table.of(row, metric) if table is not None else None
                yield experiment, row, metric, paper.value if paper else None


class PerfectScores(Scores):
    """The paper's number in every cell; 50 where it has none.

    Where a run counts for a mean over seeds too, the other seeds make up for it.
    """

    def __init__(self, experiments: Experiments) -> None:
        self.runs: dict[RunId, dict[Key, float | None]] = {}
        self._scores: dict[tuple[tuple[RunId, ...], Key], Score] = {}
        cells = list(rows_of(experiments))
        # Rows of one run fix its numbers first.
        for experiment, row, metric, value in sorted(cells, key=lambda cell: (cell[3] is None, len(cell[1].runs))):
            self._fill(row, (experiment.split, row.checkpoint, metric), 50.0 if value is None else value)

    def _fill(self, row: Row, key: Key, mean: float) -> None:
        known = [run for run in row.runs if key in self.runs.get(run, {})]
        free = [run for run in row.runs if run not in known]
        rest = mean * len(row.runs) - sum(self.runs[run][key] for run in known)
        for run in free:
            self.runs.setdefault(run, {})[key] = rest / len(free)

    @contextlib.contextmanager
    def lowered(self, runs: Iterable[RunId], key: Key, points: float) -> Iterator[None]:
        """Take points from one number of some runs, for a while."""
        before = {run: self.runs[run][key] for run in runs}
        self._set({run: value - points for run, value in before.items()}, key)
        try:
            yield
        finally:
            self._set(before, key)

    def _set(self, values: Mapping[RunId, float], key: Key) -> None:
        for run, value in values.items():
            self.runs[run][key] = value
        self._scores = {known: score for known, score in self._scores.items() if known[1] != key}

    def score(self, runs: Sequence[RunId], split: str, checkpoint: str, metric: str) -> Score:
        """Computed once: what was lowered is little."""
        known = (tuple(runs), (split, checkpoint, metric))
        if known not in self._scores:
            self._scores[known] = super().score(runs, split, checkpoint, metric)
        return self._scores[known]

    def values(self, run: RunId) -> Mapping[Key, float | None] | None:
        return self.runs.get(run)

    def released(self, setting: str) -> Mapping[Key, float | None]:
        return {}
