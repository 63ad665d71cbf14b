"""``extract``: the official layout; resumed with the same bytes; a line per broken video, one error otherwise."""

import errno
import json
import os
import random
import shutil
import signal
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sadetr.configuration import load_scale
from sadetr.data import extracted
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, ResultsError, SettingsError
from sadetr.extraction.command import extract
from sadetr.extraction.streams import Options
from sadetr.settings import DatasetSettings, FeatureSettings, VideoStream, WordVectors
from sadetr.verification.checks import check_data
from tests.extraction import networks
from tests.extraction.conftest import FRAMES, options_for, write_annotations

pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
pytest.importorskip("regex", reason="regex is not installed (extra 'extract')")

CLIP, SLOWFAST, TEXT = "clip_features", "slowfast_features", "clip_text_features"


def contents(root: Path) -> dict[str, bytes]:
    folder = root / "features"
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def finished(root: Path) -> dict[str, bytes]:
    """All files but the lock."""
    return {name: content for name, content in contents(root).items() if not name.endswith(".extraction.lock")}


@pytest.fixture(scope="module")
def whole(material, dataset, tmp_path_factory) -> Path:
    """A data root with all features, made in one go; not to be changed."""
    root = tmp_path_factory.mktemp("whole") / "data"
    write_annotations(root / "annotations" / "small")
    extract(dataset, [], options_for(material, root), 2)
    return root


def arrays(file: Path) -> dict[str, np.ndarray]:
    with np.load(file, allow_pickle=False) as content:
        return dict(content)


