"""The simulated feature store: the same bits however it is made, the real lengths, and errors before any work."""

import os
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from sadetr.configuration import resolve_dataset, resolve_simulation
from sadetr.data.annotations import Query, clip_count
from sadetr.data.preparation import read_queries
from sadetr.data.simulation import builder
from sadetr.data.simulation.builder import annotated_videos, simulate
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, ResultsError, SadetrError, SettingsError
from sadetr.settings import DatasetSettings, FeatureSettings, SimulationSettings
from tests.data.simulation.conftest import Build, invented_queries, write_splits

SHARED = Path(os.environ.get("SADETR_SHARED", Path(__file__).resolve().parents[4] / "shared"))
TRAIN, VAL = invented_queries(16), invented_queries(6, first=16)


def contents(store: FeatureStore) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in store.path.iterdir()}


def videos(store: FeatureStore) -> dict[str, np.ndarray]:
    """vid -> (clips, width), without the endpoint features."""
    return {vid: store.gather_video(store.video_rows([vid]))[0][0, :, :-2] for vid in store.video_names}


def test_the_same_settings_give_the_same_bytes_with_any_number_of_workers(build: Build) -> None:
    first = contents(build(TRAIN, VAL, workers=1))
    assert contents(build(TRAIN, VAL, workers=3)) == first
    assert contents(build(TRAIN, VAL, workers=1)) == first


def test_another_seed_gives_other_features(build: Build, simulation: SimulationSettings) -> None:
    store, other = build(TRAIN, VAL), build(TRAIN, VAL, simulation=simulation.model_copy(update={"seed": 1}))
    assert not np.allclose(videos(store)["v003_0.0_60.0"], videos(other)["v003_0.0_60.0"], atol=1e-2)


def test_a_subset_has_the_same_rows_as_the_whole(build: Build) -> None:
    whole, part = build(TRAIN, VAL), build(TRAIN[4:10], VAL[:2])
    assert set(part.video_names) < set(whole.video_names)
    for vid, rows in videos(part).items():
        np.testing.assert_array_equal(rows, videos(whole)[vid])
    for qid in part.text_names:
        (mine, _), (theirs, _) = (store.gather_text(store.text_rows([qid])) for store in (part, whole))
        np.testing.assert_array_equal(mine, theirs)


def test_lengths_are_the_official_ones(build: Build, dataset: DatasetSettings, simulation: SimulationSettings) -> None:
    store = build(TRAIN, VAL)
    short = {query.vid for query in [*TRAIN, *VAL] if query.qid in simulation.short_features}
    assert len(short) == 2
    for query in [*TRAIN, *VAL]:
        expected = min(clip_count(query.duration, 2.0), dataset.max_video_clips) - (query.vid in short)
        assert store.video_lengths[store.video_rows([query.vid])[0]] == expected
        words = len(query.query.split())
        assert store.text_lengths[store.text_rows([query.qid])[0]] == min(words + 2, dataset.max_text_tokens)


def test_windows_show_in_no_length_and_no_row_is_empty(build: Build) -> None:
    def moved(query: Query) -> Query:
        windows = query.duration - query.windows[::-1, ::-1]
        return Query(query.qid, query.query, query.vid, query.duration, windows, None, None)

    store, mirrored = build(TRAIN, VAL), build([moved(query) for query in TRAIN], [moved(query) for query in VAL])
    np.testing.assert_array_equal(store.video_lengths, mirrored.video_lengths)
    np.testing.assert_array_equal(store._arrays["text.npy"], mirrored._arrays["text.npy"])
    for rows in videos(store).values():
        # Both streams are of norm 1: no row is fainter than another.
        np.testing.assert_allclose(np.linalg.norm(rows, axis=1), np.sqrt(2), rtol=1e-3)


def test_half_precision_rounds_the_same_features(build: Build) -> None:
    single, half = build(TRAIN, VAL), build(TRAIN, VAL, dtype="float16")
    assert half._arrays["video_looks.npy"].dtype == np.float16
    rows = np.arange(len(single.video_names))
    (exact, _), (rounded, _) = single.gather_video(rows), half.gather_video(rows)
    np.testing.assert_array_equal(rounded, exact.astype(np.float16))


