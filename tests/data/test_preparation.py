"""Preparation packs what the loaders of the field would compute, and refuses every kind of damaged input."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sadetr.data.annotations import read_annotations
from sadetr.data.preparation import normalise_rows, prepare, read_video
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, SadetrError
from sadetr.settings import DatasetSettings, FeatureSettings, TokenFiles, VideoStream

FOLDER = "features/small"


def prepared(dataset: DatasetSettings, root: Path, out: Path) -> FeatureStore:
    prepare(dataset, FeatureSettings(), root, out, "abc")
    return FeatureStore.open(out, verify=True)


def rewrite(path: Path, change: Callable[[np.ndarray], np.ndarray], key: str = "features") -> None:
    with np.load(path) as archive:
        arrays = dict(archive)
    np.savez(path, **{key: change(arrays[key])})


def regular_video(root: Path) -> str:
    """A video of full length, all of whose streams are complete."""
    for file in sorted((root / FOLDER / "clip_features").iterdir()):
        streams = [root / FOLDER / name / file.name for name in ("clip_features", "slowfast_features")]
        if all(len(np.load(stream)["features"]) == 24 for stream in streams):
            return file.stem
    raise AssertionError


def test_every_video_and_query_is_stored_once(dataset: DatasetSettings, shared_root: Path, tmp_path: Path) -> None:
    store = prepared(dataset, shared_root, tmp_path / "store")
    queries = [
        q for file in dataset.annotations.values() for q in read_annotations(shared_root / "annotations/small" / file)
    ]
    assert len(queries) > len({query.vid for query in queries}), "the corpus has no shared video"
    assert store.text_names == [str(query.qid) for query in queries]
    assert store.video_names == list(dict.fromkeys(query.vid for query in queries))


def test_stored_features_are_the_normalised_files(dataset: DatasetSettings, shared_root: Path, tmp_path: Path) -> None:
    store = prepared(dataset, shared_root, tmp_path / "store")
    for row, vid in enumerate(store.video_names):
        streams = [
            np.load(shared_root / FOLDER / s.directory / f"{vid}.npz")["features"] for s in dataset.video_streams
        ]
        length = min(map(len, streams))
        unit = [x[:length] / (np.linalg.norm(x[:length], axis=1, keepdims=True) + 1e-5) for x in streams]
        (features,), lengths = store.gather_video([row])
        assert lengths == [length]
        np.testing.assert_allclose(features[:, :-2], np.concatenate(unit, axis=1), rtol=1e-5)
    for row, qid in enumerate(store.text_names):
        tokens = np.load(shared_root / FOLDER / "clip_text_features" / f"qid{qid}.npz")["last_hidden_state"][:9]
        unit = tokens / (np.linalg.norm(tokens, axis=1, keepdims=True) + 1e-5)
        np.testing.assert_allclose(store.gather_text([row])[0][0], unit, rtol=1e-5)
    assert store.text_lengths.max() == 9, "no query was long enough to be cut"


def test_normalisation_divides_by_the_norm_plus_epsilon() -> None:
    rows = np.array([[3, 4], [0, 0], [3e-6, 4e-6]], dtype=np.float32)
    np.testing.assert_allclose(normalise_rows(rows), [[0.6, 0.8], [0, 0], [0.2, 4 / 15]], rtol=1e-5)


def test_the_manifest_says_where_the_features_come_from(
    dataset: DatasetSettings, shared_root: Path, tmp_path: Path
) -> None:
    manifest = prepared(dataset, shared_root, tmp_path / "store").manifest
    assert manifest["preparation"] == "abc"
    assert [source["directory"] for source in manifest["video_sources"]] == ["slowfast_features", "clip_features"]
    assert set(manifest["annotations"]) == set(dataset.annotations)
    assert str(shared_root) not in json.dumps(manifest)


def test_preparing_twice_gives_the_same_bytes(dataset: DatasetSettings, shared_root: Path, tmp_path: Path) -> None:
    for name in ("a", "b"):
        prepare(dataset, FeatureSettings(dtype="float16"), shared_root, tmp_path / name)
    for file in (tmp_path / "a").iterdir():
        assert file.read_bytes() == (tmp_path / "b" / file.name).read_bytes(), file.name


def test_streams_are_cut_before_they_are_compared(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    vid = regular_video(data_root)
    rewrite(data_root / FOLDER / "clip_features" / f"{vid}.npz", lambda x: np.concatenate([x, x[:1]]))
    store = prepared(dataset, data_root, tmp_path / "store")
    assert store.video_lengths[store.video_rows([vid])] == [24]


def test_a_wrong_clip_length_is_noticed_although_the_surplus_would_be_cut(
    dataset: DatasetSettings, data_root: Path, tmp_path: Path
) -> None:
    vid = regular_video(data_root)
    rewrite(data_root / FOLDER / "slowfast_features" / f"{vid}.npz", lambda x: np.repeat(x, 2, axis=0))
    assert_refused(dataset, data_root, tmp_path, vid, r"48 clips.*has 24\. A clip_length of 1 s would fit", "Extract")


def test_the_length_tolerance_belongs_to_the_setting(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    vid = regular_video(data_root)
    for name in ("clip_features", "slowfast_features"):
        rewrite(data_root / FOLDER / name / f"{vid}.npz", lambda x: x[:-2])
    lenient = dataset.model_copy(update={"length_tolerance": 2})
    store = prepared(lenient, data_root, tmp_path / "store")
    assert store.video_lengths[store.video_rows([vid])] == [22]
    assert_refused(dataset, data_root, tmp_path, vid, "22 clips", "clip_length")


@pytest.mark.parametrize(("clips", "fits"), [(240, "0.125 s"), (180, None), (179, None), (30, "1 s"), (31, "0.9677 s")])
def test_the_clip_length_that_would_fit_is_named(
    dataset: DatasetSettings, tmp_path: Path, clips: int, fits: str | None
) -> None:
    """VGG features of 1/6 s (the paper says 1/8 s) for a video of 30 s."""
    streams = [VideoStream(name="vgg", directory="vgg", width=4, suffix=".npy")]
    ours = dataset.model_copy(update={"clip_length": 0.166666, "max_video_clips": None, "video_streams": streams})
    (tmp_path / "vgg").mkdir()
    np.save(tmp_path / "vgg" / "v.npy", np.ones((clips, 4), np.float32))
    if fits is None:
        assert len(read_video(ours, tmp_path, "v", 30.0)["vgg"]) == clips
        return
    with pytest.raises(DataError, match=rf"A clip_length of {fits} would fit"):
        read_video(ours, tmp_path, "v", 30.0)


def test_without_a_limit_longer_features_are_refused(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    unlimited = dataset.model_copy(update={"max_video_clips": None})
    vid = regular_video(data_root)
    rewrite(data_root / FOLDER / "clip_features" / f"{vid}.npz", lambda x: np.concatenate([x, x[:2]]))
    with pytest.raises(DataError, match=rf"{vid}.*26 clips.*has 24"):
        prepare(unlimited, FeatureSettings(), data_root, tmp_path / "store")


def test_progress_is_plain_lines_where_there_is_no_terminal(
    dataset: DatasetSettings, shared_root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    store = prepared(dataset, shared_root, tmp_path / "store")
    output = capsys.readouterr()
    assert not output.out
    assert f"packing videos: {len(store.video_names)} of {len(store.video_names)}" in output.err
    assert len(output.err.splitlines()) <= 22


def _with_nan(array: np.ndarray) -> np.ndarray:
    array[3, 1] = np.nan
    return array


def _with_overflow(array: np.ndarray) -> np.ndarray:
    array = array.astype(np.float64)
    array[5, 0] = 1e300
    return array


ARRAY_FAULTS = {
    "nan": (_with_nan, r"clip 3.*NaN"),
    "beyond float32": (_with_overflow, r"clip 5.*infinity"),
    "wrong width": (lambda x: x[:, :7], r"7 wide, the setting says 8"),
    "one dimension": (lambda x: x[0], r"shape \(8,\); expected.*\(clips, 8\)"),
    "no rows": (lambda x: x[:0], r"no clips"),
    "integers": (lambda x: np.ones_like(x, dtype=int), r"int64.*expected floating-point"),
    "objects": (lambda x: x.astype(object), r"corrupt"),
    "too short": (lambda x: x[:-2], r"22 clips.*48 s.*2 s has 24"),
}


@pytest.mark.parametrize("fault", ARRAY_FAULTS)
def test_a_malformed_array_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path, fault: str) -> None:
    change, message = ARRAY_FAULTS[fault]
    file = data_root / FOLDER / "clip_features" / f"{regular_video(data_root)}.npz"
    rewrite(file, change)
    assert_refused(dataset, data_root, tmp_path, file.name, message, r"Extract|Use the features")


def test_streams_that_differ_by_two_clips_are_both_named(
    dataset: DatasetSettings, data_root: Path, tmp_path: Path
) -> None:
    unlimited = dataset.model_copy(update={"max_video_clips": None})
    vid = regular_video(data_root)
    rewrite(data_root / FOLDER / "clip_features" / f"{vid}.npz", lambda x: x[:-1])
    rewrite(data_root / FOLDER / "slowfast_features" / f"{vid}.npz", lambda x: np.concatenate([x, x[:1]]))
    message = rf"slowfast_features/{vid}.npz has 25 clips and .*clip_features/{vid}.npz has 23"
    assert_refused(unlimited, data_root, tmp_path, vid, message, "Extract")


FILE_FAULTS = {
    "missing": (Path.unlink, r"feature file missing \(1 missing"),
    "empty": (lambda file: file.write_bytes(b""), r"is empty"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-40]), r"cut off"),
    "cut in the data": (lambda file: file.write_bytes(file.read_bytes()[:300]), r"cut off"),
    "flipped bits": (
        lambda file: file.write_bytes(file.read_bytes()[:250] + b"\xff\xff" + file.read_bytes()[252:]),
        r"corrupt",
    ),
    "text": (lambda file: file.write_text("404 not found"), r"is a text that begins with '404 not found'"),
    "bare array": (lambda file: np.save(file.open("wb"), np.ones((24, 8))), r"is an .npy array, not the .npz archive"),
    "other key": (lambda file: np.savez(file, feats=np.ones((24, 8))), r"no key 'features'; the file has feats"),
    "folder": (lambda file: (file.unlink(), file.mkdir()), r"is a folder.*; put the file itself there"),
}


@pytest.mark.parametrize("fault", FILE_FAULTS)
def test_a_damaged_file_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path, fault: str) -> None:
    damage, message = FILE_FAULTS[fault]
    file = data_root / FOLDER / "clip_features" / f"{regular_video(data_root)}.npz"
    damage(file)
    assert_refused(dataset, data_root, tmp_path, file.name, message, r"again|put the file")


def flip_header(file: Path) -> None:
    """Damage the text that describes the array: numpy's parser of it fails in ways of its own."""
    content = bytearray(file.read_bytes())
    content[8] = 1
    file.write_bytes(bytes(content))


