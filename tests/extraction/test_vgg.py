"""AI2's text files of VGG features become arrays, and damaged folders are named."""

import shutil
from pathlib import Path

import numpy as np
import pytest

from sadetr.extraction.command import extract
from sadetr.extraction.streams import Options
from sadetr.settings import DatasetSettings, VideoStream


def frames_of(folder: Path, vid: str, count: int, width: int, step: int = 4) -> np.ndarray:
    rows = np.abs(np.random.default_rng(0).normal(size=(count, width))).astype(np.float32)
    (folder / vid).mkdir(parents=True)
    for number, row in enumerate(rows):
        text = " ".join(f"{value:.6g}" for value in row)
        (folder / vid / f"{vid}-{1 + step * number:06d}.txt").write_text(text)
    return rows


@pytest.fixture
def vgg(dataset) -> DatasetSettings:
    stream = VideoStream(name="vgg", directory="vgg_features/rgb_features", width=6, suffix=".npy")
    return dataset.model_copy(update={"video_streams": [stream], "clip_length": 0.166666})


def vgg_options(root: Path, folder: Path) -> Options:
    return Options(root, videos=folder)


def test_vgg_text_files_become_rows(vgg, data_root, tmp_path):
    folder = tmp_path / "Charades_v1_features_rgb"
    rows = {vid: frames_of(folder, vid, count, 6) for vid, count in (("a", 11), ("c", 1), ("d", 3))}
    (outcome,) = extract(vgg, ["vgg"], vgg_options(data_root, folder), 2)
    assert (outcome.made, set(outcome.failed)) == (3, {"part/b"})
    for vid, expected in rows.items():
        found = np.load(data_root / "features/small/vgg_features/rgb_features" / f"{vid}.npy", allow_pickle=False)
        assert (found.dtype, found.shape) == (np.float32, expected.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-5)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: (folder / "a-000005.txt").unlink(), r"a-000009\.txt: comes where frame 5 should"),
        (lambda folder: (folder / "a-000005.txt").write_text("1 2 3"), r"a-000005\.txt: holds 3 numbers, expected 6"),
        (lambda folder: (folder / "a-000005.txt").write_text("1 2 3 4 5 x"), r"a-000005\.txt: holds no numbers"),
        (lambda folder: (folder / "a-000005.txt").write_text("1 2 3 4 5 nan"), r"a-000005\.txt: holds NaN"),
        (lambda folder: [file.unlink() for file in folder.iterdir()], "holds no frame a-<number>"),
        (shutil.rmtree, "cannot be read"),
    ],
)
def test_damaged_vgg_folders_are_named(vgg, data_root, tmp_path, change, message):
    folder = tmp_path / "rgb"
    frames_of(folder, "a", 4, 6)
    change(folder / "a")
    (outcome,) = extract(vgg, ["vgg"], vgg_options(data_root, folder), 1)
    assert outcome.made == 0
    with pytest.raises(AssertionError, match=message):
        raise AssertionError(outcome.failed["a"])
