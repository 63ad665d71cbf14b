"""What decides on preparing and training again is content: not where data lie, how that is spelled, or when it was."""

import json
import os
import shutil
from pathlib import Path

import numpy as np
import pytest

from .test_workflow import Checkout

pytestmark = pytest.mark.workflow
RUN = "runs/own/moment_detr/full/seed1"
SETTING = """
title: Own
clip_length: 2.0
annotations: {train: train.jsonl, val: val.jsonl}
video_streams: [{name: clip, directory: clip, width: 6}]
text_stream: {kind: files, directory: text, width: 5}
saliency: window
highlights: false
"""
EXPERIMENT = """
kind: table
layout: metrics
title: "Own data"
split: val
metrics: ["R1@0.5", mAP]
label_columns: [Method]
run: {setting: own, method: moment_detr, seeds: [1]}
rows:
  full: {labels: [Moment-DETR], variant: full, paper: none}
"""
SCALE = """
extends: paper
label: "own data"
data: official
settings:
  own:
    training: {epochs: 1, batch_size: 8}
    execution: {device: cpu, threads: 1}
    methods:
      moment_detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16}
"""
ANNOTATIONS = "annotations/own/val.jsonl"
PADDING = 1 << 20
"""Characters that make an annotation file larger than what Snakemake compares by content unless told otherwise."""


