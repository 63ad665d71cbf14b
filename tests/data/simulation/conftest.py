"""Annotations of invented videos and small settings to simulate features for."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sadetr.data.annotations import Query, write_annotations
from sadetr.data.simulation import simulate
from sadetr.data.store import FeatureStore
from sadetr.settings import (
    DatasetSettings,
    FeatureSettings,
    SimulationSettings,
    StreamSimulation,
    TokenFiles,
    VideoStream,
)

WHO, WHAT = ("A chef", "The dancer", "Two sailors", "My nurse"), ("opens", "is painting", "repaired", "hides")
THING, WHERE = ("a drum", "the old bicycle", "some carpets", "the telescope"), ("in a garage", "at the harbour", "here")
Build = Callable[..., FeatureStore]


def invented_queries(count: int, first: int = 0, saliency: bool = True) -> list[Query]:
    """Queries about videos of 48 to 60 s in clips of 2 s, two per video, each with one or two windows on the grid."""
    queries = []
    for qid in range(first, first + count):
        video = qid // 2
        rng, shared = np.random.default_rng([3, qid]), np.random.default_rng([4, video])
        clips = int(shared.integers(24, 31))
        text = " ".join(rng.choice(words) for words in (WHO, WHAT, THING, WHERE)) + "."
        ends = np.sort(rng.choice(clips + 1, 2 * int(rng.integers(1, 3)), replace=False)).reshape(-1, 2)
        ids = np.concatenate([np.arange(*window) for window in ends])
        scores = rng.integers(0, 5, (len(ids), 3))
        labels = (ids, scores) if saliency else (None, None)
        queries.append(Query(qid, text, f"v{video:03d}_0.0_60.0", 2.0 * clips, 2.0 * ends, *labels))
    return queries


@pytest.fixture(scope="session")
def dataset() -> DatasetSettings:
    return DatasetSettings(
        name="invented",
        title="Invented",
        clip_length=2.0,
        max_video_clips=28,
        max_text_tokens=9,
        annotations={"train": "train.jsonl", "val": "val.jsonl"},
        video_streams=[
            VideoStream(name="moves", directory="moves", width=160),
            VideoStream(name="looks", directory="looks", width=96),
        ],
        text_stream=TokenFiles(width=64),
    )


@pytest.fixture(scope="session")
def simulation() -> SimulationSettings:
    streams = {"moves": StreamSimulation(motion=1.0, zeros=0.6), "looks": StreamSimulation()}
    return SimulationSettings(streams=streams, short_features=[2, 7])


def write_splits(folder: Path, dataset: DatasetSettings, train: list[Query], val: list[Query]) -> dict[str, Path]:
    """Annotation files of ``dataset`` below ``folder``."""
    files = {split: folder / file for split, file in dataset.annotations.items()}
    for split, queries in {"train": train, "val": val}.items():
        write_annotations(files[split], queries)
    return files


@pytest.fixture
def build(dataset: DatasetSettings, simulation: SimulationSettings, tmp_path: Path) -> Build:
    """Simulate features of queries and open the store; settings may be replaced by keyword."""
    made = iter(range(100))

    def built(train: list[Query], val: list[Query], dtype: str = "float32", workers: int | None = 2, **replace: object):
        folder = tmp_path / f"build{next(made)}"
        setting, difficulty = replace.get("dataset", dataset), replace.get("simulation", simulation)
        files = write_splits(folder / "annotations", setting, train, val)
        simulate(setting, FeatureSettings(dtype=dtype), difficulty, files, folder / "store", workers=workers)
        return FeatureStore.open(folder / "store", verify=True)

    return built
