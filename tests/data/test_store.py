"""Properties of the feature store: what is written is what is gathered, and damage is noticed."""

import json
import multiprocessing
import resource
from pathlib import Path

import numpy as np
import pytest

from sadetr.data.store import FeatureStore, StoreWriter, atomic_folder
from sadetr.errors import ResultsError, StoreError

STREAMS = {"slowfast": 12, "clip": 8}
LENGTHS = {"v0": 7, "v1": 3, "v2": 24, "v3": 1}


def videos() -> dict[str, dict[str, np.ndarray]]:
    rng = np.random.default_rng(0)
    return {
        vid: {name: rng.uniform(-1, 1, (length, width)).astype(np.float32) for name, width in STREAMS.items()}
        for vid, length in LENGTHS.items()
    }


def texts() -> dict[int, np.ndarray]:
    rng = np.random.default_rng(1)
    return {qid: rng.uniform(-1, 1, (length, 10)).astype(np.float32) for qid, length in {5: 4, 17: 9, 2: 1}.items()}


def write(path: Path, dtype: str = "float32") -> Path:
    with StoreWriter.create(path, STREAMS, 10, dtype, {"preparation": "abc"}) as writer:
        for vid, streams in videos().items():
            writer.add_video(vid, streams)
        for qid, tokens in texts().items():
            writer.add_text(qid, tokens)
    return path


@pytest.fixture
def store(tmp_path: Path) -> FeatureStore:
    return FeatureStore.open(write(tmp_path / "store"), verify=True)


def test_gathered_features_are_what_was_written(store: FeatureStore) -> None:
    vids = ["v2", "v0", "v3", "v0"]
    features, lengths = store.gather_video(store.video_rows(vids))
    assert features.shape == (4, 24, store.video_width + 2)
    assert features.dtype == np.float32
    assert lengths.tolist() == [LENGTHS[vid] for vid in vids]
    for row, vid in enumerate(vids):
        expected = np.concatenate(list(videos()[vid].values()), axis=1)
        np.testing.assert_array_equal(features[row, : LENGTHS[vid], :-2], expected)


def test_gathered_tokens_are_what_was_written(store: FeatureStore) -> None:
    features, lengths = store.gather_text(store.text_rows([2, "17"]))
    assert features.shape == (2, 9, store.text_width)
    assert lengths.tolist() == [1, 9]
    np.testing.assert_array_equal(features[0, :1], texts()[2])
    np.testing.assert_array_equal(features[1], texts()[17])


def test_temporal_endpoint_features_are_fractions_of_the_video(store: FeatureStore) -> None:
    features, _ = store.gather_video(store.video_rows(["v1"]))
    np.testing.assert_allclose(features[0, :, -2:], [[0, 1 / 3], [1 / 3, 2 / 3], [2 / 3, 1]], rtol=1e-6)


def test_a_batch_equals_its_samples_and_its_padding_is_zero(store: FeatureStore) -> None:
    rows = store.video_rows(LENGTHS)
    batch, lengths = store.gather_video(rows)
    for sample, row, length in zip(batch, rows, lengths, strict=True):
        (alone,), _ = store.gather_video([row])
        np.testing.assert_array_equal(sample[:length], alone)
        assert not sample[length:].any()


def test_given_memory_is_used_and_fully_overwritten(store: FeatureStore) -> None:
    rows = store.video_rows(["v0", "v1"])
    memory = np.full(5000, np.nan, dtype=np.float32)
    batch, _ = store.gather_video(rows, out=memory)
    assert np.shares_memory(batch, memory)
    assert batch.flags.c_contiguous
    np.testing.assert_array_equal(batch, store.gather_video(rows)[0])
    with pytest.raises(ValueError, match="reshape"):
        store.gather_video(rows, out=memory[:10])


def test_lengths_are_available_without_gathering(store: FeatureStore) -> None:
    assert dict(zip(store.video_names, store.video_lengths, strict=True)) == LENGTHS
    assert store.text_lengths.tolist() == [4, 9, 1]


def test_float16_costs_at_most_half_a_unit_in_the_last_place(tmp_path: Path) -> None:
    exact = FeatureStore.open(write(tmp_path / "single"))
    half = FeatureStore.open(write(tmp_path / "half", "float16"), verify=True)
    rows = exact.video_rows(LENGTHS)
    (a, _), (b, _) = exact.gather_video(rows), half.gather_video(rows)
    assert b.dtype == np.float16
    np.testing.assert_allclose(b.astype(np.float32), a, rtol=2**-11, atol=2**-25)


def test_an_unknown_name_says_what_to_do(store: FeatureStore) -> None:
    with pytest.raises(StoreError, match=r"'v9'.*prepare"):
        store.video_rows(["v0", "v9"])
    with pytest.raises(StoreError, match=r"query '3'.*prepare"):
        store.text_rows([3])


