"""Files that are not what their name says: every reader names what they are and says what to do."""

import gzip
import io
import json
import os
import pickle
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch

from sadetr.data.annotations import read_annotations
from sadetr.data.arrays import check_array
from sadetr.data.download.archives import unpack
from sadetr.data.preparation import read_video
from sadetr.data.words import read_word_vectors
from sadetr.disguise import NPZ, TEXT, disguise, is_companion
from sadetr.errors import DataError, SadetrError
from sadetr.evaluation.predictions import read_predictions
from sadetr.layering import load_yaml, named_files
from sadetr.models.weights import read_official
from sadetr.parity.fixture import read_fixture
from sadetr.reporting.metrics import read_metrics
from sadetr.reporting.paper import load_paper_table
from sadetr.reporting.published import read_curves
from sadetr.settings import DatasetSettings, VideoStream
from sadetr.training.checkpoint import read_tensors


def features(file: Path) -> None:
    stream = VideoStream(name="s", directory=".", width=4, suffix=file.suffix)
    settings = DatasetSettings(
        name="s", title="S", clip_length=2.0, annotations={"train": "t", "val": "v"}, video_streams=[stream]
    )
    read_video(settings, file.parent, file.stem, 40.0)


def checked(file: Path) -> None:
    found = check_array(file, "features", headers_only=False)
    if found.fault:
        raise DataError(f"{file}: {found.detail}; {found.remedy or 'again'}")


READERS: dict[str, tuple[str, Callable[[Path], object]]] = {
    "annotations": ("a.jsonl", read_annotations),
    "predictions": ("p.jsonl", read_predictions),
    "convergence": ("convergence.csv", lambda file: read_curves(file, ["mAP"])),
    "word vectors": ("glove.txt", lambda file: read_word_vectors(file, ["the"], 3)),
    "settings": ("s.yaml", load_yaml),
    "paper's numbers": ("paper/t.csv", lambda file: load_paper_table("t", file.parents[1])),
    "npz features": ("v.npz", features),
    "npy features": ("v.npy", features),
    "npz check": ("v.npz", checked),
    "npy check": ("v.npy", checked),
    "checkpoint": ("best.safetensors", read_tensors),
    "official safetensors": ("model.safetensors", read_official),
    "official torch file": ("model.ckpt", read_official),
    "parity fixture": ("f.safetensors", read_fixture),
    "metrics": ("m.parquet", read_metrics),
    "archive": ("f.tar.gz", lambda file: unpack(file, {"clip": "clip"}, file.parent / "out")),
}
TEXTS = {"annotations", "predictions", "convergence", "word vectors", "settings", "paper's numbers"}


def saved(write: Callable[[io.BytesIO], object]) -> bytes:
    buffer = io.BytesIO()
    write(buffer)
    return buffer.getvalue()


def zipped(stream: io.BytesIO) -> None:
    with zipfile.ZipFile(stream, "w") as archive:
        archive.writestr("notes.txt", "x" * 2000)


def tarred(stream: io.BytesIO) -> None:
    with tarfile.open(fileobj=stream, mode="w") as archive:
        archive.addfile(tarfile.TarInfo("clip/a.npz"))


