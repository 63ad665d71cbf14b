"""Two files of metrics side by side: the same code, run again, here or on another machine.

On one platform one seed gives the same bits; elsewhere it gives another network, whose numbers differ as those of
another seed do. ``config/paper/tolerances.yaml`` says by how much.
"""

from collections.abc import Mapping
from dataclasses import dataclass

from sadetr.experiments import RunId
from sadetr.reporting.chance import ReferenceTolerance
from sadetr.reporting.metrics_file import MetricsFile
from sadetr.reporting.scores import Key

Place = tuple[RunId, Key]


@dataclass(frozen=True)
class MetricAgreement:
    """One metric over all runs: percentage points, ours minus the reference's."""

    metric: str
    numbers: int
    equal: int
    mean: float
    largest: float


@dataclass(frozen=True)
class Agreement:
    """What two files have in common, and what only one of them has."""

    metrics: tuple[MetricAgreement, ...]
    faults: tuple[str, ...]
    missing: tuple[RunId, ...]
    """Runs that the reference has alone."""
    added: tuple[RunId, ...]
    """Runs that it lacks."""

    @property
    def equal(self) -> bool:
        """Whether every number that both have is the same."""
        return all(metric.equal == metric.numbers for metric in self.metrics)


def agreement(ours: MetricsFile, reference: MetricsFile, tolerance: ReferenceTolerance) -> Agreement:
    """Compare every number of the runs that both files have; metrics by length of windows are left out.

    A number that is empty in one file alone, or there in one alone, is a fault; so is a difference beyond
    ``tolerance``.
    """
    common = sorted(ours.runs.keys() & reference.runs.keys())
    faults: list[str] = []
    differences: dict[str, list[float]] = {}
    for run in common:
        mine, theirs = _plain(ours.runs[run]), _plain(reference.runs[run])
        for key in sorted(mine.keys() | theirs.keys()):
            first, second = mine.get(key), theirs.get(key)
            if first is None and second is None:
                continue
            if first is None or second is None:
                faults.append(f"{run}: {' '.join(key)}: {first} here, {second} in the reference")
                continue
            differences.setdefault(key[2], []).append(first - second)
            if abs(first - second) > tolerance.single:
                faults.append(f"{run}: {' '.join(key)}: {first:.2f} here, {second:.2f} in the reference")
    metrics = tuple(
        MetricAgreement(metric, len(found), found.count(0.0), sum(found) / len(found), max(found, key=abs))
        for metric, found in differences.items()
    )
    faults += [
        f"{metric.metric}: {metric.mean:+.2f} on average over {metric.numbers} numbers"
        for metric in metrics
        if abs(metric.mean) > tolerance.mean
    ]
    return Agreement(
        metrics,
        tuple(faults),
        tuple(sorted(reference.runs.keys() - ours.runs.keys())),
        tuple(sorted(ours.runs.keys() - reference.runs.keys())),
    )


def _plain(values: Mapping[Key, float | None]) -> dict[Key, float | None]:
    return {key: value for key, value in values.items() if "/" not in key[2]}
