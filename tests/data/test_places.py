"""Names with folders in them are found; names that lead elsewhere are refused; hidden files are only company."""

import json
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import load_scale
from sadetr.data import manifest
from sadetr.data.places import name_fault
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, FeatureSettings
from sadetr.verification.checks import check_data
from sadetr.verification.findings import Report

FEATURES = "features/small"
STREAMS = ("slowfast_features", "clip_features")
TEXT = "clip_text_features"


def rename(root: Path, vid: Callable[[str], str] = str, qid: Callable[[int], int | str] = int) -> None:
    """Give the annotations' videos and queries new names; their files stay."""
    for file in (root / "annotations/small").glob("*.jsonl"):
        rows = [json.loads(line) for line in file.read_text().split("\n") if line]
        rows = [row | {"vid": vid(row["vid"]), "qid": qid(row["qid"])} for row in rows]
        file.write_text("".join(json.dumps(row) + "\n" for row in rows))


def move(root: Path, folder: str, name: Callable[[str], str]) -> None:
    base = root / FEATURES / folder
    for file in sorted(base.iterdir()):
        target = base / name(file.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        file.rename(target)


@pytest.fixture
def nested(data_root: Path) -> Path:
    """Videos lie in two levels of folders, queries in one."""
    rename(data_root, lambda vid: f"part{ord(vid[-1]) % 2}/a b/{vid}", lambda qid: f"{qid % 3}/q{qid}")
    for stream in STREAMS:
        move(data_root, stream, lambda name: f"part{ord(name[-5]) % 2}/a b/{name}")
    move(data_root, TEXT, lambda name: f"qid{int(name[3:-4]) % 3}/q{name[3:]}")
    return data_root


def check(dataset: DatasetSettings, root: Path, **options: object) -> Report:
    return check_data(dataset, load_scale("paper"), root, None, **options)


def errors(report: Report) -> list[str]:
    return [finding.what for finding in report.findings if finding.severity == "error"]


def test_names_with_folders_are_found(
    dataset: DatasetSettings, shared_root: Path, nested: Path, tmp_path: Path
) -> None:
    prepare(dataset, FeatureSettings(), shared_root, tmp_path / "flat")
    prepare(dataset, FeatureSettings(), nested, tmp_path / "nested")
    flat, store = (FeatureStore.open(tmp_path / name, verify=True) for name in ("flat", "nested"))
    assert [name.rpartition("/")[2] for name in store.video_names] == flat.video_names
    assert all(name.startswith(("part0/a b/", "part1/a b/")) for name in store.video_names)
    for name in ("video_slowfast.npy", "video_clip.npy", "text.npy"):
        assert store.manifest["files"][name] == flat.manifest["files"][name]


def test_the_check_finds_them_and_the_record_of_inputs_names_them(
    dataset: DatasetSettings, nested: Path, tmp_path: Path
) -> None:
    prepare(dataset, FeatureSettings(), nested, tmp_path / "store")
    report = check(dataset, nested, store=tmp_path / "store")
    assert report.passed
    assert not [finding for finding in report.findings if "changed since" in finding.what]
    inner = next((nested / FEATURES / TEXT / "qid1").iterdir())
    entries = manifest.read(tmp_path / "store" / manifest.FILE)
    assert str(inner.relative_to(nested)) in entries
    inner.write_bytes(inner.read_bytes() + b" ")
    (finding,) = [f for f in check(dataset, nested, store=tmp_path / "store").findings if "changed since" in f.what]
    assert [place.file for place in finding.places] == [str(inner.relative_to(nested))]


def test_a_missing_file_in_a_folder_is_named(dataset: DatasetSettings, nested: Path, tmp_path: Path) -> None:
    gone = next((nested / FEATURES / "clip_features/part0/a b").iterdir())
    gone.unlink()
    with pytest.raises(DataError, match=rf"{re.escape(str(gone))}: feature file missing \(1 missing"):
        prepare(dataset, FeatureSettings(), nested, tmp_path / "store")
    (finding,) = [f for f in check(dataset, nested).findings if f.severity == "error"]
    assert [place.file for place in finding.places] == [str(gone.relative_to(nested))]


def test_a_stranger_in_a_folder_is_named(dataset: DatasetSettings, nested: Path, tmp_path: Path) -> None:
    folder = nested / FEATURES / TEXT / "qid1"
    (folder / "q9999.npz").write_bytes(next(folder.iterdir()).read_bytes())
    with pytest.raises(DataError, match=r"qid1/q9999\.npz: text features of a qid that no annotation has \(1 such"):
        prepare(dataset, FeatureSettings(), nested, tmp_path / "store")
    assert any("no annotation has" in what for what in errors(check(dataset, nested)))


def test_other_suffixes_and_prefixes_are_noticed_in_folders(dataset: DatasetSettings, nested: Path) -> None:
    for file in sorted((nested / FEATURES / "clip_features").rglob("*.npz")):
        np.save(file.with_suffix(".npy"), np.load(file)["features"])
        file.unlink()
    move(nested, TEXT, lambda name: name.removeprefix("qid"))
    found = errors(check(dataset, nested))
    assert any("files are .npy, the setting expects .npz" in what for what in found)
    assert any("named '<qid>.npz', the setting expects 'qid<qid>.npz'" in what for what in found)


ELSEWHERE = {
    "../v": "leaves the stream's folder; write it without '..'",
    "a/../../v": "leaves the stream's folder",
    "/tmp/v": "is an absolute path",
    "a//v": "write 'a/v'",
    "./v": "write 'v'",
    "a/": "write 'a'",
    "": "names no file",
    "a\0": "names no file",
}


@pytest.mark.parametrize("name", ELSEWHERE)
def test_names_that_lead_elsewhere_have_a_fault(name: str) -> None:
    assert ELSEWHERE[name] in name_fault(name)


@pytest.mark.parametrize("name", ["v", "part1/x", "a b/ü/x.1", "..v", ".v", "part\\x", "C:x"])
def test_other_names_have_none(name: str) -> None:
    assert name_fault(name) is None


@pytest.mark.parametrize(("field", "name"), [("vid", "../v"), ("qid", "/tmp/v")])
def test_names_that_lead_elsewhere_are_refused(
    dataset: DatasetSettings, data_root: Path, tmp_path: Path, field: str, name: str
) -> None:
    file = data_root / "annotations/small/val.jsonl"
    rows = [json.loads(line) for line in file.read_text().split("\n") if line]
    rows[3][field] = name
    file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(DataError, match=rf"qid {rows[3]['qid']!r}: {field} '{name}' {ELSEWHERE[name]}"):
        prepare(dataset, FeatureSettings(), data_root, tmp_path / "store")
    report = check(dataset, data_root)
    (finding,) = [f for f in report.findings if "lead to no file" in f.what]
    assert finding.severity == "error"
    assert [place.file for place in finding.places] == ["annotations/small/val.jsonl"]
    assert repr(name) in str(finding.places[0])


def test_backslashes_are_explained(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    rename(data_root, lambda vid: f"part\\{vid}")
    with pytest.raises(DataError, match=r"missing.*holds backslashes: for files in folders write 'part/.*\.npz'"):
        prepare(dataset, FeatureSettings(), data_root, tmp_path / "store")
    report = check(dataset, data_root)
    assert any("holds backslashes" in finding.remedy for finding in report.findings)
    # Where such files exist they are meant.
    for stream in STREAMS:
        move(data_root, stream, lambda name: f"part\\{name}")
    prepare(dataset, FeatureSettings(), data_root, tmp_path / "store")


COMPANY = {
    "._qid7.npz": b"\0\5\x16\7" + bytes(60),
    "._unknown.npz": b"\0\5\x16\7" + bytes(60),
    ".DS_Store": b"\0\0\0\1Bud1",
    "Thumbs.db": b"x",
    "desktop.ini": b"x",
    ".hidden.npz": b"x",
}


def test_hidden_files_are_only_company(
    dataset: DatasetSettings, shared_root: Path, data_root: Path, tmp_path: Path
) -> None:
    for folder in (*STREAMS, TEXT):
        for name, content in COMPANY.items():
            (data_root / FEATURES / folder / name).write_bytes(content)
        (data_root / FEATURES / folder / "__MACOSX").mkdir()
    prepare(dataset, FeatureSettings(), shared_root, tmp_path / "clean")
    prepare(dataset, FeatureSettings(), data_root, tmp_path / "store")
    assert (tmp_path / "store/manifest.json").read_bytes() == (tmp_path / "clean/manifest.json").read_bytes()
    report = check(dataset, data_root)
    assert report.passed
    assert not [finding for finding in report.findings if "no annotation has" in finding.what]


def test_a_resource_fork_in_place_of_a_file_is_an_error(
    dataset: DatasetSettings, data_root: Path, tmp_path: Path
) -> None:
    file = data_root / FEATURES / TEXT / "qid7.npz"
    file.write_bytes(COMPANY["._qid7.npz"])
    with pytest.raises(DataError, match=rf"{re.escape(str(file))}: is a macOS resource fork.*delete it"):
        prepare(dataset, FeatureSettings(), data_root, tmp_path / "store")
    (finding,) = [f for f in check(dataset, data_root).findings if f.severity == "error"]
    assert "resource fork" in str(finding.places[0])
    assert "Delete it" in finding.remedy


def test_pointers_are_one_finding_with_their_own_remedy(dataset: DatasetSettings, data_root: Path) -> None:
    files = sorted((data_root / FEATURES / "clip_features").iterdir())
    for file in files[:5]:
        file.write_bytes(b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 5\n")
    files[5].write_bytes(files[5].read_bytes()[:300])
    for quick in (False, True):
        found = [f for f in check(dataset, data_root, quick=quick).findings if f.severity == "error"]
        assert sorted(len(finding.places) for finding in found) == [1, 5]
        assert {"git lfs pull" in finding.remedy: len(finding.places) for finding in found} == {True: 5, False: 1}


@pytest.mark.parametrize(
    ("put", "what"),
    [(Path.mkdir, "is a folder"), (lambda file: file.symlink_to("../.git/annex/objects/x"), "git-annex link")],
)
def test_what_lies_in_the_place_of_annotations_is_named(
    dataset: DatasetSettings, data_root: Path, put: Callable[[Path], None], what: str
) -> None:
    file = data_root / "annotations/small/val.jsonl"
    file.unlink()
    put(file)
    (finding,) = [f for f in check(dataset, data_root).findings if "annotation file of split 'val'" in f.what]
    assert what in str(finding.places[0])
