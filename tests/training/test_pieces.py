"""Schedule, random streams, devices and checkpoints, each by itself."""

import contextlib
import threading
from itertools import pairwise

import filelock
import numpy as np
import pytest
import safetensors.torch
import torch
from pydantic import ValidationError
from safetensors import SafetensorError
from torch import nn

from sadetr.errors import ResultsError, SettingsError
from sadetr.randomness import Streams
from sadetr.training import devices
from sadetr.training.checkpoint import (
    Chosen,
    TrainingState,
    digest,
    optimiser_tensors,
    read_tensors,
    restore_optimiser,
    snapshot,
    write_tensors,
)
from sadetr.training.devices import Share, claimed, claimed_device, device_name
from sadetr.training.optimiser import make_optimiser
from sadetr.training.schedule import learning_rate
from sadetr.training_settings import ScheduleSettings, TrainingSettings
from tests.samples import SHARED


def rates(shape, hold=4, epochs=12):
    schedule = ScheduleSettings(shape=shape, hold_epochs=hold, step_factor=0.1)
    settings = TrainingSettings(epochs=epochs, learning_rate=8.0, schedule=schedule)
    return [learning_rate(settings, epoch) for epoch in range(epochs + 1)]


def test_linear_schedule_holds_and_falls_to_zero_at_the_end():
    assert rates("linear") == pytest.approx([8, 8, 8, 8, 8, 7, 6, 5, 4, 3, 2, 1, 0])


def test_cosine_schedule_falls_along_half_a_cosine():
    values = rates("cosine")
    assert values[:5] == [8] * 5
    assert values[8] == pytest.approx(4)
    assert values[12] == pytest.approx(0)
    assert values[6] + values[10] == pytest.approx(8)
    assert all(later < earlier for earlier, later in pairwise(values[4:]))


def test_step_and_constant_schedules():
    assert rates("step") == pytest.approx([8] * 4 + [0.8] * 9)
    assert rates("constant") == [8] * 13


def test_the_papers_schedule():
    values = [learning_rate(TrainingSettings(), epoch) for epoch in range(200)]
    assert values[:40] == [1e-4] * 40
    assert values[120] == pytest.approx(5e-5)
    assert values[199] == pytest.approx(1e-4 / 160)


def scheduled(epochs, rate=1e-4, steps=None, **schedule):
    """Rates of all epochs, or of all steps of all epochs."""
    settings = TrainingSettings(epochs=epochs, learning_rate=rate, schedule=ScheduleSettings(**schedule))
    if steps is None:
        return [learning_rate(settings, epoch) for epoch in range(epochs)]
    return [learning_rate(settings, epoch, step, steps) for epoch in range(epochs) for step in range(steps)]


def torchs(scheduler, count, rate=1e-4, **options):
    """Rates that one of PyTorch's schedulers gives, called ``count`` times."""
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=rate)
    schedule, rates = scheduler(optimiser, **options), []
    for _ in range(count):
        rates.append(optimiser.param_groups[0]["lr"])
        optimiser.step()
        schedule.step()
    return rates


def test_milestones_multiply_after_each():
    values = scheduled(200, shape="milestones", milestones=[80, 160])
    assert values == pytest.approx(torchs(torch.optim.lr_scheduler.MultiStepLR, 200, milestones=[80, 160]))
    # BAM-DETR's form of it.
    assert values == pytest.approx(torchs(torch.optim.lr_scheduler.StepLR, 200, step_size=80))
    assert scheduled(200, shape="milestones", milestones=[100]) == scheduled(200, shape="step", hold_epochs=100)


def test_univtgs_warm_up_reaches_the_rate_in_its_tenth_epoch():
    values = scheduled(200, shape="milestones", milestones=[80, 160], warmup_epochs=10)
    assert values[:10] == pytest.approx([1e-5 * (epoch + 1) for epoch in range(10)])
    assert values[9:] == scheduled(200, shape="milestones", milestones=[80, 160])[9:]