ROWS = np.arange(80, dtype=np.float32).reshape(20, 4)
TENSORS = {"w": torch.arange(600.0)}
PAGE = b"\n<!DOCTYPE html><html><head><title>Google Drive -\n Virus scan warning</title></head></html>"
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"a" * 64 + b"\nsize 9340000\n"
ANNEX = b"/annex/objects/MD5E-s100--0123456789abcdef.npz\n"
# Content -> what is said, and part of the remedy. None of them is what any reader wants.
CONTENTS = {
    "git lfs": (LFS, "is a Git LFS pointer, not the", "git lfs pull"),
    "git-annex": (ANNEX, "is a git-annex pointer, not the", "git annex get"),
    "git-annex on Windows": (b"../.git/annex/objects/a/b/c.npz", "is a git-annex pointer", "git annex get"),
    "resource fork": (b"\0\5\x16\7\0\2\0\0Mac OS X        " + bytes(90), "is a macOS resource fork", "delete it"),
    "folder view": (b"\0\0\0\1Bud1\0\0\x10\0", r"is a macOS folder view \(.DS_Store\)", "delete it"),
    "web page": (PAGE, r"is an HTML page \('Google Drive - Virus scan warning'\), not the", "in a browser"),
    "server's error": (b"<?xml version='1.0'?><Error><Code>AccessDenied</Code></Error>", "is an XML text", "again"),
    "zeros": (bytes(9000), "begins with zero bytes", "again"),
    "hdf5": (b"\x89HDF\r\n\x1a\n" + bytes(90), "is an HDF5 file", "arrays"),
    "pickle": (pickle.dumps({"a": [1, 2]}), "is a Python pickle, which is never read here", "save"),
    "7z": (b"7z\xbc\xaf\x27\x1c" + bytes(90), "is a 7z archive", "unpack"),
}
FOREIGN = {
    "npy": (saved(lambda file: np.save(file, ROWS)), "is an .npy array, not the"),
    "npz": (saved(lambda file: np.savez(file, features=ROWS)), "is an .npz archive, not the"),
    "safetensors": (safetensors.torch.save(TENSORS), "is a safetensors file, not the"),
    "torch": (saved(lambda file: torch.save(TENSORS, file)), "is a file that torch saved, not the"),
    "gzip": (gzip.compress(b"text " * 99), "is gzip-compressed"),
    "zip": (saved(zipped), "is a zip archive, not the"),
    "tar": (saved(tarred), "is a tar archive, not the"),
}


def message(reader: str, folder: Path, put: Callable[[Path], object]) -> str:
    name, read = READERS[reader]
    file = folder / name
    file.parent.mkdir(exist_ok=True)
    put(file)
    with pytest.raises(SadetrError) as caught:
        read(file)
    assert str(file) in str(caught.value)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def says(found: str, fault: str) -> None:
    with pytest.raises(DataError, match=fault):
        raise DataError(found)


@pytest.mark.parametrize("content", CONTENTS)
@pytest.mark.parametrize("reader", READERS)
def test_what_stands_in_place_of_a_file_is_named(tmp_path: Path, reader: str, content: str) -> None:
    data, fault, remedy = CONTENTS[content]
    found = message(reader, tmp_path, lambda file: file.write_bytes(data))
    says(found, fault)
    assert remedy in found or reader in ("metrics", "archive")


WHOLE = {
    "npz features": "npz",
    "npz check": "npz",
    "npy features": "npy",
    "npy check": "npy",
    "checkpoint": "safetensors",
    "official safetensors": "safetensors",
    "parity fixture": "safetensors",
    "official torch file": "torch",
}
"""Reader of data -> its own format."""
OTHERS = [
    (reader, content)
    for reader in READERS
    for content in FOREIGN
    # An .npz archive is a zip like any other: its members are listed. So are an archive's.
    if content != WHOLE.get(reader) and (reader[:3], content) != ("npz", "zip") and reader != "archive"
]


@pytest.mark.parametrize(("reader", "content"), OTHERS)
def test_another_format_is_named(tmp_path: Path, reader: str, content: str) -> None:
    data, fault = FOREIGN[content]
    says(message(reader, tmp_path, lambda file: file.write_bytes(data)), fault)


def dangle(file: Path) -> None:
    file.symlink_to("../.git/annex/objects/x/y/MD5E-s1--0/MD5E-s1--0")


PLACES = {
    "folder": (Path.mkdir, "is a folder, not the"),
    "git-annex link": (dangle, "is a git-annex link whose content is not here.*git annex get"),
    "broken link": (lambda file: file.symlink_to("nowhere"), "is a link to nowhere, which is not there"),
}


@pytest.mark.parametrize("place", PLACES)
# Metrics are made here: a missing file is one that was not made.
@pytest.mark.parametrize("reader", [name for name in READERS if name != "metrics"])
def test_what_is_no_file_is_named(tmp_path: Path, reader: str, place: str) -> None:
    put, fault = PLACES[place]
    says(message(reader, tmp_path, put), fault)


