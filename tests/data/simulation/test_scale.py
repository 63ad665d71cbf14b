"""The `simulated` scale end to end: planned, prepared and trained from annotations alone."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sadetr.configuration import load_scale, resolve, resolve_simulation
from sadetr.data.annotations import write_annotations
from sadetr.data.simulation import simulate
from sadetr.errors import SettingsError
from sadetr.layout import Layout, RunFolder
from sadetr.training.run import train
from sadetr.workflow import Workflow
from tests.data.simulation.conftest import invented_queries
from tests.samples import small_batch
from tests.training.conftest import own_torch_state

ROOT = Path(__file__).parents[3]
SCALE = """
extends: simulated
label: "simulated features: not comparable with the paper"
data: simulated
execution: {device: cpu, threads: 1}
simulation: {clutter: 1.5, streams: {clip: {zeros: 0.25}}}
settings:
  qvhighlights:
    training: {batch_size: 8, epochs: 1}
    methods:
      sa_detr: {hidden_width: 16, num_heads: 2, feedforward_width: 16, fusion_layers: 1, global_layers: 1}
"""


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """A scale of one's own and a data root that holds annotations and no features."""
    (tmp_path / "small.yaml").write_text(SCALE)
    folder = tmp_path / "data/annotations/qvhighlights"
    dataset = resolve("qvhighlights", "sa_detr", "full", 2018, str(tmp_path / "small.yaml")).dataset
    for number, file in enumerate(dataset.annotations.values()):
        write_annotations(folder / file, invented_queries(12, first=12 * number))
    return Layout(load_scale(str(tmp_path / "small.yaml")), tmp_path / "results", tmp_path / "data")


def test_difficulty_is_inherited_key_by_key(layout: Layout) -> None:
    ours = resolve_simulation("qvhighlights", layout.scale.reference)
    full = resolve_simulation("qvhighlights", "simulated")
    assert (ours.clutter, ours.noise) == (1.5, full.noise)
    assert (ours.streams["clip"].zeros, ours.streams["slowfast"]) == (0.25, full.streams["slowfast"])
    assert ours.short_features == full.short_features
    assert resolve_simulation("tacos", layout.scale.reference).short_features == []


def test_an_unknown_difficulty_is_named(layout: Layout) -> None:
    path = Path(layout.scale.reference).with_name("wrong.yaml")
    path.write_text(SCALE.replace("clutter: 1.5", "cluter: 1.5"))
    with pytest.raises(SettingsError, match=r"wrong\.yaml.*'simulation\.cluter'.*'simulation\.clutter'"):
        resolve_simulation("qvhighlights", str(path))


def test_one_epoch_trains_on_a_subset_at_real_width(layout: Layout) -> None:
    settings = resolve("qvhighlights", "sa_detr", "full", 2018, layout.scale.reference)
    simulation = resolve_simulation("qvhighlights", layout.scale.reference)
    annotations, store = layout.annotations(settings.dataset), layout.store("qvhighlights")
    simulate(settings.dataset, settings.features, simulation, annotations, store)
    folder = layout.folder / "runs/test"
    with own_torch_state():
        train(settings, store, annotations, folder)
    assert RunFolder(folder).prediction("best", "val").read_text().count("\n") == 12


def test_a_batch_of_halves_is_single_on_the_device() -> None:
    whole = small_batch()
    moved = replace(whole, video=whole.video.half(), text=whole.text.half()).to(torch.device("cpu"))
    assert {moved.video.dtype, moved.text.dtype, moved.spans.dtype} == {torch.float32}
    assert torch.equal(moved.video, whole.video.half().float())
    assert moved.video_mask.dtype == torch.bool


def test_the_difficulty_reaches_the_store_and_no_run(layout: Layout) -> None:
    reference = Path(layout.scale.reference)
    config = {"scale": str(reference), "data_root": str(layout.data_root)}
    flow = Workflow(config)
    # Features of the real kind need not be there.
    assert flow.prepare_inputs("qvhighlights") == []
    harder = reference.with_name("harder.yaml")
    harder.write_text(SCALE.replace("clutter: 1.5", "clutter: 2.5"))
    other = Workflow({**config, "scale": str(harder)})
    assert flow.fingerprints.store("qvhighlights") != other.fingerprints.store("qvhighlights")
    run = "qvhighlights/sa_detr/full/seed2018"
    assert flow.fingerprints.run(run) == other.fingerprints.run(run)


def test_table_1_is_planned_without_any_feature_file(layout: Layout, tmp_path: Path) -> None:
    config = (f"scale={layout.scale.reference}", f"data_root={layout.data_root}", f"results={tmp_path / 'results'}")
    command = [sys.executable, "-m", "snakemake", "table1", "--cores", "1", "--nocolor", "--dry-run", "--nolock"]
    done = subprocess.run([*command, "--config", *config], cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    planned = (done.stdout + done.stderr).split("Job stats:")[1]
    assert "prepare" in planned
    assert "generate" not in planned