def test_vslnets_rate_falls_with_every_step():
    """Source: ``get_linear_schedule_with_warmup`` of transformers, S steps in all: 1 - s / S in step s."""
    values = scheduled(100, steps=7, shape="linear", hold_epochs=0, unit="step")
    assert values == pytest.approx([1e-4 * (700 - step) / 700 for step in range(700)])
    options = {"start_factor": 1.0, "end_factor": 0.0, "total_iters": 700}
    assert values == pytest.approx(torchs(torch.optim.lr_scheduler.LinearLR, 700, **options))


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("patience", [0, 2])
def test_a_plateau_multiplies_as_torchs(better, patience):
    """Handed the negative loss, as 2D-TAN's authors do, PyTorch's waits for it to rise."""
    losses = np.random.default_rng(3).uniform(0.9, 1.1, 60).cumprod().tolist()
    losses[20:24] = [losses[20] * share for share in (1, 1 - 5e-5, 1 + 5e-5, 1)]
    optimiser = torch.optim.SGD([nn.Parameter(torch.zeros(1))], lr=8.0)
    theirs = torch.optim.lr_scheduler.ReduceLROnPlateau(optimiser, factor=0.8, patience=patience)
    schedule = ScheduleSettings(shape="plateau", step_factor=0.8, patience=patience, better=better)
    settings, rates = TrainingSettings(epochs=60, learning_rate=8.0, schedule=schedule), []
    for epoch, loss in enumerate(losses):
        rates.append(learning_rate(settings, epoch, watched=losses[:epoch]))
        assert rates[-1] == pytest.approx(optimiser.param_groups[0]["lr"])
        theirs.step(loss if better == "lower" else -loss)
    assert rates[0] == 8.0
    assert 1 < len(set(rates)) < 60


def test_steps_fill_the_epochs():
    """Whatever the shape: at an epoch's first step the rate is the epoch's, but for the warm-up, which is finer."""
    for shape in ("linear", "cosine", "step", "milestones", "constant"):
        options = {"shape": shape, "hold_epochs": 4, "milestones": [3, 9]}
        assert scheduled(12, steps=5, unit="step", **options)[::5] == pytest.approx(scheduled(12, **options))
        # By epochs, the step within the epoch does not matter.
        assert scheduled(12, steps=5, **options)[4::5] == scheduled(12, **options)
    rising = scheduled(12, rate=8.0, steps=5, shape="constant", warmup_epochs=2, unit="step")
    assert rising[:11] == pytest.approx([*(0.8 * (step + 1) for step in range(10)), 8.0])


def test_a_hold_that_outlasts_the_training():
    schedule = ScheduleSettings(hold_epochs=40)
    assert learning_rate(TrainingSettings(epochs=5, learning_rate=8.0, schedule=schedule), 4) == 8


def test_streams_are_functions_of_seed_consumer_and_epoch():
    draws = {
        (seed, consumer, epoch): tuple(Streams(seed).numpy(consumer, epoch).random(3))
        for seed in (0, 1, 2018)
        for consumer in ("order", "windows", "dropout")
        for epoch in (0, 1, 50)
    }
    assert len(set(draws.values())) == len(draws)
    for (seed, consumer, epoch), values in draws.items():
        assert tuple(Streams(seed).numpy(consumer, epoch).random(3)) == values