BARE_FAULTS = {
    "header": (flip_header, r"truncated or corrupt .npy"),
    "archive": (lambda file: np.savez(file.open("wb"), features=np.ones((24, 8))), r"is an .npz archive, not the .npy"),
    "truncated": (lambda file: file.write_bytes(file.read_bytes()[:-40]), r"holds 22 of 24 rows: cut off"),
    "wrong width": (lambda file: np.save(file, np.ones((24, 7))), r"the array is 7 wide, the setting says 8"),
    "nan": (lambda file: np.save(file, np.full((24, 8), np.nan)), r"clip 0.*NaN"),
    "pickled": (lambda file: np.save(file, np.array([{}])), r"truncated or corrupt .npy"),
    "no clips": (lambda file: np.save(file, np.ones((0, 8))), r"has no clips"),
}


def as_bare_arrays(dataset: DatasetSettings, root: Path) -> DatasetSettings:
    """The small corpus with the second stream in .npy files."""
    for file in (root / FOLDER / "clip_features").iterdir():
        np.save(file.with_suffix(".npy"), np.load(file)["features"])
        file.unlink()
    first, second = dataset.video_streams
    return dataset.model_copy(update={"video_streams": [first, second.model_copy(update={"suffix": ".npy"})]})


def test_bare_arrays_give_the_same_store(
    dataset: DatasetSettings, shared_root: Path, data_root: Path, tmp_path: Path
) -> None:
    expected = prepared(dataset, shared_root, tmp_path / "archives")
    store = prepared(as_bare_arrays(dataset, data_root), data_root, tmp_path / "bare")
    assert store.manifest["files"] == expected.manifest["files"]


