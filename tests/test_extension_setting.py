"""A benchmark setting from outside the package counts wherever one of ours does."""

import hashlib
import json
import os
import subprocess
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[1]
FILES = {
    "own-0.1.dist-info/METADATA": "Metadata-Version: 2.1\nName: own\nVersion: 0.1\n",
    "own-0.1.dist-info/entry_points.txt": "[sadetr.extensions]\nown = own\n",
    "own/__init__.py": "",
    "own/settings/ownmoments.yaml": """
title: Own moments
clip_length: 2.0
annotations: {train: train.jsonl, val: val.jsonl}
video_streams: [{name: clip, directory: clip_features, width: 4}]
text_stream: {kind: files, directory: text, width: 4}
saliency: window
highlights: false
""",
    "own/settings/._ownmoments.yaml": "\0\5\x16\7",
    "own/scales/ownscale.yaml": "extends: paper\nlabel: own\ndata: official\n",
    "own/experiments/own.yaml": """
kind: table
layout: metrics
title: Own
split: val
metrics: ["R1@0.5", "R1@0.3"]
label_columns: [Method]
run: {setting: ownmoments, method: sa_detr, seeds: [1]}
rows:
  sa_detr: {labels: [SA-DETR], variant: full, rescored: other_val}
""",
    "own/paper/own.csv": """row,metric,value,std,split,seeds,note
sa_detr,R1@0.5,50,,val,1,
sa_detr,R1@0.3,60,,val,1,
""",
    "own/paper/tolerances.yaml": (
        "metrics: {mAP: {disagreement: 9.0}}\nqueries: {ownmoments: {val: 100}, tacos: {test: 4}}\n"
        "spreads: {ownmoments: {R1@0.3: 2.5}}\n"
    ),
}
ROW = {"query": "q", "duration": 20, "vid": "part1/v", "relevant_windows": [[0, 8]]}


class Extension:
    """A package laid out as pip leaves it, and a data root of its setting."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.data = folder, folder / "data"
        for name, text in FILES.items():
            self.write(name, text)
        for split, qid in (("train", 1), ("val", 2)):
            self.write(f"data/annotations/ownmoments/{split}.jsonl", json.dumps({"qid": qid, **ROW}))
        known = hashlib.sha256((self.data / "annotations/ownmoments/val.jsonl").read_bytes()).hexdigest()
        address = f"https://example.org/{known}/val.jsonl"
        entries = {"val.jsonl": {"bytes": 5, "sha256": known, "urls": [address]}}
        archive = {"file": "own.zip", "size": "1 MB", "pages": ["https://example.org"], "provides": {"text": "text"}}
        self.write("own/sources/ownmoments.yaml", json.dumps({"annotations": entries, "archives": [archive]}))

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def run(self, *command: str) -> subprocess.CompletedProcess:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join((str(self.folder), str(ROOT)))}
        return subprocess.run(
            [sys.executable, *command],
            cwd=self.folder,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
            timeout=300,
        )

    def sadetr(self, command: str, *options: str) -> subprocess.CompletedProcess:
        return self.run("-m", "sadetr", command, "--setting", "ownmoments", "--data-root", "data", *options)


@pytest.fixture
def extension(tmp_path: Path) -> Extension:
    return Extension(tmp_path)


def test_its_published_predictions_are_rescored_and_so_is_an_empty_folder(extension: Extension) -> None:
    (extension.data / "released_predictions/ownmoments").mkdir(parents=True)
    metrics = extension.folder / "results/ownscale/rescored/ownmoments.parquet"
    done = extension.sadetr("rescore", "--scale", "ownscale")
    assert done.returncode == 0, done.stderr
    assert pq.read_table(metrics).num_rows == 0
    prediction = {"qid": 2, "pred_relevant_windows": []}
    extension.write("data/released_predictions/ownmoments/other_val.jsonl", json.dumps(prediction))
    for name in (".DS_Store", "ownmoments/._other_val.jsonl", "ownmoments/Thumbs.db", "__MACOSX/x"):
        extension.write(f"data/released_predictions/{name}", "")
    done = extension.sadetr("rescore", "--scale", "ownscale")
    assert done.returncode == 0, done.stderr
    assert "left aside" not in done.stdout
    assert "other_val.jsonl: mAP counts 0 of 1 queries: 1 has no predicted window (first: qid 2)" in done.stderr
    assert set(pq.read_table(metrics)["method"].to_pylist()) == {"other"}


def test_the_workflow_starts_and_knows_its_files(extension: Extension) -> None:
    extension.write("data/released_predictions/ownmoments/other_val.jsonl", "")
    script = """
