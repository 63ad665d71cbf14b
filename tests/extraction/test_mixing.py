"""Extracted features of one stream do not mix: with downloaded ones, or with those of other weights."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sadetr.configuration import load_scale
from sadetr.data import extracted
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError
from sadetr.extraction.command import extract
from sadetr.settings import FeatureSettings
from sadetr.verification.checks import check_data
from tests.extraction import networks
from tests.extraction.folders import CLIP, SLOWFAST, TEXT, arrays, contents, finished

pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
pytest.importorskip("regex", reason="regex is not installed (extra 'extract')")


def test_preparation_takes_the_files_and_keeps_what_made_them(whole, dataset, tmp_path):
    prepare(dataset, FeatureSettings(), whole, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    assert set(store.manifest["extracted"]) == {CLIP, SLOWFAST, TEXT}
    assert store.manifest["extracted"][CLIP]["network"].startswith("CLIP")


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