def make_data(root: Path) -> None:
    """Twelve queries about as many videos of 20 s, with features of ten clips."""
    rng = np.random.default_rng(0)
    for split, numbers in (("train", range(8)), ("val", range(8, 12))):
        rows = []
        for number in numbers:
            window = [[2.0 * (number % 5), 2.0 * (number % 5) + 6.0]]
            row = {"qid": number, "query": "somebody cooks", "vid": f"v{number}", "duration": 20.0}
            rows.append({**row, "relevant_windows": window, "comment": "x" * (PADDING // len(numbers))})
            for folder, name, key, shape in (
                ("clip", f"v{number}", "features", (10, 6)),
                ("text", f"qid{number}", "last_hidden_state", (4, 5)),
            ):
                path = root / "features/own" / folder / f"{name}.npz"
                path.parent.mkdir(parents=True, exist_ok=True)
                np.savez(path, **{key: rng.normal(size=shape).astype("float32")})
        path = root / "annotations/own" / f"{split}.jsonl"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))


class OwnData(Checkout):
    """A checkout with a setting, a table and a scale of one's own, and its data."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for experiment in (folder / "config/experiments").glob("*.yaml"):
            experiment.unlink()
        (folder / "config/settings/own.yaml").write_text(SETTING)
        (folder / "config/experiments/own.yaml").write_text(EXPERIMENT)
        (folder / "tiny.yaml").write_text(SCALE)
        # Nothing may rest on a default that users override.
        shutil.rmtree(folder / "profiles")
        make_data(folder / "DATA")

    def plan(self, root: str = "DATA", target: str = "all") -> dict[str, int]:
        return self.planned(target, config=(f"data_root={root}",))

    def run(self, root: str = "DATA", target: str = "all") -> str:
        done = self.snakemake(target, config=(f"data_root={root}",))
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def trained(self) -> int:
        """When the run was finished, in nanoseconds."""
        return (self.results / RUN / "provenance.json").stat().st_mtime_ns


EVERYTHING = {"prepare": 1, "train": 1, "evaluate": 1, "gather": 1, "table": 1, "paper": 1, "comparison": 1, "all": 1}


@pytest.fixture(scope="module")
def own(tmp_path_factory):
    """A checkout in which `all` has run on data of its own."""
    checkout = OwnData(tmp_path_factory.mktemp("own"))
    checkout.run()
    return checkout


def test_links_other_spellings_and_a_moved_folder_cost_nothing(own):
    (own.folder / "LINK").symlink_to("DATA")
    assert own.plan(f"../{own.folder.name}/LINK/") == {}
    (own.folder / "DATA").rename(own.folder / "MOVED")
    assert own.plan(str(own.folder / "MOVED")) == {}
    (own.folder / "MOVED").rename(own.folder / "DATA")


def test_a_copy_costs_one_reading(own):
    # Not with `shutil.copytree`, which keeps times.
    for file in (own.folder / "DATA").rglob("*.*"):
        copy = own.folder / "COPY" / file.relative_to(own.folder / "DATA")
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(file.read_bytes())
    dry = own.snakemake("all", dry=True, config=("data_root=COPY",))
    assert "other times or sizes than when they were prepared" in dry.stderr
    assert "Nothing to be done" in dry.stdout + dry.stderr
    dry = own.snakemake("all", dry=True, config=("data_root=COPY",))
    assert "other times" not in dry.stderr


def test_touched_files_and_folders_and_what_others_leave_there_cost_nothing(own):
    for place in (own.folder / "DATA", own.results):
        for path in [place, *place.rglob("*")]:
            if path.is_dir() and "logs" not in path.parts:
                (path / ".DS_Store").write_text("x")
                os.utime(path)
    (own.folder / "DATA/features/own/clip/another video.npz").write_bytes(b"x")
    (own.folder / "DATA/annotations/own/notes.txt").write_text("x")
    for file in (own.folder / "DATA/annotations/own").glob("*.jsonl"):
        assert file.stat().st_size > PADDING
        os.utime(file)
    for file in own.results.glob("prepared/*"):
        os.utime(file)
    assert own.plan() == {}


@pytest.mark.parametrize("name", ["features/own/clip/v3.npz", "features/own/text/qid9.npz", ANNOTATIONS])
def test_a_file_overwritten_in_place_is_noticed(own, name):
    file = own.folder / "DATA" / name
    content, times = file.read_bytes(), [(path, path.stat()) for path in (file, file.parent)]
    file.write_bytes(content[:-200] + content[-200:].swapcase())
    for path, status in times:
        os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert own.plan() == EVERYTHING
    file.write_bytes(content)


def test_what_was_restored_is_the_same_again(own):
    assert own.plan() == {}


@pytest.mark.parametrize("dry", [True, False])
def test_a_file_that_is_missing_since_is_one_message_and_the_store_stays(own, dry):
    file, aside = own.folder / "DATA/features/own/clip/v3.npz", own.folder / "aside"
    file.rename(aside)
    message = own.refusal("all", dry=dry, config=("data_root=DATA",))
    assert message.startswith("error: DATA/features/own/clip/v3.npz: is missing, and the feature store was made from")
    aside.rename(file)
    assert (own.results / "features/own/manifest.json").exists()


def test_a_deleted_store_and_another_preparation_of_the_same_bits_train_nothing(own):
    before, weights = own.trained, (own.results / RUN / "checkpoints/last.safetensors").read_bytes()
    own.edit("sadetr/data/preparation.py", "LONG_VIDEO = 40", "LONG_VIDEO = 39 + 1")
    assert own.plan()["prepare"] == 1
    own.edit("sadetr/data/preparation.py", "LONG_VIDEO = 39 + 1", "LONG_VIDEO = 40")
    shutil.rmtree(own.results / "features")
    assert own.plan()["prepare"] == 1
    own.edit("sadetr/data/preparation.py", "LONG_VIDEO = 40", "LONG_VIDEO = 39 + 1")
    assert "checkpoint prepare:" in own.run("LINK")
    assert (own.results / "features/own/manifest.json").exists()
    assert own.trained == before
    assert (own.results / RUN / "checkpoints/last.safetensors").read_bytes() == weights
    assert own.plan() == {}


def test_other_features_are_prepared_and_trained_on(own):
    before, file = own.trained, own.folder / "DATA/features/own/clip/v3.npz"
    prepared = (own.results / "prepared/own.json").read_text()
    np.savez(file, features=np.ones((10, 6), dtype="float32"))
    metrics = f"results/tiny/{RUN}/metrics.parquet"
    own.run(target=metrics)
    assert own.trained > before
    assert (own.results / "prepared/own.json").read_text() != prepared
    assert own.plan(target=metrics) == {}


def test_by_hand_a_run_is_complete_as_long_as_its_data_are_the_same(own):
    def train(root: str) -> str:
        options = ("--run", RUN.removeprefix("runs/"), "--scale", "tiny.yaml", "--data-root", root)
        done = own.sadetr("train", *options)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "already trained" in train("LINK")
    file = own.folder / "DATA/annotations/own/train.jsonl"
    content = file.read_text()
    file.write_text(content.replace("[[2.0,", "[[1.0,"))
    assert "already trained" not in train("DATA")
    file.write_text(content)