def test_the_manifest_says_what_the_features_are(build: Build, simulation: SimulationSettings) -> None:
    manifest = build(TRAIN, VAL).manifest
    assert "Simulated" in manifest["note"]
    assert SimulationSettings.model_validate(manifest["simulation"]) == simulation
    assert manifest["annotations"].keys() == {"train", "val"}


class Fault(NamedTuple):
    """A faulty query and what the error says."""

    name: str
    query: Query
    message: str


QUERY = VAL[0]
FAULTS = (
    Fault("no windows", Query(99, "A man", "v", 60.0, None, None, None), r"qid 99.*relevant_windows.*labels"),
    Fault("no words", Query(99, " ", "v", 60.0, QUERY.windows, None, None), r"qid 99.*no words"),
    Fault("too short", Query(99, "A man", "v", 1.5, np.array([[0.0, 1.0]]), None, None), r"'v'.*less than a clip"),
    Fault("used qid", Query(0, "A man", "v", 60.0, QUERY.windows, None, None), r"qid 0 also occurs"),
    Fault("other length", Query(99, "A man", QUERY.vid, 62.0, QUERY.windows, None, None), r"62 s.*duration"),
)


@pytest.mark.parametrize("fault", FAULTS, ids=[fault.name for fault in FAULTS])
def test_a_faulty_query_is_named_and_nothing_written(build: Build, tmp_path: Path, fault: Fault) -> None:
    with pytest.raises(DataError, match=fault.message):
        build(TRAIN, [*VAL, fault.query])
    assert not (tmp_path / "build0/store").exists()


def test_missing_annotations_are_named(
    dataset: DatasetSettings, simulation: SimulationSettings, tmp_path: Path
) -> None:
    files = write_splits(tmp_path, dataset, TRAIN, VAL)
    files["val"].unlink()
    with pytest.raises(DataError, match=r"val\.jsonl.*no such file"):
        simulate(dataset, FeatureSettings(), simulation, files, tmp_path / "store")


def test_a_stream_without_simulation_is_named(build: Build, simulation: SimulationSettings) -> None:
    blind = simulation.model_copy(update={"streams": {"looks": simulation.streams["looks"]}})
    with pytest.raises(SettingsError, match=r"'moves'.*knows looks"):
        build(TRAIN, VAL, simulation=blind)


def test_a_full_disk_is_noticed_before_the_work(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(builder.shutil, "disk_usage", lambda folder: type("Usage", (), {"free": 1000})())
    monkeypatch.setattr(builder, "VideoModel", None)
    with pytest.raises(ResultsError, match=r"store.*GB \(float32\).*--results"):
        build(TRAIN, VAL)
    assert not (tmp_path / "build0/store").exists()


def test_a_failure_in_a_worker_leaves_nothing(build: Build, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(model: object, video: builder.Video) -> dict:
        raise SadetrError(video.vid)

    monkeypatch.setattr(builder.VideoModel, "features", fail)
    with pytest.raises(SadetrError, match="v000"):
        build(TRAIN, VAL)
    assert [entry.name for entry in (tmp_path / "build0").iterdir()] == ["annotations"]


def test_results_are_never_far_ahead_of_the_consumer() -> None:
    started = []
    results = builder._in_order(lambda item: started.append(item) or item, range(100), workers=2)
    assert [next(results) for _ in range(5)] == list(range(5))
    assert len(started) <= 5 + 2 * builder.AHEAD
    assert list(results) == list(range(5, 100))


def official_videos(setting: str) -> list[builder.Video]:
    dataset = resolve_dataset(setting, "simulated")
    folder = SHARED / "annotations" / setting
    if not folder.exists():
        pytest.skip(f"{folder} is absent; set SADETR_SHARED to the folder that holds annotations/")
    files = {split: folder / file for split, file in dataset.annotations.items()}
    queries = read_queries(files, dataset.annotation_rules)
    return annotated_videos(queries, dataset, resolve_simulation(setting, "simulated"))


def test_official_videos_have_their_features_lengths() -> None:
    videos = official_videos("qvhighlights")
    assert len(videos) == 10148
    short = {query.qid for video in videos if 2 * video.clips < video.duration for query in video.queries}
    assert len(short) == 30
    assert {2363, 10006, 1657, 9500} < short
    longest = max(official_videos("tacos"), key=lambda video: video.clips)
    assert (longest.clips, len(official_videos("tacos"))) == (701, 127)