from sadetr.workflow import Workflow
flow = Workflow({"scale": "ownscale", "data_root": "data"})
print(*flow.rescored("own"), *flow.sources("own"), *flow.tolerances, sep="\\n")
print(flow.fingerprints.check("ownmoments"))
"""
    done = extension.run("-c", script)
    assert done.returncode == 0, done.stderr
    for name in ("rescored/ownmoments.parquet", "own/paper/own.csv", "paper/tolerances"):
        assert name in done.stdout
    assert str(extension.folder / "own/paper/tolerances.yaml") in done.stdout
    sources = extension.folder / "own/sources/ownmoments.yaml"
    sources.write_text(sources.read_text().replace("1 MB", "2 MB"))
    assert extension.run("-c", script).stdout.splitlines()[-1] != done.stdout.splitlines()[-1]


def test_a_folder_of_no_setting_lists_its_setting_among_the_known_ones(extension: Extension) -> None:
    (extension.data / "released_predictions/ownmoment").mkdir(parents=True)
    done = extension.sadetr("rescore", "--scale", "ownscale")
    assert done.returncode == 1
    assert "rename the folder to one of charades_sta, charades_sta_vgg, ownmoments, qvhighlights, tacos" in done.stderr


def test_what_it_knows_of_its_files_is_used(extension: Extension) -> None:
    done = extension.sadetr("download")
    assert (done.returncode, "own.zip (1 MB) needs a browser" in done.stdout) == (0, True), done.stderr
    val = extension.data / "annotations/ownmoments/val.jsonl"
    val.write_text(val.read_text().replace('"q"', '"r"'))
    done = extension.sadetr("check-data", "--scale", "ownscale")
    assert "annotation file is not the official one" in done.stdout
    assert "own.zip" in done.stdout
    (extension.folder / "own/sources/ownmoments.yaml").unlink()
    done = extension.sadetr("check-data", "--scale", "ownscale")
    assert "there is no sources/ownmoments.yaml" in done.stdout
    assert "sources/ownmoments.yaml would name them" in extension.sadetr("download").stderr


def test_what_it_knows_of_chance_adds_to_ours_and_changes_nothing(extension: Extension) -> None:
    script = """
from sadetr.configuration import load_scale
from sadetr.reporting.chance import load_chance
found = load_chance(load_scale("ownscale"))
print(found.spread("ownmoments", "sa_detr", "val", "R1@0.3", 60.0))
print(round(found.spread("ownmoments", "sa_detr", "val", "mAP", 40.0), 3), found.settings.queries["tacos"]["test"])
"""
    done = extension.run("-c", script)
    # 0.6 of a standard deviation of 36 over 100 queries.
    assert done.stdout.split() == ["2.5", "2.16", "4001"], done.stderr
    for text, key in (
        ("spreads: {ownmoments: {R1@0.3: -1}}", "spreads.ownmoments.R1@0.3"),
        ("rescored: 9.0", "rescored"),
    ):
        extension.write("own/paper/tolerances.yaml", text)
        done = extension.run("-c", script)
        assert f"{extension.folder}/own/paper/tolerances.yaml: " in done.stderr
        assert repr(key) in done.stderr
