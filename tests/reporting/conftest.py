"""Synthetic runs: metrics and histories as a training writes them, a few rows each."""

from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sadetr.configuration import ScaleSettings
from sadetr.experiments import Experiment, Predictions, Row, RunId
from sadetr.reporting.chance import Chance, ChanceSettings
from sadetr.reporting.metrics import RELEASED, TRAINING_COLUMNS, write_run_metrics
from sadetr.reporting.paper import PaperTable, PaperValue
from sadetr.reporting.scores import ScaleResults

SYSTEM = {
    "commit": "0" * 40,
    "code_fingerprint": "c0de",
    "config_fingerprint": "c0f1",
    "device": "cpu",
    "python": "3.11.0",
    "torch": "2.13.0",
    "numpy": "2.4.6",
    "train_seconds": 1.5,
}
OTHER = Predictions("qvhighlights", "other", "val")
GENERATED = "generated data: not comparable with the paper"


@pytest.fixture
def generated() -> ScaleSettings:
    """A scale whose numbers may not be compared."""
    return ScaleSettings(name="mini", reference="mini", label=GENERATED, data="generated")


@pytest.fixture
def simulated() -> ScaleSettings:
    """A scale of real queries whose own numbers may not be compared."""
    label = "simulated features: not comparable with the paper"
    return ScaleSettings(name="simulated", reference="simulated", label=label, data="simulated")


@pytest.fixture
def official() -> ScaleSettings:
    """A scale whose numbers may be compared."""
    return ScaleSettings(name="paper", reference="paper", label="", data="official")


def metric_row(run: RunId, scale: ScaleSettings, metric: str, value: float | None, /, **changes: object) -> dict:
    """One valid row of a run's metrics."""
    row = {
        "scale": scale.name,
        "setting": run.setting,
        "method": run.method,
        "variant": run.variant,
        "seed": run.seed,
        "split": "val",
        "checkpoint": "best",
        "epoch": 3,
        "metric": metric,
        "value": value,
        "origin": "trained",
        "data": scale.data,
        "predictions_sha256": "5ba2",
        **SYSTEM,
    }
    return {**row, **changes}


def run_id(variant: str, seed: int = 2018) -> RunId:
    """A run of the one setting and method that these tests know."""
    return RunId("qvhighlights", "sa_detr", variant, seed)


@pytest.fixture
def write_run(tmp_path: Path) -> Callable[..., Path]:
    """Write ``metrics.parquet`` of one run, and return its folder."""

    def write(
        run: RunId, scale: ScaleSettings, values: dict[str, float | None], epochs: list[float | None] = ()
    ) -> Path:
        folder = tmp_path / scale.name / "runs" / run.folder
        write_run_metrics([metric_row(run, scale, *item) for item in values.items()], folder / "metrics.parquet")
        if epochs:
            history = {"epoch": range(1, len(epochs) + 1), "loss": [1.0] * len(epochs), "val/mAP": epochs}
            pq.write_table(pa.table(history), folder / "history.parquet")
        return folder

    return write


def released_row(predictions: Predictions, scale: ScaleSettings, metric: str, value: float | None) -> dict:
    """One valid row of the metrics of published predictions."""
    return {
        **dict.fromkeys(TRAINING_COLUMNS),
        "scale": scale.name,
        "setting": predictions.setting,
        "method": predictions.method,
        "split": predictions.split,
        "metric": metric,
        "value": value,
        "origin": RELEASED,
        "data": "official",
        "predictions_sha256": "5ba2",
    }


@pytest.fixture
def write_rescored(tmp_path: Path) -> Callable[..., Path]:
    """Write the metrics of published predictions, and return their path."""

    def write(scale: ScaleSettings, scores: dict[Predictions, dict[str, float | None]]) -> Path:
        path = tmp_path / scale.name / "rescored" / "qvhighlights.parquet"
        rows = [released_row(name, scale, *item) for name, values in scores.items() for item in values.items()]
        write_run_metrics(rows, path)
        return path

    return write


@pytest.fixture
def results(tmp_path: Path) -> Callable[[ScaleSettings], ScaleResults]:
    """The runs that :func:`write_run` wrote."""
    return lambda scale: ScaleResults(tmp_path, scale)


@pytest.fixture
def experiment() -> Experiment:
    """Two rows of our own, and one of another method that may have published its predictions."""
    return Experiment(
        name="table4",
        kind="table",
        number=4,
        layout="metrics",
        title="Components & losses_50%",
        split="val",
        checkpoint="best",
        metrics=("R1@0.5", "mAP", "HD_mAP"),
        label_columns=("FA", "Method"),
        rows=(
            Row("a", {"FA": "", "Method": "plain"}, (run_id("plain"),), "best", "a"),
            Row(
                "b",
                {"FA": "x", "Method": "A|B_{$}"},
                (run_id("full", 0), run_id("full", 1), run_id("full", 2)),
                "best",
                "b",
            ),
            Row("c", {"FA": "", "Method": "<other>"}, (), "best", "c", OTHER),
        ),
        note="",
    )


@pytest.fixture
def paper(tmp_path: Path) -> PaperTable:
    """Numbers for every cell of :func:`experiment`; one is not reported, three carry notes."""
    noted = {("a", "mAP"): "Seen twice_&_50%.", ("b", "mAP"): "Seen twice_&_50%.", ("a", "R1@0.5"): "A <doubt>."}
    printed = {
        "a": {"R1@0.5": 60.0, "mAP": 40.0, "HD_mAP": 39.0},
        "b": {"R1@0.5": 65.0, "mAP": 45.0, "HD_mAP": 40.0},
        "c": {"R1@0.5": 65.0, "mAP": 44.0, "HD_mAP": None},
    }
    values = {}
    for row, numbers in printed.items():
        for metric, value in numbers.items():
            note = "Another method." if row == "c" else noted.get((row, metric), "")
            values[row, metric] = PaperValue(
                row=row, metric=metric, value=value, std=None, split="val", seeds=1, note=note
            )
    return PaperTable(tmp_path / "table4.csv", values)


SPREADS = {"R1@0.5": 0.8, "mAP": 0.6, "HD_mAP": 0.3}


def chance_of(spreads: dict[str, float] = SPREADS, **changes: object) -> Chance:
    """Known spreads of one training, in percentage points, and nothing that the paper prints as a mean over seeds."""
    values = {
        "levels": {"cells": 0.025, "tables": 0.015, "claims": 0.01},
        "power": 0.8,
        "widest": 4.9,
        "measured": "table12",
        "correlation": {"one_task": 0.65, "two_tasks": 0.3},
        "rescored": 0.005,
        "reference": {"single": 60.0, "mean": 8.0},
        "spreads": {"qvhighlights": spreads},
        **changes,
    }
    return Chance(ChanceSettings.model_validate(values), Path("tolerances.yaml"), {})


@pytest.fixture
def complete_runs(write_run: Callable[..., Path]) -> Callable[[ScaleSettings], None]:
    """Write every run of :func:`experiment`: row a at the paper's numbers, row b at means 65.5, 44.0 and 40.0."""

    def write(scale: ScaleSettings) -> None:
        write_run(run_id("plain"), scale, {"R1@0.5": 60.0, "mAP": 40.0, "HD_mAP": 39.0})
        for seed, shift in enumerate((-1.0, 0.0, 1.0)):
            values = {"R1@0.5": 65.5 + shift, "mAP": 44.0 + shift, "HD_mAP": 40.0 + shift}
            write_run(run_id("full", seed), scale, values)

    return write
