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
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.data import extracted
from sadetr.errors import DataError, ResultsError, SettingsError
from sadetr.extraction.command import extract
from sadetr.settings import VideoStream, WordVectors
from tests.extraction import networks
from tests.extraction.conftest import FRAMES, SCALE, options_for
from tests.extraction.folders import CLIP, SLOWFAST, TEXT, arrays, contents, finished

pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
pytest.importorskip("regex", reason="regex is not installed (extra 'extract')")


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
        for _ in range(10):
            if killed(lambda: extract(dataset, [], options, 2), data_root, files, draw.uniform(0, 0.05)):
                break
            # On a busy machine it may have ended before this process came to kill it.
            shutil.rmtree(data_root / "features")
        else:
            pytest.fail("it always ended first")
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


def test_a_read_only_folder_is_one_error(options, dataset, data_root, monkeypatch):
    # Refused by hand: root may write everywhere.
    real = Path.mkdir

    def mkdir(path: Path, *arguments: object, **named: object) -> None:
        if "features" in path.parts:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        real(path, *arguments, **named)

    monkeypatch.setattr(Path, "mkdir", mkdir)
    with pytest.raises(ResultsError, match=r"cannot be written \(Permission denied\)"):
        extract(dataset, ["text"], options, 1)
    assert not (data_root / "features").exists()


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


def command(material: Path, data_root: Path, tmp_path: Path, *words: str):
    """The command itself, for the small setting as a scale has it."""
    (data_root / "annotations" / "small").rename(data_root / "annotations" / "qvhighlights")
    (tmp_path / "own.yaml").write_text(SCALE)
    weights = {"--clip-weights": "clip.pt", "--slowfast-weights": "slowfast.pkl", "--bpe": "words.txt.gz"}
    given = [part for option, name in weights.items() for part in (option, str(material / "weights" / name))]
    settings = ["--setting", "qvhighlights", "--scale", str(tmp_path / "own.yaml"), "--data-root", str(data_root)]
    videos = ["--videos", str(material / "videos"), "--device", "cpu", "--other-weights"]
    return CliRunner().invoke(app, ["extract", *settings, *videos, *given, *words])


def test_the_command_writes_a_record_where_it_is_asked(material, whole, data_root, tmp_path):
    done = command(material, data_root, tmp_path, "--stream", "clip", "--record", str(tmp_path / "record.json"))
    assert done.exit_code == 0, done.exception
    folder = data_root / "features/qvhighlights" / CLIP
    assert (tmp_path / "record.json").read_bytes() == (folder / extracted.FILE).read_bytes()
    assert (folder / "a.npz").read_bytes() == (whole / "features/small" / CLIP / "a.npz").read_bytes()


def test_the_command_fails_where_a_video_did(material, data_root, tmp_path):
    annotations = data_root / "annotations" / "small" / "test.jsonl"
    annotations.write_text(annotations.read_text().replace('"d"', '"absent"'))
    done = command(material, data_root, tmp_path, "--stream", "clip", "--record", str(tmp_path / "record.json"))
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == "1 files could not be made. All others are there."
    assert not (tmp_path / "record.json").exists()
    assert len(list((data_root / "features").rglob("*.npz"))) == 3


def test_a_record_is_of_one_stream(material, data_root, tmp_path):
    done = command(material, data_root, tmp_path, "--record", str(tmp_path / "record.json"))
    assert isinstance(done.exception, SettingsError)


def test_videos_of_several_settings_may_lie_in_folders_of_their_names(whole, material, dataset, data_root, tmp_path):
    shutil.copytree(material / "videos", tmp_path / "videos" / "small")
    extract(dataset, ["clip"], options_for(material, data_root, videos=tmp_path / "videos"), 1)
    name = f"small/{CLIP}/a.npz"
    assert finished(data_root)[name] == finished(whole)[name]


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


def test_a_record_without_its_file_is_none(material, dataset, data_root, tmp_path):
    videos = Path(shutil.copytree(material / "videos", tmp_path / "videos"))
    options = options_for(material, data_root, videos=videos)
    folder = data_root / "features/small" / CLIP
    extract(dataset, ["clip"], options, 1)
    (folder / "a.npz").unlink()
    (videos / "a.mp4").unlink()
    (outcome,) = extract(dataset, ["clip"], options, 1)
    assert set(outcome.failed) == {"a"}
    assert "a.npz" not in extracted.read(folder).files


def test_weights_of_another_width_are_refused(options, dataset):
    wider = dataset.model_copy(update={"video_streams": [VideoStream(name="clip", directory=CLIP, width=512)]})
    with pytest.raises(SettingsError, match="is 512 wide in the setting, and these weights make features 32 wide"):
        extract(wider, ["clip"], options, 1)


def test_a_clip_with_other_patches_is_refused(options, dataset, tmp_path):
    image = {f"visual.{name}": value for name, value in networks.image_tower(patch=16).state_dict().items()}
    others = networks.write_clip(tmp_path / "b16.pt", {**networks.clip_tensors(), **image})
    with pytest.raises(SettingsError, match=r"b16\.pt: holds a CLIP with patches of 16 pixels.*ViT-B/32"):
        extract(dataset, ["clip"], replace(options, clip_weights=others), 1)


def test_a_stream_that_nothing_makes_is_named(options, dataset):
    other = dataset.model_copy(update={"video_streams": [VideoStream(name="i3d", directory="i3d", width=1024)]})
    with pytest.raises(SettingsError, match="stream 'i3d' of small: nothing here makes it; known: clip, slowfast, vgg"):
        extract(other, ["i3d"], options, 1)


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