@pytest.mark.parametrize("fault", BARE_FAULTS)
def test_a_damaged_bare_array_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path, fault: str) -> None:
    damage, message = BARE_FAULTS[fault]
    vid = regular_video(data_root)
    bare = as_bare_arrays(dataset, data_root)
    file = data_root / FOLDER / "clip_features" / f"{vid}.npy"
    damage(file)
    assert_refused(bare, data_root, tmp_path, file.name, message, r"again|Use the features")


TEXT_FAULTS = {
    "nan": (lambda x: np.where(np.arange(len(x))[:, None] == 2, np.nan, x), r"token 2.*NaN"),
    "wrong width": (lambda x: x[:, 1:], r"9 wide, the setting says 10"),
    "no tokens": (lambda x: x[:0], r"no tokens"),
}


@pytest.mark.parametrize("fault", TEXT_FAULTS)
def test_a_malformed_text_array_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path, fault: str) -> None:
    change, message = TEXT_FAULTS[fault]
    rewrite(data_root / FOLDER / "clip_text_features/qid7.npz", change, key="last_hidden_state")
    assert_refused(dataset, data_root, tmp_path, "qid7.npz", message, r"Extract|Use the features")


def test_a_text_file_of_an_unknown_qid_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    folder = data_root / FOLDER / "clip_text_features"
    (folder / "qid9999.npz").write_bytes((folder / "qid7.npz").read_bytes())
    assert_refused(dataset, data_root, tmp_path, "qid9999.npz", "qid that no annotation has", "remove these files")


