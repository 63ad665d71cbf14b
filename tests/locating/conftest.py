"""Networks of random weights that answer about videos: small ones that make features, and a small SA-DETR."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch

from sadetr.configuration import load_scale, resolve
from sadetr.experiments import RunId
from sadetr.extraction.streams import Options
from sadetr.layout import Layout
from sadetr.locating import Predictor
from sadetr.models.construction import make_method
from sadetr.provenance import config_fingerprint
from sadetr.settings import RunSettings
from sadetr.training.checkpoint import write_tensors
from tests.extraction import networks
from tests.locating.corpus import Event, write_events
from tests.samples import shaken

RUN = RunId("qvhighlights", "sa_detr", "full", 1)
SCALE = f"""
extends: paper
label: "coloured shapes and random networks: not comparable with the paper"
data: official
execution: {{device: cpu, threads: 1}}
settings:
  qvhighlights:
    dataset:
      annotations: {{train: train.jsonl, val: val.jsonl, test: test.jsonl}}
      max_video_clips: LONGEST
      saliency: window
      highlights: false
      video_streams:
        STREAMS
        - {{name: clip, directory: clip_features, width: {networks.WIDTH}}}
      text_stream: {{kind: files, width: {networks.WIDTH}}}
    training: {{epochs: 16, batch_size: 16, learning_rate: 3.0e-3, validate_every: 8, schedule: {{hold_epochs: 10}}}}
    method_training:
      sa_detr: {{epochs: 16, batch_size: 16, learning_rate: 3.0e-3, schedule: {{hold_epochs: 10}}}}
    methods:
      sa_detr:
        hidden_width: 32
        num_heads: 4
        feedforward_width: 64
        fusion_layers: 1
        global_layers: 1
        dropout: 0.0
        input_dropout: 0.0
        dn: {{groups: 2}}
        enhance: {{samples: 4}}
        loss: {{matched_quality: 10.0, align: 0.1}}
"""


SLOWFAST = "- {name: slowfast, directory: slowfast_features, width: 288}"


def write_scale(path: Path, longest: int, others: str = SLOWFAST) -> None:
    """A small SA-DETR on CLIP's stream and ``others``, for videos of ``longest`` clips of 2 s."""
    path.write_text(SCALE.replace("LONGEST", str(longest)).replace("STREAMS", others))


@pytest.fixture(autouse=True, scope="session")
def libraries() -> None:
    for library in ("av", "ftfy"):
        pytest.importorskip(library, reason=f"{library} is not installed (extra 'extract')")


@pytest.fixture(scope="session")
def weights(tmp_path_factory) -> Path:
    """Folder with the small networks' files; not to be changed."""
    folder = tmp_path_factory.mktemp("weights")
    networks.write_clip(folder / "clip.pt")
    networks.write_slowfast(folder / "slowfast.pkl")
    networks.write_vocabulary(folder / "words.txt.gz")
    return folder


def options_for(weights: Path, root: Path, **others) -> Options:
    return Options(
        root,
        clip_weights=weights / "clip.pt",
        slowfast_weights=weights / "slowfast.pkl",
        vocabulary=weights / "words.txt.gz",
        accept_others=True,
        **others,
    )


@dataclass(frozen=True)
class Studio:
    """A scale with one run of random weights, and two videos: one that fits its network, and a longer one."""

    folder: Path
    weights: Path

    @property
    def scale(self) -> Path:
        return self.folder / "own.yaml"

    @property
    def results(self) -> Path:
        return self.folder / "results"

    @property
    def cache(self) -> Path:
        return self.folder / "cache"

    @property
    def short(self) -> Path:
        return self.folder / "short.mp4"

    @property
    def long(self) -> Path:
        return self.folder / "long.mp4"

    @property
    def layout(self) -> Layout:
        return Layout(load_scale(str(self.scale)), self.results, self.folder / "data")

    @property
    def settings(self) -> RunSettings:
        return resolve(RUN.setting, RUN.method, RUN.variant, RUN.seed, str(self.scale))

    def load(self, source: str | Path = str(RUN), **others) -> Predictor:
        values = {"scale": str(self.scale), "results": self.results, "options": options_for(self.weights, self.folder)}
        return Predictor.load(source, **{**values, **others})


def make_studio(folder: Path, weights: Path, longest: int = 4, others: str = SLOWFAST) -> Studio:
    """Its scale as :func:`write_scale` makes it, and its run; no videos."""
    studio = Studio(folder, weights)
    write_scale(studio.scale, longest, others)
    torch.manual_seed(5)
    model = shaken(make_method(studio.settings))
    fingerprint = {"config_fingerprint": config_fingerprint(studio.settings)}
    write_tensors(studio.layout.run(RUN).checkpoint("best"), model.state_dict(), fingerprint)
    return studio


@pytest.fixture(scope="session")
def studio(tmp_path_factory, weights) -> Studio:
    """Not to be changed."""
    studio = make_studio(tmp_path_factory.mktemp("studio"), weights)
    rng = np.random.default_rng(1)
    write_events(studio.short, [Event("red", 2, 4)], rng, seconds=8)
    write_events(studio.long, [Event("red", 2, 6), Event("blue", 10, 14)], rng, seconds=15)
    return studio


@pytest.fixture(scope="session")
def predictor(studio) -> Predictor:
    """With a cache, for SlowFast takes its time."""
    return studio.load(cache=studio.cache)


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)
