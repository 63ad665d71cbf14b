"""``--config features=extract videos=DIR``: features are made before they are prepared, once."""

import hashlib
import re
import shutil
from pathlib import Path

import pytest

from sadetr.errors import SettingsError
from sadetr.extraction.published import CLIP, SLOWFAST, VOCABULARY
from sadetr.workflow import Workflow
from tests.extraction.conftest import SCALE, write_annotations
from tests.test_workflow import Checkout
from tests.test_workflow_start import planned, start

pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
pytestmark = pytest.mark.workflow

CONFIG = ("scale=own.yaml", "data_root=data", "features=extract", "videos=videos")
FOLDERS = {"slowfast": "slowfast_features", "clip": "clip_features", "text": "clip_text_features"}
STORE = "results/own/prepared/qvhighlights.json"


@pytest.fixture(scope="module")
def checkout(tmp_path_factory, material) -> Checkout:
    """A checkout with videos and annotations and without features, in which small networks are the published ones."""
    checkout = Checkout(tmp_path_factory.mktemp("checkout"))
    shutil.copytree(material / "videos", checkout.folder / "videos")
    write_annotations(checkout.folder / "data" / "annotations" / "qvhighlights")
    downloads = checkout.folder / "data" / "downloads"
    downloads.mkdir()
    sums = {}
    for published, name in ((CLIP, "clip.pt"), (SLOWFAST, "slowfast.pkl"), (VOCABULARY, "words.txt.gz")):
        shutil.copy(material / "weights" / name, downloads / published.file)
        sums[published.sha256] = hashlib.sha256((downloads / published.file).read_bytes()).hexdigest()
    module = checkout.folder / "sadetr/extraction/published.py"
    text = module.read_text()
    for old, new in sums.items():
        text = text if old is None else re.sub(old, new, text)
    module.write_text(text)
    (checkout.folder / "own.yaml").write_text(SCALE)
    return checkout


def test_every_stream_is_a_job_with_one_gpu(checkout):
    text = SCALE.replace("execution: {device: cpu}", "execution: {device: auto}")
    (checkout.folder / "gpu.yaml").write_text(text)
    words = ("-n", STORE.replace("own", "gpu"), "--config", "scale=gpu.yaml", *CONFIG[1:])
    jobs = planned(start(checkout, *words).stdout)
    assert [job["gpu"] for job in jobs["extract"]] == ["1", "1", "1"]
    assert [job["gpu"] for job in jobs["prepare"]] == ["0"]
    jobs = planned(start(checkout, *words, "gpu_partition=a100").stdout)
    assert {job["slurm_partition"] for job in jobs["extract"]} == {"a100"}


def test_features_are_made_and_prepared_once(checkout):
    done = start(checkout, "--cores", "2", STORE, "--config", *CONFIG, check=False)
    logs = "".join(path.read_text() for path in (checkout.folder / "results/own/logs").rglob("*.log"))
    assert done.returncode == 0, done.stderr + logs
    folder = checkout.folder / "data/features/qvhighlights"
    for stream, directory in (
        ("slowfast", "slowfast_features"),
        ("clip", "clip_features"),
        ("text", "clip_text_features"),
    ):
        record = checkout.folder / "results/own/extracted/qvhighlights" / f"{stream}.json"
        assert record.read_bytes() == (folder / directory / "extraction.json").read_bytes()
        assert len(list((folder / directory).rglob("*.npz"))) == 4
    again = start(checkout, "-n", STORE, "--config", *CONFIG)
    assert "Nothing to be done" in again.stdout + again.stderr
    # Once they are there, they are features like any others.
    without = start(checkout, STORE, "-n", "--rerun-triggers", "mtime", "--config", *CONFIG[:2])
    assert "Nothing to be done" in without.stdout + without.stderr
    # What was extracted and prepared and is missing now is refused; where the record is gone too, it is made again.
    (folder / "clip_features" / "a.npz").unlink()
    refused = start(checkout, "-n", STORE, "--config", *CONFIG, check=False)
    assert refused.returncode == 1
    assert "clip_features/a.npz: is missing" in refused.stderr
    (checkout.folder / "results/own/extracted/qvhighlights/clip.json").unlink()
    assert start(checkout, "--cores", "2", STORE, "--config", *CONFIG).returncode == 0
    assert (folder / "clip_features" / "a.npz").exists()


@pytest.mark.parametrize(
    ("config", "message"),
    [
        ({"features": "extract"}, "features=extract and videos=DIR belong together"),
        ({"videos": "videos"}, "belong together"),
        ({"features": "download", "videos": "videos"}, "belong together"),
        ({"features": "extract", "videos": "nowhere"}, "videos=nowhere: there is no such folder"),
    ],
)
def test_options_that_do_not_fit_are_refused(config, message, tmp_path):
    with pytest.raises(SettingsError, match=message):
        Workflow({"scale": "paper", "data_root": str(tmp_path), **config})
    with pytest.raises(SettingsError, match=r"scale 'mini' has generated features|belong together|no such folder"):
        Workflow({"features": "extract", "videos": str(Path(tmp_path))})
