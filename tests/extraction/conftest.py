"""A small benchmark setting with videos, sentences, and networks of random weights to make its features with."""

import json
from fractions import Fraction
from pathlib import Path

import pytest

from sadetr.extraction.command import extract
from sadetr.extraction.streams import Options
from sadetr.settings import DatasetSettings, TokenFiles, VideoStream
from tests.extraction import networks
from tests.extraction.videos import write_video

SENTENCES = ("The cat and the thing", "a cat thing, and the cat &amp; the king", "CAT!", "the")
FRAMES = {"a": 190, "part/b": 150, "c": 151, "d": 200}
"""Video -> frames of 30 per second."""
SPLITS = {"train": ("a", "part/b"), "val": ("c",), "test": ("d",)}


SCALE = f"""
extends: paper
label: "features of random networks: not comparable with the paper"
data: official
execution: {{device: cpu}}
settings:
  qvhighlights:
    dataset:
      annotations: {{train: train.jsonl, val: val.jsonl, test: test.jsonl}}
      saliency: window
      highlights: false
      video_streams:
        - {{name: slowfast, directory: slowfast_features, width: 288}}
        - {{name: clip, directory: clip_features, width: {networks.WIDTH}}}
      text_stream: {{kind: files, width: {networks.WIDTH}}}
"""
"""The small setting in place of QVHighlights."""


@pytest.fixture(scope="session")
def dataset() -> DatasetSettings:
    return DatasetSettings(
        name="small",
        title="Small",
        clip_length=2.0,
        max_text_tokens=32,
        annotations={split: f"{split}.jsonl" for split in SPLITS},
        video_streams=[
            VideoStream(name="slowfast", directory="slowfast_features", width=288),
            VideoStream(name="clip", directory="clip_features", width=networks.WIDTH),
        ],
        text_stream=TokenFiles(width=networks.WIDTH),
        saliency="window",
        highlights=False,
    )


def write_annotations(folder: Path) -> None:
    folder.mkdir(parents=True)
    qid = 0
    for split, vids in SPLITS.items():
        rows = []
        for vid in vids:
            query = SENTENCES[qid % len(SENTENCES)]
            duration = FRAMES[vid] // 30
            rows.append({"qid": qid, "query": query, "vid": vid, "duration": duration, "relevant_windows": [[0, 2]]})
            qid += 1
        (folder / f"{split}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))


@pytest.fixture(scope="session")
def material(tmp_path_factory) -> Path:
    """Folder with ``videos/`` and ``weights/``; not to be changed."""
    folder = tmp_path_factory.mktemp("material")
    for vid, frames in FRAMES.items():
        path = folder / "videos" / f"{vid}.mp4"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_video(path, frames, Fraction(30))
    (folder / "weights").mkdir()
    networks.write_clip(folder / "weights" / "clip.pt")
    networks.write_slowfast(folder / "weights" / "slowfast.pkl")
    networks.write_vocabulary(folder / "weights" / "words.txt.gz")
    return folder


@pytest.fixture
def data_root(tmp_path) -> Path:
    write_annotations(tmp_path / "data" / "annotations" / "small")
    return tmp_path / "data"


@pytest.fixture
def options(material, data_root) -> Options:
    return options_for(material, data_root)


def options_for(material: Path, root: Path, **others) -> Options:
    weights = material / "weights"
    values = {
        "videos": material / "videos",
        "clip_weights": weights / "clip.pt",
        "slowfast_weights": weights / "slowfast.pkl",
        "vocabulary": weights / "words.txt.gz",
        "accept_others": True,
    }
    return Options(root, **{**values, **others})


@pytest.fixture(scope="session")
def whole(material, dataset, tmp_path_factory) -> Path:
    """A data root with all features, made in one go; not to be changed."""
    pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
    root = tmp_path_factory.mktemp("whole") / "data"
    write_annotations(root / "annotations" / "small")
    extract(dataset, [], options_for(material, root), 2)
    return root