def test_a_pipe_is_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "p")
    assert "is a pipe or a device" in disguise(tmp_path / "p", TEXT).fault


@pytest.mark.parametrize("reader", [name for name in READERS if name != "settings"])
def test_an_empty_file_is_named(tmp_path: Path, reader: str) -> None:
    says(message(reader, tmp_path, Path.touch), "empty|columns found: none")


@pytest.mark.parametrize("reader", [name for name in READERS if name not in TEXTS])
def test_a_text_in_place_of_data_is_quoted(tmp_path: Path, reader: str) -> None:
    found = message(reader, tmp_path, lambda file: file.write_text('{"message": "Not Found"}\n'))
    says(found, """is a text that begins with '{"message": "Not Found"}'""")


CUTS = {
    "npy": "holds 12 of 20 rows: cut off",
    "npz": "has 320 bytes without the directory that ends a zip archive: cut off",
    "safetensors": r"holds 320 of 2,\d+ bytes: cut off",
    "torch": "has 320 bytes without the directory that ends a zip archive: cut off",
}


@pytest.mark.parametrize("reader", WHOLE)
def test_a_file_that_was_cut_says_how_much_is_there(tmp_path: Path, reader: str) -> None:
    content = FOREIGN[WHOLE[reader]][0]
    says(message(reader, tmp_path, lambda file: file.write_bytes(content[:320])), CUTS[WHOLE[reader]])


@pytest.mark.parametrize("reader", WHOLE)
@pytest.mark.parametrize("kept", [9, 40, 100])
def test_a_beginning_alone_is_an_error_too(tmp_path: Path, reader: str, kept: int) -> None:
    content = FOREIGN[WHOLE[reader]][0]
    says(message(reader, tmp_path, lambda file: file.write_bytes(content[:kept])), "cut off|cannot be read|corrupt|not")


def test_zeros_where_the_end_should_be_are_said(tmp_path: Path) -> None:
    content = saved(lambda file: np.savez(file, features=np.ones((400, 4))))
    says(
        message("npz features", tmp_path, lambda file: file.write_bytes(content[:6000] + bytes(6000))),
        "its last bytes are zeros: cut off",
    )


def test_sound_files_are_not_suspected(tmp_path: Path) -> None:
    np.savez(tmp_path / "v.npz", features=ROWS)
    np.save(tmp_path / "v.npy", ROWS)
    for name in ("v.npz", "v.npy"):
        features(tmp_path / name)
        checked(tmp_path / name)
    assert disguise(tmp_path / "v.npz", NPZ) is None
    (tmp_path / "words.txt").write_text("the 1 2 3\n")
    assert disguise(tmp_path / "words.txt", TEXT) is None
    assert disguise(tmp_path / "absent", TEXT) is None


@pytest.mark.parametrize("name", ["._v.npz", ".DS_Store", "Thumbs.db", "desktop.ini", "__MACOSX", ".git"])
def test_companions(name: str) -> None:
    assert is_companion(name)
    assert not is_companion(name.lstrip("._") + "x.npz")


def test_resource_forks_are_no_settings_files(tmp_path: Path) -> None:
    (tmp_path / "scales").mkdir()
    for name in ("mine.yaml", "._mine.yaml"):
        (tmp_path / "scales" / name).write_text("label: x\n")
    assert "mine" in named_files("scales", tmp_path)
    assert not [name for name in named_files("scales", tmp_path) if name.startswith(".")]


def test_a_file_cut_between_two_lines_is_told_by_what_it_lacks(tmp_path: Path) -> None:
    rows = [{"qid": qid, "query": "q", "duration": 20, "vid": "v", "relevant_windows": [[0, 4]]} for qid in range(4)]
    (tmp_path / "gt.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    predictions = [{"qid": qid, "pred_relevant_windows": []} for qid in range(2)]
    (tmp_path / "p.jsonl").write_text("".join(json.dumps(row) + "\n" for row in predictions))
    with pytest.raises(DataError, match="the file ends without a prediction for qid 2 and 1 more"):
        read_predictions(tmp_path / "p.jsonl", read_annotations(tmp_path / "gt.jsonl"), highlights=False)
