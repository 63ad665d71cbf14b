"""A generated corpus small enough to train on in a second, prepared once per test process."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch

from sadetr.configuration import load_scale, resolve, resolve_corpus
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.corpus import generate
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.layout import Layout, RunFolder
from sadetr.settings import RunSettings
from sadetr.training.run import train

SCALE = """
extends: mini
label: "generated data: not comparable with the paper"
data: generated
corpus: {train_queries: 48, val_queries: 12, test_queries: 8, clips: 16, short_video_fraction: 0.4}
execution: {device: cpu, threads: 1}
settings:
  qvhighlights:
    dataset: {max_video_clips: 16}
    # The last batch is smaller, and dropout draws from its stream.
    training: {batch_size: 20, epochs: 3, schedule: {hold_epochs: 1}}
    methods:
      sa_detr: {hidden_width: 32, num_heads: 4, feedforward_width: 48, dropout: 0.1, input_dropout: 0.2}
"""


@contextmanager
def own_torch_state() -> Iterator[None]:
    """What a training fixes for its process must not reach the tests that follow."""
    threads = torch.get_num_threads()
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(False)
        torch.set_flush_denormal(False)
        torch.set_num_threads(threads)


@dataclass(frozen=True)
class Workspace:
    """A scale file of one's own with its data generated and prepared."""

    layout: Layout
    scale: Path

    def settings(self, seed: int = 2018, variant: str = "full", **training: Any) -> RunSettings:
        """Settings of a run; ``training`` replaces those of its training."""
        settings = resolve("qvhighlights", "sa_detr", variant, seed, str(self.scale))
        return settings.model_copy(update={"training": settings.training.model_copy(update=training)})

    def train(self, folder: Path, settings: RunSettings | None = None) -> RunFolder:
        """Train in this process."""
        settings = settings or self.settings()
        annotations = self.layout.annotations(settings.dataset)
        with own_torch_state():
            train(settings, self.layout.store("qvhighlights"), annotations, folder)
        return RunFolder(folder)

    def split(self, name: str) -> Split:
        """Queries and features of a split."""
        settings = self.settings()
        queries = read_annotations(self.layout.annotations(settings.dataset)[name], settings.dataset.annotation_rules)
        return Split(queries, FeatureStore.open(self.layout.store("qvhighlights")), settings.dataset)


def provenance(run: RunFolder) -> dict[str, Any]:
    """What a finished run says of itself."""
    return json.loads(run.provenance.read_text())


def digests(run: RunFolder) -> dict[str, str]:
    """SHA-256 of the weights per checkpoint."""
    return provenance(run)["weights_sha256"]


@pytest.fixture(scope="session")
def workspace(tmp_path_factory: pytest.TempPathFactory) -> Workspace:
    folder = tmp_path_factory.mktemp("training")
    scale = folder / "tiny.yaml"
    scale.write_text(SCALE)
    layout = Layout(load_scale(str(scale)), folder / "results")
    settings = resolve("qvhighlights", "sa_detr", "full", 2018, str(scale))
    generate(settings.dataset, resolve_corpus("qvhighlights", str(scale)), layout.data_root)
    prepare(settings.dataset, settings.features, layout.data_root, layout.store("qvhighlights"))
    return Workspace(layout, scale)


@pytest.fixture(scope="session")
def finished(workspace: Workspace, tmp_path_factory: pytest.TempPathFactory) -> RunFolder:
    """An uninterrupted training of the default settings; not to be changed."""
    return workspace.train(tmp_path_factory.mktemp("finished") / "run")