def test_the_same_features_give_the_same_bytes(tmp_path: Path) -> None:
    first, second = write(tmp_path / "a"), write(tmp_path / "b")
    assert {file.name: file.read_bytes() for file in first.iterdir()} == {
        file.name: file.read_bytes() for file in second.iterdir()
    }


def test_stored_arrays_open_with_plain_numpy_and_cannot_be_changed(store: FeatureStore) -> None:
    array = np.load(store.path / "video_clip.npy", allow_pickle=False)
    np.testing.assert_array_equal(array, np.concatenate([streams["clip"] for streams in videos().values()]))
    assert all(not array.flags.writeable for array in store._arrays.values())


@pytest.mark.parametrize(
    "name", ["video_slowfast.npy", "text.npy", "video_offsets.npy", "video_names.txt", "text_names.txt"]
)
@pytest.mark.parametrize("size", ["missing", "truncated", "longer"])
def test_a_wrong_size_is_found_at_opening(tmp_path: Path, name: str, size: str) -> None:
    file = write(tmp_path / "store") / name
    content = file.read_bytes()
    if size == "missing":
        file.unlink()
    else:
        file.write_bytes(content[:-3] if size == "truncated" else content + b"\0")
    with pytest.raises(StoreError, match=rf"{name}.*prepare.* again"):
        FeatureStore.open(file.parent)


@pytest.mark.parametrize("name", ["video_clip.npy", "text.npy", "text_offsets.npy", "video_names.txt"])
def test_a_changed_byte_is_found_by_verification(tmp_path: Path, name: str) -> None:
    file = write(tmp_path / "store") / name
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(StoreError, match=rf"{name}.*checksum"):
        FeatureStore.open(file.parent, verify=True)


def test_a_header_that_contradicts_the_manifest_is_found_at_opening(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    manifest = json.loads((path / "manifest.json").read_text())
    manifest["files"]["text.npy"]["shape"] = [7, 20]
    (path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(StoreError, match=r"text.npy.*\[14, 10\].*\[7, 20\]"):
        FeatureStore.open(path)


@pytest.mark.parametrize("content", ["{", "[]", '{"format_version": 99}', '{"format_version": 1}'])
def test_a_damaged_manifest_is_found_at_opening(tmp_path: Path, content: str) -> None:
    path = write(tmp_path / "store")
    (path / "manifest.json").write_text(content)
    with pytest.raises(StoreError, match=r"manifest.json"):
        FeatureStore.open(path)


def test_no_store_says_how_to_make_one(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"prepare"):
        FeatureStore.open(tmp_path / "nothing")


def test_a_failure_leaves_nothing_and_keeps_the_earlier_store(tmp_path: Path) -> None:
    path = write(tmp_path / "store")
    with pytest.raises(KeyError), StoreWriter.create(path, STREAMS, 10, "float32", {}) as writer:
        writer.add_video("v0", {"slowfast": videos()["v0"]["slowfast"]})
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]
    FeatureStore.open(path, verify=True)


def test_a_new_store_replaces_the_earlier_one(tmp_path: Path) -> None:
    write(tmp_path / "store")
    write(tmp_path / "store", "float16")
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]
    assert FeatureStore.open(tmp_path / "store").manifest["files"]["text.npy"]["dtype"] == "float16"


def test_a_folder_of_something_else_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "photos").mkdir()
    (tmp_path / "photos" / "cat.png").touch()
    with pytest.raises(ResultsError, match=r"photos.*not overwritten"):
        write(tmp_path / "photos")
    assert (tmp_path / "photos" / "cat.png").exists()


def test_an_unwritable_folder_is_a_results_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(ResultsError, match=r"cannot be written.*nothing was left"):
        write(tmp_path / "file" / "store")


def _write_with_little_room(path: Path, messages: multiprocessing.SimpleQueue) -> None:
    resource.setrlimit(resource.RLIMIT_FSIZE, (700, 700))
    try:
        write(path)
    except ResultsError as error:
        messages.put(str(error))
    else:
        messages.put("no error")


def test_a_full_disk_is_a_results_error_and_leaves_nothing(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    messages = context.SimpleQueue()
    process = context.Process(target=_write_with_little_room, args=(tmp_path / "store", messages))
    process.start()
    process.join(60)
    assert process.exitcode == 0
    assert "has room" in messages.get()
    assert not list(tmp_path.iterdir())


def _hold(path: Path, entered: multiprocessing.Event) -> None:
    with atomic_folder(path, marker="m") as folder:
        (folder / "half").touch()
        entered.set()
        multiprocessing.Event().wait()


def test_what_a_killed_run_left_is_removed_by_the_next_but_not_while_it_runs(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    entered = context.Event()
    process = context.Process(target=_hold, args=(tmp_path / "store", entered))
    process.start()
    assert entered.wait(60)
    write(tmp_path / "store")
    assert len(list(tmp_path.iterdir())) == 2, "the running process lost its folder"
    process.kill()
    process.join(60)
    write(tmp_path / "store")
    assert [entry.name for entry in tmp_path.iterdir()] == ["store"]