def test_torch_streams_are_private_and_reproducible():
    streams = Streams(3)
    torch.manual_seed(0)
    state = torch.get_rng_state()
    first = torch.rand(4, generator=streams.torch("method", 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(torch.rand(4, generator=streams.torch("method", 2)), first)
    assert not torch.equal(torch.rand(4, generator=streams.torch("method", 3)), first)
    streams.seed_global("dropout", 1)
    value = torch.rand(4)
    torch.manual_seed(0)
    streams.seed_global("dropout", 1)
    assert torch.equal(torch.rand(4), value)


def test_huge_seeds_are_seeds():
    assert np.isfinite(Streams(2**70).torch("a", 0).initial_seed())


def test_without_a_gpu_the_cpu_is_claimed_and_auto_says_so(monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for requested in ("auto", "cpu"):
        with claimed_device(requested) as device:
            assert device == torch.device("cpu")
            assert device_name(device).startswith("cpu (")
        said = capsys.readouterr().out
        assert ("computing on the CPU" in said) == (requested == "auto")
    with pytest.raises(SettingsError, match=r"execution\.device is 'cuda', but"), claimed_device("cuda"):
        pass


def test_auto_is_an_error_without_the_gpu_that_the_job_was_given(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    remedy = r"was given a GPU, but .*build without CUDA.*set execution\.device to 'cpu'"
    with pytest.raises(SettingsError, match=remedy), claimed("auto", allotted=1):
        pass
    monkeypatch.setattr(torch.version, "cuda", "12.6")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    hint = r"built for CUDA 12\.6, CUDA_VISIBLE_DEVICES is ''"
    with pytest.raises(SettingsError, match=hint), claimed("auto", allotted=1):
        pass
    with claimed("cpu", allotted=1) as claim:
        assert claim.device == torch.device("cpu")


@pytest.fixture
def two_gpus(monkeypatch):
    """A machine that claims to have two GPUs; only their claiming is exercised."""

    class Properties:
        def __init__(self, index):
            self.uuid = f"GPU-{index}"

    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 2)
    monkeypatch.setattr(torch.cuda, "get_device_properties", Properties)
    monkeypatch.setattr(torch.cuda, "set_device", lambda index: None)
    monkeypatch.setattr(devices, "POLL_SECONDS", 0.02)


def test_every_training_claims_a_gpu_of_its_own(two_gpus, tmp_path, capsys):
    waited = []

    def third():
        with claimed_device("cuda", tmp_path) as device:
            waited.append(device.index)

    with claimed_device("auto", tmp_path) as first:
        with claimed_device("auto", tmp_path) as second:
            assert {first.index, second.index} == {0, 1}
            thread = threading.Thread(target=third)
            thread.start()
            thread.join(0.2)
            assert thread.is_alive()
            assert not waited
        # The second GPU is free again.
        thread.join(10)
        assert waited == [second.index]
    assert "waiting" in capsys.readouterr().out


def test_a_failed_training_frees_its_gpu(two_gpus, tmp_path):
    with pytest.raises(RuntimeError, match="broken"), claimed_device("auto", tmp_path):
        raise RuntimeError("broken")
    for lock in tmp_path.glob("*.lock"):
        with filelock.FileLock(lock).acquire(timeout=0):
            pass


def test_a_folder_that_takes_no_locks_is_one_error(two_gpus, tmp_path):
    (tmp_path / "a").write_text("in the way")
    with pytest.raises(ResultsError, match="locks: cannot be written"), claimed("cuda", tmp_path / "a" / "locks"):
        pass


@pytest.fixture
def memory(two_gpus, monkeypatch):
    """Free MiB of these GPUs, of which trainings take what they need."""
    free = {0: 1000, 1: 1000}
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda index: (free[index] * 2**20, 1000 * 2**20))

    def occupy(index, size):
        free[index] -= size // 2**20

    monkeypatch.setattr(devices, "occupy", occupy)
    return free


def test_slots_are_spread_over_the_gpus(two_gpus, tmp_path, capsys):
    share, waited = Share(runs=2), []

    def fifth():
        with claimed("cuda", tmp_path, share=share) as claim:
            waited.append(claim.slot)

    with contextlib.ExitStack() as stack:
        claims = [stack.enter_context(claimed("cuda", tmp_path, share=share)) for _ in range(4)]
        assert [(claim.device.index, claim.slot) for claim in claims] == [(0, 0), (1, 0), (0, 1), (1, 1)]
        assert {claim.runs_per_gpu for claim in claims} == {2}
        thread = threading.Thread(target=fifth)
        thread.start()
        thread.join(0.2)
        assert thread.is_alive()
    thread.join(10)
    assert len(waited) == 1
    assert "neither recorded nor stated: not checked" in capsys.readouterr().out


def test_memory_is_checked_before_a_run_starts(memory, tmp_path):
    share = Share(runs=3, need_mib=400)
    with contextlib.ExitStack() as stack:
        for _ in range(4):
            stack.enter_context(claimed("cuda", tmp_path, share=share))
        assert memory == {0: 200, 1: 200}
        wanted = r"GPU 0 has 200 of 1,000 MiB free, and this training needs 400; lower runs_per_gpu"
        with pytest.raises(SettingsError, match=wanted), claimed("cuda", tmp_path, share=share):
            pass
        # Its slot is free again for one that needs less.
        with claimed("cuda", tmp_path, share=Share(runs=3, need_mib=100)) as claim:
            assert (claim.device.index, claim.slot) == (0, 2)


def test_a_stated_need_is_checked_on_a_whole_gpu_too(memory, tmp_path):
    with claimed("cuda", tmp_path, share=Share(need_mib=900)):
        # Nobody else comes: nothing is set aside.
        assert memory[0] == 1000
    with pytest.raises(SettingsError, match="needs 2,000"), claimed("cuda", tmp_path, share=Share(need_mib=2000)):
        pass


@pytest.mark.parametrize(("features", "kept"), [(100, 100), (100.1, 0)])
def test_features_take_what_a_slot_has_beside_its_need(memory, tmp_path, features, kept):
    """Two runs share 1,000 MiB: each may take 500, whoever comes first."""
    share = Share(runs=2, need_mib=400, features_mib=features)
    with contextlib.ExitStack() as stack:
        for number in range(4):
            claim = stack.enter_context(claimed("cuda", tmp_path, share=share))
            assert claim.features_mib == 100
            assert memory[number % 2] == 1000 - (number // 2 + 1) * (400 + kept)


def test_features_leave_a_reserve_where_no_need_is_known(memory, tmp_path):
    with claimed("cuda", tmp_path, share=Share(features_mib=300, reserve_mib=700)) as claim:
        assert claim.features_mib == 300
        # Nobody else comes: nothing is set aside.
        assert memory[0] == 1000
    memory[0] = 800
    with claimed("cuda", tmp_path, share=Share(features_mib=300, reserve_mib=700)) as claim:
        assert claim.features_mib == 100
    with claimed("cuda", tmp_path, share=Share(runs=2, features_mib=10, reserve_mib=700)) as claim:
        assert claim.features_mib == 500 - 700
        assert memory[0] == 800


def test_a_processor_has_no_slots():
    with claimed("cpu", share=Share(runs=4, need_mib=10**9)) as claim:
        assert (claim.device.type, claim.slot, claim.runs_per_gpu) == ("cpu", None, None)


def network():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.PReLU(), nn.Linear(4, 2))
    model.register_parameter("unused", nn.Parameter(torch.zeros(2)))
    return model


def optimise(model, optimiser, steps):
    for step in range(steps):
        torch.manual_seed(step)
        optimiser.zero_grad()
        model(torch.randn(5, 3)).square().sum().backward()
        optimiser.step()


def adamw(model):
    return make_optimiser(model, TrainingSettings(learning_rate=0.01, weight_decay=0.1))


def adam(model):
    return make_optimiser(model, TrainingSettings(learning_rate=0.01, optimiser="adam", weight_decay=0.0))


def adamw_on_matrices(model):
    return make_optimiser(model, TrainingSettings(learning_rate=0.01, weight_decay=0.1, decayed="matrices"))


def test_without_settings_everything_decays_as_ever():
    ours, theirs = network(), network()
    optimise(ours, adamw(ours), 3)
    optimise(theirs, torch.optim.AdamW(theirs.parameters(), lr=0.01, weight_decay=0.1, fused=True), 3)
    assert digest(snapshot(ours)) == digest(snapshot(theirs))


def test_adam_is_adamw_without_decay():
    first, second = network(), network()
    optimise(first, adam(first), 3)
    optimise(second, make_optimiser(second, TrainingSettings(learning_rate=0.01, weight_decay=0.0)), 3)
    assert isinstance(adam(first), torch.optim.Adam)
    for name, value in snapshot(first).items():
        torch.testing.assert_close(value, snapshot(second)[name])
    with pytest.raises(ValidationError, match="set weight_decay to 0"):
        TrainingSettings(optimiser="adam")


def test_norms_and_biases_are_left_out_of_the_decay():
    """Without gradients decay alone moves anything: by the rate times the decay, and only matrices."""
    model = nn.Sequential(nn.Linear(3, 4), nn.LayerNorm(4), nn.PReLU(), nn.Conv1d(4, 2, 3), nn.GRU(2, 2))
    optimiser = adamw_on_matrices(model)
    grouped = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    assert set(grouped) == set(model.parameters())
    assert len(grouped) == len(set(grouped))
    before = snapshot(model)
    for parameter in model.parameters():
        parameter.grad = torch.zeros_like(parameter)
    optimiser.step()
    for name, value in snapshot(model).items():
        factor = 1 - 0.01 * 0.1 if value.ndim > 1 else 1.0
        torch.testing.assert_close(value, factor * before[name], rtol=1e-6, atol=0)
        assert ("bias" in name or name.startswith(("1.", "2."))) == (value.ndim < 2)


def test_vslnets_names_leave_out_what_dimensions_do():
    """Source: VSLNet's ``build_optimizer_and_scheduler``. MH-DETR goes by dimensions itself, as timm does."""
    path = SHARED / "parity" / "vslnet" / "case_a.safetensors"
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder that holds parity/")
    weights, _ = read_tensors(path)
    ours = {name.removeprefix("weight."): value for name, value in weights.items() if name.startswith("weight.")}
    assert len(ours) == 75
    for name, value in ours.items():
        assert (value.ndim < 2) == any(part in name for part in ("bias", "layer_norm", "LayerNorm")), name


@pytest.mark.parametrize("make", [adamw, adam, adamw_on_matrices])
def test_a_restored_optimiser_goes_on_with_the_same_bits(tmp_path, make):
    model = network()
    optimiser = make(model)
    optimise(model, optimiser, 3)
    saved, weights = optimiser_tensors(optimiser, model), snapshot(model)
    optimise(model, optimiser, 2)

    path = tmp_path / "state.safetensors"
    TrainingState("x", weights=weights, optimiser=saved).save(path)
    state = TrainingState.load(path)
    again = network()
    again.load_state_dict(state.weights)
    restored = make(again)
    restore_optimiser(restored, again, state.optimiser)
    optimise(again, restored, 2)
    assert digest(snapshot(again)) == digest(snapshot(model))
    # A parameter that never had a gradient has no state.
    assert not any(name.startswith("unused") for name in saved)
    fresh = network()
    fresh.load_state_dict(weights)
    optimise(fresh, make(fresh), 2)
    assert digest(snapshot(fresh)) != digest(snapshot(model))


def test_a_snapshot_is_a_copy():
    model = network()
    before = snapshot(model)
    optimise(model, adamw(model), 1)
    assert digest(before) != digest(snapshot(model))


def test_training_state_round_trip(tmp_path):
    state = TrainingState(
        "code | settings",
        epoch=3,
        seconds=1.25,
        history=[{"epoch": 1, "loss": 1 / 3, "val/mAP": None}, {"epoch": 2, "loss": 1e-300}],
        weights={"a.b": torch.randn(2, 3), "c": torch.randn(4)},
        optimiser={"a.b/step": torch.tensor(3.0), "a.b/exp_avg": torch.randn(3, 2).T},
        chosen={
            "best": Chosen(2, 0.1 + 0.2, {"a.b": torch.randn(2, 3)}),
            "clean": Chosen(1, 1 / 3, {"a.b": torch.randn(2, 3)}),
        },
    )
    path = tmp_path / "state.safetensors"
    state.save(path)
    loaded = TrainingState.load(path)
    for name in ("fingerprint", "epoch", "seconds", "history"):
        assert getattr(loaded, name) == getattr(state, name)
    assert loaded.chosen.keys() == state.chosen.keys()
    pairs = [(loaded.weights, state.weights), (loaded.optimiser, state.optimiser)]
    for name, chosen in state.chosen.items():
        assert (loaded.chosen[name].epoch, loaded.chosen[name].value) == (chosen.epoch, chosen.value)
        pairs.append((loaded.chosen[name].weights, chosen.weights))
    for ours, expected in pairs:
        assert ours.keys() == expected.keys()
        assert all(torch.equal(ours[key], expected[key]) for key in ours)
    assert list(tmp_path.iterdir()) == [path]
    # Equal states are equal files.
    content = path.read_bytes()
    state.save(path)
    assert path.read_bytes() == content


def test_weights_that_checkpoints_share_are_written_once(tmp_path):
    weights, older = {"a.b": torch.randn(50, 40)}, {"a.b": torch.randn(50, 40)}
    chosen = {"best": Chosen(3, 0.5, weights), "clean": Chosen(2, 0.25, older), "third": Chosen(2, 0.25, older)}
    path = tmp_path / "state.safetensors"
    TrainingState("x", epoch=3, weights=weights, chosen=chosen).save(path)
    assert 2 * 8000 < path.stat().st_size < 3 * 8000
    loaded = TrainingState.load(path)
    assert loaded.chosen["best"].weights is loaded.weights
    assert loaded.chosen["third"].weights is loaded.chosen["clean"].weights
    assert digest(loaded.weights) == digest(weights)
    assert digest(loaded.chosen["clean"].weights) == digest(older)


def test_a_checkpoint_is_a_file_like_any_other(tmp_path, monkeypatch):
    (tmp_path / "plain").touch()
    path = tmp_path / "last.safetensors"
    tensors = {"a": torch.randn(3, 2).T, "b": torch.tensor(3.0)}
    write_tensors(path, tensors, {"epoch": "1"})
    assert path.stat().st_mode == (tmp_path / "plain").stat().st_mode
    assert all(torch.equal(value, tensors[name]) for name, value in read_tensors(path)[0].items())
    before = path.read_bytes()

    def full(content, name, metadata):
        name.write_bytes(b"half")
        raise SafetensorError("I/O error: No space left on device (os error 28)")

    monkeypatch.setattr(safetensors.torch, "save_file", full)
    with pytest.raises(ResultsError, match=r"last\.safetensors: cannot be written .*No space left.*half-written"):
        write_tensors(path, {"a": torch.zeros(1)}, {})
    assert path.read_bytes() == before
    assert sorted(each.name for each in tmp_path.iterdir()) == ["last.safetensors", "plain"]


def test_digests_tell_bits_apart():
    weights = {"a": torch.tensor([1.0, 0.0]), "b": torch.tensor([2.0])}
    assert digest(weights) == digest(dict(reversed(weights.items())))
    assert digest(weights) != digest({**weights, "a": torch.tensor([1.0, -0.0])})
    assert digest(weights) != digest({"b": weights["a"], "a": weights["b"]})


@pytest.mark.parametrize("content", [b"", b"no safetensors at all", b"\x10\x00\x00\x00\x00\x00\x00\x00{}"])
def test_broken_checkpoints_are_named(tmp_path, content):
    path = tmp_path / "best.safetensors"
    path.write_bytes(content)
    with pytest.raises(ResultsError, match=r"best\.safetensors"):
        read_tensors(path)
    with pytest.raises(ResultsError, match=r"best\.safetensors"):
        TrainingState.load(path)


def test_missing_and_foreign_checkpoints_are_named(tmp_path):
    with pytest.raises(ResultsError, match="gone"):
        read_tensors(tmp_path / "gone.safetensors")
    write_tensors(tmp_path / "last.safetensors", {"a": torch.zeros(1)}, {"epoch": "1"})
    with pytest.raises(ResultsError, match="not a training state"):
        TrainingState.load(tmp_path / "last.safetensors")
