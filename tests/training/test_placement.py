"""Where features lie is chosen by their size, is said, and changes no bit of a training."""

import re
from types import SimpleNamespace

import psutil
import pytest
import torch

from sadetr.configuration import resolve
from sadetr.data.feeding import Mapped, Pinned
from sadetr.data.residency import Resident, resident_bytes
from sadetr.data.store import FeatureStore
from sadetr.errors import SettingsError
from sadetr.models.construction import make_method
from sadetr.randomness import Streams
from sadetr.settings import ExecutionSettings
from sadetr.training import placement
from sadetr.training.checkpoint import TrainingState, digest
from sadetr.training.devices import MIB, Claim
from sadetr.training.loop import Trainer
from sadetr.training.placement import Placement, choose, other_splits
from tests.training.conftest import digests, own_torch_state, provenance
from tests.training.test_feeding import LateLink
from tests.training.test_training import Interrupted, assert_same_run, interrupt

PROCESSOR = Claim(torch.device("cpu"))


def gpu(features_mib: float) -> Claim:
    """A claimed GPU with so much room for features; nothing is computed on it."""
    return Claim(torch.device("cuda", 0), 0, 1, features_mib)


@pytest.fixture
def placed(workspace):
    """How the features of both splits are placed, as ``execution.features`` asks for it."""
    store = FeatureStore.open(workspace.layout.store("qvhighlights"))
    splits = [workspace.split("train"), workspace.split("val")]
    return lambda requested: Placement(requested, store, splits, 20)


@pytest.mark.parametrize(
    ("room", "mode"), [(100.0, "resident"), (99.99, "pinned"), (0.0, "pinned"), (-8000.0, "pinned")]
)
def test_what_fits_is_resident_on_a_gpu(room, mode):
    assert choose("auto", 100.0, gpu(room)) == mode
    if mode == "resident":
        assert choose("resident", 100.0, gpu(room)) == "resident"
    else:
        message = rf"'resident', .* take 100 MiB, and {max(room, 0):,.0f} are free for them beside"
        with pytest.raises(SettingsError, match=message + r".*'auto', 'pinned' or 'mapped', or lower runs_per_gpu"):
            choose("resident", 100.0, gpu(room))


@pytest.mark.parametrize("mode", ["pinned", "mapped"])
def test_what_is_asked_for_is_done_whatever_the_size(placed, mode):
    assert choose(mode, 100.0, gpu(1e6)) == choose(mode, 100.0, gpu(0.0)) == mode
    # No memory of the GPU is set aside for them.
    assert placed(mode).resident_mib == 0


def test_a_processor_has_the_memory_map_unless_it_is_told_otherwise(monkeypatch):
    assert choose("auto", 1.0, PROCESSOR) == "mapped"
    assert choose("mapped", 1e12, PROCESSOR) == "mapped"
    monkeypatch.setattr(psutil, "virtual_memory", lambda: SimpleNamespace(available=50 * MIB))
    assert choose("resident", 50.0, PROCESSOR) == "resident"
    with pytest.raises(SettingsError, match=r"take 51 MiB, and 50 are free for them; set it to 'auto' or 'mapped'"):
        choose("resident", 51.0, PROCESSOR)
    with pytest.raises(SettingsError, match=r"is 'pinned', .* computes on the CPU; set it to 'auto' or 'mapped'"):
        choose("pinned", 1.0, PROCESSOR)


def test_the_size_is_that_of_all_splits_together(placed):
    found = placed("auto")
    alone = [Placement("auto", found.store, [split], 20).resident_mib for split in found.splits]
    assert found.resident_mib == resident_bytes(found.store, [split.rows for split in found.splits]) / MIB
    assert max(alone) < found.resident_mib < sum(alone)