def test_the_layout_is_the_official_one(whole):
    folder = whole / "features" / "small"
    for vid, frames in FRAMES.items():
        half_up, ceil = int(frames / 60 + 0.5), -(-frames // 60)
        for directory, rows, width in ((CLIP, half_up, networks.WIDTH), (SLOWFAST, ceil, 288)):
            ((key, array),) = arrays(folder / directory / f"{vid}.npz").items()
            assert (key, array.shape, array.dtype) == ("features", (rows, width), np.float16)
    tokens = arrays(folder / TEXT / "qid0.npz")
    # Two tokens around "the cat and the thing", of which the vocabulary knows "the", "cat", "and" and "th", "ing".
    assert {key: (array.shape, array.dtype) for key, array in tokens.items()} == {
        "last_hidden_state": ((8, networks.WIDTH), np.float16),
        "pooler_output": ((networks.WIDTH,), np.float16),
    }
    assert sorted(path.name for path in (folder / TEXT).glob("*.npz")) == [f"qid{number}.npz" for number in range(4)]


def test_the_record_says_what_the_files_were_made_from(whole, material):
    record = json.loads((whole / "features/small" / SLOWFAST / extracted.FILE).read_text())
    made_with = record["made_with"]
    assert (made_with["sampling"], made_with["clip_length"]) == ("hero", 2.0)
    assert made_with["weights"]["file"] == "slowfast.pkl"
    assert len(made_with["weights"]["sha256"]) == 64
    entry = record["files"]["c.npz"]
    assert (entry["frame_rate"], entry["duration"], entry["rows"]) == ("30", pytest.approx(151 / 30, abs=1e-3), 3)
    assert "PyAV" in entry["decoder"]
    assert entry["device"] == "cpu"
    record = json.loads((whole / "features/small" / CLIP / extracted.FILE).read_text())
    assert record["made_with"]["weights"]["is"] == "not the official file"
    assert record["failed"] == {}


def test_preparation_takes_the_files_and_keeps_what_made_them(whole, dataset, tmp_path):
    prepare(dataset, FeatureSettings(), whole, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    assert set(store.manifest["extracted"]) == {CLIP, SLOWFAST, TEXT}
    assert store.manifest["extracted"][CLIP]["network"].startswith("CLIP")


def test_again_makes_nothing(whole, material, dataset):
    before = {path: path.stat().st_mtime_ns for path in (whole / "features").rglob("*.npz")}
    outcomes = extract(dataset, [], options_for(material, whole), 2)
    assert [(outcome.made, outcome.kept) for outcome in outcomes] == [(0, 4)] * 3
    assert before == {path: path.stat().st_mtime_ns for path in before}


def test_one_missing_file_is_made_again_with_the_same_bytes(whole, material, dataset, tmp_path):
    root = Path(shutil.copytree(whole, tmp_path / "data"))
    (root / "features/small" / SLOWFAST / "part/b.npz").unlink()
    extract(dataset, ["slowfast"], options_for(material, root), 1)
    assert finished(root) == finished(whole)


def killed(work, root: Path, files: int, after: float) -> bool:
    """Whether ``work``, in a process of its own, was killed before it ended, some time after it had made ``files``."""
    child = os.fork()
    if child == 0:
        try:
            work()
        finally:
            os._exit(0)
    while len(list(root.rglob("*.npz"))) < files and os.waitpid(child, os.WNOHANG) == (0, 0):
        time.sleep(0.01)
    time.sleep(after)
    os.kill(child, signal.SIGKILL)
    return os.waitpid(child, 0)[1] == signal.SIGKILL


def test_killed_at_any_moment_it_ends_with_the_same_bytes(whole, options, dataset, data_root):
    draw = random.Random()
    for files in (1, 3, 6):
        assert killed(lambda: extract(dataset, [], options, 2), data_root, files, draw.uniform(0, 0.05))
        for file in (data_root / "features").rglob("*.npz"):
            # Whatever has its final name is whole.
            assert finished(whole)[str(file.relative_to(data_root / "features"))] == file.read_bytes()
    outcomes = extract(dataset, [], options, 2)
    assert not any(outcome.failed for outcome in outcomes)
    assert finished(data_root) == finished(whole)


def test_a_full_disk_is_one_error_and_loses_nothing(whole, options, dataset, data_root, monkeypatch):
    real, calls = os.fsync, []

    def filling(descriptor: int) -> None:
        calls.append(descriptor)
        if len(calls) > 6:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        real(descriptor)

    monkeypatch.setattr(os, "fsync", filling)
    with pytest.raises(ResultsError, match="No space left on device"):
        extract(dataset, ["clip", "text"], options, 2)
    kept = {name: content for name, content in contents(data_root).items() if name.endswith(".npz")}
    assert kept
    assert kept.items() <= finished(whole).items()
    assert not list((data_root / "features").rglob("*.tmp"))
    monkeypatch.setattr(os, "fsync", real)
    extract(dataset, ["clip", "text"], options, 2)
    assert finished(data_root) == {name: content for name, content in finished(whole).items() if SLOWFAST not in name}


def test_a_folder_that_cannot_be_written_is_one_error(options, dataset, data_root):
    (data_root / "features").write_text("in the way")
    with pytest.raises(ResultsError, match=r"features.*cannot be written"):
        extract(dataset, ["text"], options, 1)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder_is_one_error(options, dataset, data_root):
    (data_root / "features").mkdir()
    (data_root / "features").chmod(0o500)
    with pytest.raises(ResultsError, match="cannot be written"):
        extract(dataset, ["text"], options, 1)


def test_a_broken_video_is_one_line_and_not_the_end(whole, material, dataset, data_root, tmp_path, capsys):
    videos = Path(shutil.copytree(material / "videos", tmp_path / "videos"))
    (videos / "a.mp4").write_text("no video\n")
    (videos / "c.mp4").unlink()
    options = options_for(material, data_root, videos=videos)
    (outcome,) = extract(dataset, ["clip"], options, 2)
    assert (outcome.made, set(outcome.failed)) == (2, {"a", "c"})
    lines = [line for line in capsys.readouterr().err.splitlines() if line.startswith("failed: ")]
    assert sorted(line.split(":")[1].strip() for line in lines) == ["a", "c"]
    assert "is a text" in outcome.failed["a"]
    assert "no video of this name" in outcome.failed["c"]
    record = extracted.read(data_root / "features/small" / CLIP)
    assert record.failed == outcome.failed
    # Once the videos are there, only theirs are made.
    (again,) = extract(dataset, ["clip"], replace(options, videos=material / "videos"), 2)
    assert (again.made, again.kept, again.failed) == (2, 2, {})
    assert extracted.read(data_root / "features/small" / CLIP).failed == {}
    (data_root / "features/small" / CLIP / ".extraction.lock").unlink()
    theirs = {name: content for name, content in finished(whole).items() if name.startswith(f"small/{CLIP}/")}
    assert finished(data_root) == theirs


def test_progress_says_the_time_left(options, dataset, capsys):
    extract(dataset, ["text"], options, 1)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("text: 1 of 4, about ")
    assert lines[-1].startswith("text: 4 made, 0 there already, 0 failed: ")


REFUSED = {
    "an unknown stream": ({}, "audio", SettingsError, "has no such stream; it has slowfast, clip, text"),
    "no videos": ({"videos": None}, "clip", SettingsError, "--videos DIR"),
    "no folder": ({"videos": Path("/nowhere")}, "clip", DataError, r"/nowhere: the folder of videos cannot be read"),
    "no weights": (
        {"clip_weights": Path("/nowhere/w.pt")},
        "clip",
        DataError,
        r"/nowhere/w\.pt: CLIP's weights cannot",
    ),
    "other weights": ({"accept_others": False}, "clip", DataError, r"sha256 [0-9a-f]{64}, expected 40d36571.*--other"),
    "too many tokens": ({"max_tokens": 78}, "text", SettingsError, "--max-tokens 78"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_work_is_one_error_before_any_file(case, material, dataset, data_root):
    others, stream, kind, message = REFUSED[case]
    with pytest.raises(kind, match=message):
        extract(dataset, [stream], options_for(material, data_root, **others), 1)
    assert not (data_root / "features").exists()


def test_weights_of_another_width_are_refused(options, dataset):
    wider = dataset.model_copy(update={"video_streams": [VideoStream(name="clip", directory=CLIP, width=512)]})
    with pytest.raises(SettingsError, match="is 512 wide in the setting, and these weights make features 32 wide"):
        extract(wider, ["clip"], options, 1)


def test_a_stream_that_nothing_makes_is_named(options, dataset):
    other = dataset.model_copy(update={"video_streams": [VideoStream(name="i3d", directory="i3d", width=1024)]})
    with pytest.raises(SettingsError, match="stream 'i3d' of small: nothing here makes it; known: clip, slowfast, vgg"):
        extract(other, ["i3d"], options, 1)


def test_other_weights_do_not_continue_a_folder(options, dataset, data_root, tmp_path):
    extract(dataset, ["clip"], options, 1)
    before = finished(data_root)
    other = networks.write_clip(tmp_path / "other.pt", {**networks.clip_tensors(), "logit_scale": torch.zeros(())})
    (data_root / "features/small" / CLIP / "a.npz").rename(tmp_path / "a.npz")
    with pytest.raises(DataError, match=r"were made with .*clip\.pt.* as 'weights', and now it is .*other\.pt"):
        extract(dataset, ["clip"], replace(options, clip_weights=other), 1)
    (tmp_path / "a.npz").rename(data_root / "features/small" / CLIP / "a.npz")
    assert finished(data_root) == before


def test_the_same_weights_under_another_name_continue(options, dataset, data_root, tmp_path):
    extract(dataset, ["clip"], options, 1)
    (data_root / "features/small" / CLIP / "a.npz").unlink()
    renamed = Path(shutil.copy(options.clip_weights, tmp_path / "renamed.pt"))
    (outcome,) = extract(dataset, ["clip"], replace(options, clip_weights=renamed), 1)
    assert (outcome.made, outcome.kept) == (1, 3)


def test_downloaded_files_are_not_touched(options, dataset, data_root):
    foreign = data_root / "features/small" / CLIP / "a.npz"
    foreign.parent.mkdir(parents=True)
    np.savez(foreign, features=np.ones((3, 32), np.float16))
    before = foreign.read_bytes()
    with pytest.raises(DataError, match=r"a\.npz: was not extracted here"):
        extract(dataset, ["clip"], options, 1)
    assert {name for name in contents(data_root) if not name.endswith(".lock")} == {f"small/{CLIP}/a.npz"}
    assert foreign.read_bytes() == before


@pytest.mark.parametrize("stream", [CLIP, TEXT])
@pytest.mark.parametrize("how", ["another content", "one more", "damaged record", "unfinished"])
def test_preparation_refuses_mixed_folders(whole, dataset, tmp_path, stream, how):
    root = Path(shutil.copytree(whole, tmp_path / "data"))
    folder = root / "features/small" / stream
    name = "a.npz" if stream == CLIP else "qid0.npz"
    message = {
        "another content": rf"{name}: is not the file that extraction\.json lists \(1 such",
        "one more": rf"{name}: is not in extraction\.json \(1 files are not\): it comes from elsewhere",
        "damaged record": r"extraction\.json: the record of extracted features cannot be read",
        "unfinished": rf"{name}: is not in extraction\.json .*was not finished",
    }[how]
    if how == "another content":
        np.savez(folder / name, **{key: values + 1 for key, values in arrays(folder / name).items()})
    elif how == "damaged record":
        (folder / extracted.FILE).write_text('{"made_with": {}')
    else:
        record = extracted.read(folder)
        del record.files[name]
        record.write(folder)
    if how == "unfinished":
        (folder / extracted.JOURNAL).touch()
    with pytest.raises(DataError, match=message):
        prepare(dataset, FeatureSettings(), root, tmp_path / "store")
    assert not (tmp_path / "store").exists()


def test_the_data_check_names_mixed_folders(whole, dataset, tmp_path):
    def findings(root: Path) -> list[tuple[str, str]]:
        report = check_data(dataset, load_scale("paper"), root, None, tmp_path / "store", quick=False)
        return [(finding.severity, finding.what) for finding in report.findings if "extract" in finding.what]

    root = Path(shutil.copytree(whole, tmp_path / "data"))
    assert ("note", "stream 'clip': extracted here by CLIP ViT-B/32, image") in findings(root)
    file = root / "features/small" / CLIP / "a.npz"
    np.savez(file, features=np.ones((3, networks.WIDTH), np.float16))
    assert ("error", "stream 'clip': extracted and other feature files are mixed") in findings(root)


def test_two_videos_of_one_name_are_refused(material, dataset, data_root, tmp_path):
    videos = Path(shutil.copytree(material / "videos", tmp_path / "videos"))
    shutil.copy(videos / "a.mp4", videos / "a.mkv")
    (videos / "c.srt").write_text("subtitles")
    (videos / "._c.mp4").write_bytes(b"\0\5\x16\7")
    with pytest.raises(DataError, match=r"a\.mkv and a\.mp4 are both named as the video 'a'"):
        extract(dataset, ["clip"], options_for(material, data_root, videos=videos), 1)


def test_two_extractions_do_not_share_a_folder(options, dataset, data_root):
    from sadetr.extraction.making import _alone

    with (
        _alone(data_root / "features/small" / TEXT),
        pytest.raises(ResultsError, match="another extraction is at work"),
    ):
        extract(dataset, ["text"], options, 1)


def test_word_vectors_are_no_stream(options, dataset):
    words = dataset.model_copy(update={"text_stream": WordVectors()})
    assert list(words.feature_folders) == ["slowfast", "clip"]
    with pytest.raises(SettingsError, match="--stream text: small has no such stream"):
        extract(words, ["text"], options, 1)


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
