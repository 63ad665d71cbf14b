"""Videos averaged to a number of positions: equal shares, every clip counted once, windows still where they were."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query
from sadetr.data.labels import Labels
from sadetr.data.packing import averaged
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.errors import SettingsError
from sadetr.layering import validate
from sadetr.settings import DatasetSettings, FeatureSettings


@given(st.integers(1, 60), st.integers(1, 20))
def test_every_row_counts_once_and_shares_are_as_equal_as_can_be(clips: int, most: int) -> None:
    # Every row is 1 in a column of its own: a mean shows which rows are in it.
    rows = np.eye(clips, dtype=np.float32)
    found = averaged(rows, most)
    assert len(found) == min(clips, most)
    counted = found > 0
    assert (counted.sum(0) == 1).all()
    sizes = counted.sum(1)
    assert sizes.max() - sizes.min() <= 1
    np.testing.assert_allclose(found.sum(1), 1, rtol=1e-6)
    assert (np.diff(counted.argmax(0)) >= 0).all()


def test_shorter_videos_stay_as_they_are() -> None:
    rows = np.random.default_rng(0).standard_normal((8, 3)).astype(np.float32)
    assert averaged(rows, 8) is rows
    assert averaged(rows, None) is rows


def test_prepared_rows_are_normalised_means_of_all_streams_alike(
    dataset: DatasetSettings, shared_root: Path, tmp_path: Path
) -> None:
    ours = dataset.model_copy(update={"max_positions": 10, "saliency": "window", "highlights": False})
    prepare(ours, FeatureSettings(), shared_root, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store", verify=True)
    assert set(store.video_lengths.tolist()) == {10}
    for row, vid in enumerate(store.video_names):
        files = [shared_root / "features/small" / s.directory / f"{vid}.npz" for s in dataset.video_streams]
        streams = [np.load(file)["features"] for file in files]
        length = min(map(len, streams))
        means = [averaged(stream[:length], 10) for stream in streams]
        unit = [mean / (np.linalg.norm(mean, axis=1, keepdims=True) + 1e-5) for mean in means]
        np.testing.assert_allclose(store.gather_video([row])[0][0, :, :-2], np.concatenate(unit, 1), rtol=1e-4)


def test_labels_count_positions_of_the_whole_duration() -> None:
    """100 s in ten positions of 10 s, though a clip of the setting lasts 2 s; a video of four clips is not averaged."""
    dataset = resolve_dataset("tacos", "mini").model_copy(update={"max_positions": 10})
    windows = [np.array([[20.0, 45.0]]), np.array([[2.0, 6.0]])]
    queries = [Query(n, "text", f"v{n}", d, windows[n], None, None) for n, d in enumerate((100.0, 8.0))]
    labels = Labels(queries, np.array([10, 4]), dataset)
    assert labels.relevant[0].nonzero()[0].tolist() == [2, 3, 4]
    assert labels.relevant[1].nonzero()[0].tolist() == [1, 2]
    spans = labels.draw(lambda _: np.random.default_rng(0)).spans
    np.testing.assert_allclose(spans[:, 0], [[0.325, 0.25], [0.5, 0.5]], rtol=1e-6)


def test_annotators_labels_of_clips_cannot_be_averaged(tmp_path: Path) -> None:
    values = resolve_dataset("qvhighlights", "mini").model_dump() | {"max_positions": 10}
    with pytest.raises(SettingsError, match=r"max_positions averages clips.*saliency: window"):
        validate(DatasetSettings, values, tmp_path / "own.yaml")