def test_the_feeder_is_said(placed, monkeypatch, capsys):
    monkeypatch.setattr(placement, "Link", lambda device: LateLink())
    monkeypatch.setattr(Resident, "load", lambda store, rows, device: device)
    assert isinstance(placed("auto").feeder(PROCESSOR), Mapped)
    assert isinstance(placed("auto").feeder(gpu(0)), Pinned)
    assert placed("auto").feeder(gpu(1000)) == torch.device("cuda", 0)
    said = capsys.readouterr().out.splitlines()
    assert [re.sub(r"[\d.]+ MiB", "n MiB", line) for line in said] == [
        "features: gathered from the memory map",
        "features: gathered in pinned memory and copied while steps are computed",
        "features: n MiB on the device, where batches are gathered",
    ]


def test_without_pinned_memory_there_is_the_memory_map(placed, monkeypatch, capsys):
    class Refused(LateLink):
        def memory(self, size):
            raise RuntimeError("CUDA error: out of memory")

    monkeypatch.setattr(placement, "Link", lambda device: Refused())
    assert isinstance(placed("auto").feeder(gpu(0)), Mapped)
    assert "memory map, since the system gives no pinned memory (CUDA error: out of memory)" in capsys.readouterr().out
    with pytest.raises(SettingsError, match=r"is 'pinned', but .*out of memory.*set it to 'auto' or 'mapped'"):
        placed("pinned").feeder(gpu(0))


def test_only_splits_that_a_training_reads_are_placed():
    settings = resolve("qvhighlights", "sa_detr", "full", 2018, "paper")
    dataset = settings.dataset.model_copy(update={"report_splits": ["val"]})
    assert "test" in dataset.annotations
    unreported = settings.model_copy(update={"dataset": dataset})
    assert (other_splits(settings), other_splits(unreported)) == (["val", "test"], ["val"])
    schedule = settings.training.schedule.model_copy(update={"shape": "plateau", "watched_split": "train"})
    training = settings.training.model_copy(update={"schedule": schedule})
    assert other_splits(unreported.model_copy(update={"training": training})) == ["train", "val"]


def with_features(settings, mode):
    return settings.model_copy(update={"execution": ExecutionSettings(device="cpu", threads=1, features=mode)})


def test_a_resident_training_has_the_same_bits(workspace, finished, tmp_path, monkeypatch):
    """Also where it continues one that had its features elsewhere."""
    settings = workspace.settings()
    resident = with_features(settings, "resident")
    run = workspace.train(tmp_path / "run", resident)
    assert_same_run(run, finished)
    assert (provenance(finished)["features_mode"], provenance(run)["features_mode"]) == ("mapped", "resident")
    with monkeypatch.context() as patch:
        interrupt(patch, Trainer, "_step", 5)
        with pytest.raises(Interrupted):
            workspace.train(tmp_path / "other", settings)
    other = workspace.train(tmp_path / "other", resident)
    assert digests(other) == digests(finished)
    # And is no other run.
    before = other.provenance.read_bytes()
    workspace.train(tmp_path / "other", with_features(settings, "auto"))
    assert other.provenance.read_bytes() == before


def test_where_features_lie_is_no_part_of_a_runs_identity(workspace):
    settings = workspace.settings()
    assert with_features(settings, "resident").identity() == settings.identity()


class PromptLink(LateLink):
    """Whose copies are there when they are received, as they are for whatever the GPU computes behind that."""

    def receive(self, sent, copied):
        copied.synchronize()
        return sent


@pytest.mark.parametrize("method", ["sa_detr", "vslnet"])
def test_a_training_from_pinned_memory_has_the_same_bits(workspace, method):
    settings = resolve("qvhighlights", method, "full", 2018, str(workspace.scale))
    store = FeatureStore.open(workspace.layout.store("qvhighlights"))
    splits = {name: workspace.split(name) for name in ("train", "val", "test")}
    found = []
    for feeder in (Mapped(store), Pinned(store, 1, PromptLink())):
        fed = {name: split.fed_by(feeder) for name, split in splits.items()}
        with own_torch_state():
            Streams(settings.seed).seed_global("initialisation", 0)
            trainer = Trainer(make_method(settings), settings, fed["train"], fed, TrainingState(""))
            states = trainer.epochs()
            next(states)
            rows = next(states).history
            states.close()
        found.append((digest(trainer.state.weights), [row["loss"] for row in rows]))
    assert found[0] == found[1]