def test_a_missing_text_file_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    (data_root / FOLDER / "clip_text_features/qid7.npz").unlink()
    assert_refused(dataset, data_root, tmp_path, "qid7.npz", "missing", "unpack")


def test_the_file_name_prefix_belongs_to_the_setting(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    bare = dataset.model_copy(update={"text_stream": TokenFiles(width=10, prefix="")})
    for file in (data_root / FOLDER / "clip_text_features").iterdir():
        file.rename(file.with_name(file.name.removeprefix("qid")))
    assert prepared(bare, data_root, tmp_path / "store").text_names[0] == "0"


@pytest.mark.parametrize("name", ["clip_features", "clip_text_features"])
def test_a_missing_folder_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path, name: str) -> None:
    (data_root / FOLDER / name).rename(data_root / "elsewhere")
    assert_refused(dataset, data_root, tmp_path, name, "cannot be read", "data_root")


def test_missing_annotations_are_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    (data_root / "annotations/small/val.jsonl").unlink()
    assert_refused(dataset, data_root, tmp_path, "val.jsonl", "no such file", "data root")


def test_a_qid_in_two_splits_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    folder = data_root / "annotations/small"
    (folder / "test.jsonl").write_bytes((folder / "val.jsonl").read_bytes())
    assert_refused(dataset, data_root, tmp_path, "test.jsonl", r"qid 60 also occurs in .*val.jsonl", "own qid")


def test_a_video_with_two_durations_is_named(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    file = data_root / "annotations/small/test.jsonl"
    rows = [json.loads(line) for line in file.read_text().splitlines()]
    rows[0]["duration"] += 2
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert_refused(dataset, data_root, tmp_path, rows[0]["vid"], r"in one row and", "Correct the duration")


def assert_refused(dataset: DatasetSettings, root: Path, tmp_path: Path, name: str, fault: str, remedy: str) -> None:
    """One clear error with file, fault and remedy; nothing left behind, not even a temporary folder."""
    (tmp_path / "out").mkdir()
    with pytest.raises(SadetrError, match=fault) as caught:
        prepare(dataset, FeatureSettings(), root, tmp_path / "out" / "store")
    assert name in str(caught.value)
    assert re.search(remedy, str(caught.value))
    assert not list((tmp_path / "out").iterdir())
