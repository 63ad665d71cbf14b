"""Steps that are recorded and repeated give the numbers of plain ones, and what cannot be recorded goes their way.

Tapes, which are made at the second step here, stand in for graphs on the CPU; the last tests are for a machine with a
GPU.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from sadetr.errors import SettingsError
from sadetr.layering import named_files
from sadetr.layout import RunFolder
from sadetr.models.interface import Batch, Method, Output, Step
from sadetr.randomness import Streams
from sadetr.training import loop, recorders
from sadetr.training import run as run_module
from sadetr.training.devices import Claim, Share
from sadetr.training.graphs import Buffers, ObservedStep, RecordedStep, Replay, shapes_of
from sadetr.training.loop import Trainer
from sadetr.training.optimiser import set_rate
from sadetr.training.recorders import Compiler, CudaGraphs, make_step, way_of
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.steps import PlainStep, TakesSteps
from sadetr.training.tapes import Tapes
from sadetr.training_settings import PaddingSettings, TrainingSettings
from tests.samples import small_batch, small_method
from tests.training.conftest import Workspace, own_torch_state, provenance
from tests.training.test_contract import Counting
from tests.training.test_training import Interrupted, assert_same_run, interrupt

pytestmark = pytest.mark.long
STEPS, EPOCHS = 50, 5
TRAINING = TrainingSettings(learning_rate=1e-3)
SHAPES = (small_batch(), small_batch((9, 6, 4), (4, 3, 1)), small_batch((8, 6), (5, 3), (2, 1)))


class Graphs(Tapes):
    """Tapes that are taken for graphs."""

    kind, warming = "captured", 1

    def __init__(self, most: int = 64) -> None:
        super().__init__()
        self.most = most


def taken(updates: TakesSteps, model: Method, steps: int = STEPS) -> list[Tensor]:
    """What every step leaves for the history; ten an epoch, of three shapes of batches and never the same numbers."""
    found, device = [], next(model.parameters()).device
    for number in range(steps):
        epoch, batch = number // 10, SHAPES[number % 7 % 3]
        if number % 10 == 0:
            Streams(1).seed_global("dropout", epoch)
        set_rate(updates.optimiser, 1e-3 / (1 + number))
        batch = replace(batch, video=batch.video * (1 + 0.02 * number), text=batch.text * (2 - 0.02 * number))
        batch = batch.to(device)
        step = Step(epoch, EPOCHS, Streams(1).torch("method", number))
        found.append(updates(batch, model.prepared(batch, step)).values.clone())
    return found


def weights(model: nn.Module) -> Tensor:
    """All in one row."""
    return torch.cat([parameter.detach().flatten() for parameter in model.parameters()])


def late(method: str) -> Method:
    """The method; what changes while it trains changes after two epochs."""
    model = small_method(method)
    if hasattr(model.settings, "least_similar_from"):
        model.settings = model.settings.model_copy(update={"least_similar_from": 2})
    return model


@pytest.mark.parametrize("method", named_files("methods"))
def test_recorded_steps_are_those_of_the_plain_way(method):
    """Bit for bit, dropout and the rate of every step included; more of methods that draw, or change with time."""
    steps = 28 if method in ("sa_detr", "uvcom") else 14
    plain_model, model = late(method), late(method)
    expected = taken(PlainStep(plain_model, TRAINING, recorded=True), plain_model, steps)
    updates = RecordedStep(PlainStep(model, TRAINING, recorded=True), Graphs())
    found = taken(updates, model, steps)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(found, expected, strict=True))
    assert torch.equal(weights(model), weights(plain_model))
    # Each shape once, and once more where the method has changed.
    plain = 6 if method == "uvcom" else 3
    assert updates.counts == {"plain": plain, "captured": steps - plain}
    assert updates.graphs == 3


def test_a_rate_that_is_read_anew_is_the_rate():
    """On a processor it has all digits."""
    first, second = small_method("qd_detr"), small_method("qd_detr")
    expected = taken(PlainStep(first, TRAINING), first, 10)
    assert all(map(torch.equal, taken(PlainStep(second, TRAINING, recorded=True), second, 10), expected))


@pytest.mark.filterwarnings("ignore::FutureWarning", "ignore::DeprecationWarning", "ignore::UserWarning")
@torch._inductor.config.patch(compile_threads=1)
def test_compiled_steps_are_those_of_the_plain_way_to_rounding():
    first, second = small_method("moment_detr"), small_method("moment_detr")
    expected = taken(PlainStep(first, TRAINING), first, 12)
    updates = RecordedStep(PlainStep(second, TRAINING), OnlyOnce(Compiler()))
    found = taken(updates, second, 12)
    if not updates.graphs:
        pytest.skip("torch.compile finds no C++ compiler")
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(weights(second), weights(first), rtol=1e-3, atol=1e-4)
    assert updates.counts["compiled"] > 2


class OnlyOnce:
    """A recorder that keeps one recording: compiling takes long."""

    most = warming = 1

    def __init__(self, recorder: Compiler) -> None:
        self.kind, self.running, self.record = recorder.kind, recorder.running, recorder.record


def test_further_shapes_go_the_plain_way():
    first, second = small_method("qd_detr"), small_method("qd_detr")
    expected = taken(PlainStep(first, TRAINING, recorded=True), first, 14)
    updates = RecordedStep(PlainStep(second, TRAINING, recorded=True), Graphs(most=2))
    assert all(map(torch.equal, taken(updates, second, 14), expected))
    assert updates.graphs == 2
    assert updates.counts == {"plain": 6, "captured": 8}


class Failing(Graphs):
    """Fails where a graph would: at the second recording."""

    def __init__(self) -> None:
        super().__init__()
        self._made = 0

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """Record, once."""
        replay = super().record(plain, batch, step)
        self._made += 1
        if self._made == 2:
            raise RuntimeError("operation not permitted when stream is capturing\nand more")
        return replay


def test_what_cannot_be_recorded_goes_the_plain_way(capsys):
    first, second = small_method("qd_detr"), small_method("qd_detr")
    expected = taken(PlainStep(first, TRAINING, recorded=True), first, 20)
    updates = RecordedStep(PlainStep(second, TRAINING, recorded=True), Failing())
    assert all(map(torch.equal, taken(updates, second, 20), expected))
    assert updates.graphs == 1
    assert 0 < updates.counts["captured"] < updates.counts["plain"]
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("warning: a step cannot be captured")
    assert "RuntimeError: operation not permitted when stream is capturing" in line


class Drawing(Method):
    """Draws where it should not."""

    def __init__(self) -> None:
        super().__init__()
        self.offset = nn.Parameter(torch.zeros(()))

    def forward(self, batch: Batch, step: Step | None = None) -> Output:
        spans = torch.rand(len(batch), 1, 2, generator=step.generator) + self.offset
        return Output(spans, spans[..., 0], batch.saliency)

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"spans": output.spans.sum()}


def test_a_method_that_draws_in_forward_is_not_recorded(capsys):
    model = Drawing()
    updates = RecordedStep(PlainStep(model, TRAINING, recorded=True), Graphs())
    assert len(set(map(float, taken(updates, model, 9)))) == 9
    assert updates.counts == {"plain": 9}
    assert "step.generator" in capsys.readouterr().out


def test_a_method_that_reads_the_epoch_is_recorded_anew_in_every_epoch():
    model = Counting()
    updates = RecordedStep(PlainStep(model, TRAINING, recorded=True), Graphs())
    found = taken(updates, model)
    assert [int(values[0]) for values in found] == [number // 10 for number in range(STEPS)]
    assert [len(values) for values in found] == [1 if number < 30 else 2 for number in range(STEPS)]
    # Those of epochs that are over are not kept.
    assert updates.graphs == 3
    assert updates.counts == {"plain": 15, "captured": 35}


def test_a_diagnosis_is_a_plain_step():
    model = small_method("qd_detr")
    updates = RecordedStep(PlainStep(model, TRAINING, recorded=True), Graphs())
    step, diagnosis = Step(0, 5, torch.Generator()), {}
    for _ in range(3):
        updates(SHAPES[0], step)
    updates(SHAPES[0], step, diagnosis)
    assert updates.counts == {"plain": 2, "captured": 2}
    assert {"gradient/total", "spread/batch"} < diagnosis.keys()


def test_what_is_read_of_a_step_is_known():
    step = ObservedStep(3, 12, torch.Generator(), torch.ones(2))
    assert step.drawn.sum() == 2
    assert not step.asked
    assert step.progress == 0.25
    assert step.asked == {"epoch", "epochs"}
    assert replace(Step(3, 12, step.generator)).epoch == 3
    assert "generator" in step.asked


def test_buffers_stay_and_are_shared():
    buffers = Buffers()
    small, large = torch.arange(6.0).view(2, 3), torch.arange(20.0).view(4, 5)
    first = buffers.like("video", small)
    assert torch.equal(first, small)
    grown = buffers.like("video", large)
    again = buffers.like("video", small + 1)
    # Nothing that was handed out has moved; whatever fits shares memory.
    assert torch.equal(first, small)
    assert again.untyped_storage().data_ptr() == grown.untyped_storage().data_ptr()
    assert torch.equal(again, small + 1)
    assert buffers.like("text", small).untyped_storage().data_ptr() != again.untyped_storage().data_ptr()
    assert buffers.like("video", small.long()).dtype == torch.int64
    assert buffers.like("drawn", None) is None


def test_shapes_and_types_tell_steps_apart():
    step = Step(0, 1, torch.Generator())
    keys = [shapes_of(batch, step) for batch in SHAPES]
    keys += [shapes_of(SHAPES[0], replace(step, drawn=torch.ones(count))) for count in (2, 3)]
    keys.append(shapes_of(replace(SHAPES[0], video=SHAPES[0].video.double()), step))
    assert len(set(keys)) == len(keys)
    assert shapes_of(replace(SHAPES[0], video=SHAPES[0].video + 1), Step(7, 9, torch.Generator())) == keys[0]


Way = Callable[[PlainStep], TakesSteps]


@pytest.fixture(scope="module")
def trained(workspace: Workspace, tmp_path_factory) -> Callable[..., RunFolder]:
    """A training of eighteen steps whose rates are on the device, in a folder of its own or the one that is given."""
    # Short texts are padded, so that shapes come back.
    settings = workspace.settings(epochs=6, padding=PaddingSettings(clips=8, tokens=16))

    def train(folder: Path | None = None, way: Way = lambda plain: plain) -> RunFolder:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(loop, "make_step", lambda model, training, _: way(PlainStep(model, training, recorded=True)))
            return workspace.train(folder or tmp_path_factory.mktemp("trained") / "run", settings)

    return train


@pytest.fixture(scope="module")
def expected(trained) -> RunFolder:
    """The plain one; not to be changed."""
    return trained()


def taped(plain: PlainStep) -> RecordedStep:
    """Steps on tapes."""
    return RecordedStep(plain, Graphs())


def test_a_recorded_training_ends_as_a_plain_one_and_says_so(trained, expected):
    run = trained(way=taped)
    assert_same_run(run, expected)
    said = provenance(run)["step"]
    assert said["way"] == "captured"
    assert said["steps"].keys() == {"plain", "captured"}
    assert sum(said["steps"].values()) == 18
    assert 0 < said["graphs"] <= said["steps"]["plain"] < said["steps"]["captured"]
    assert provenance(expected)["step"] == {"way": "plain", "graphs": 0, "steps": {"plain": 18}}


def test_a_recorded_training_that_is_killed_ends_the_same(trained, expected, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        interrupt(patch, Trainer, "_step", 11)
        with pytest.raises(Interrupted):
            trained(tmp_path / "run", taped)
    run = trained(tmp_path / "run", taped)
    assert_same_run(run, expected)
    assert sum(provenance(run)["step"]["steps"].values()) == 18


def test_steps_are_made_the_way_that_is_asked_for():
    model = small_method("qd_detr")
    assert isinstance(make_step(model, TRAINING, "plain"), PlainStep)
    for way in ("taped", "compiled"):
        recorded = make_step(model, TRAINING, way)
        assert (type(recorded), recorded.kind) == (RecordedStep, way)


def test_which_way_there_is_depends_on_the_device():
    processor = Claim(torch.device("cpu"))
    alone, shared = (Claim(torch.device("cuda", 0), 0, runs) for runs in (1, 4))
    assert [way_of("auto", claim) for claim in (processor, alone, shared)] == ["taped", "captured", "plain"]
    for requested in ("plain", "compiled"):
        assert {way_of(requested, claim) for claim in (processor, alone, shared)} == {requested}
    # Whoever names it has it, and states the memory that it takes.
    assert way_of("captured", shared) == way_of("captured", alone) == "captured"
    assert way_of("taped", processor) == "taped"
    for requested, claim, needed in (("captured", processor, "a GPU"), ("taped", alone, "the CPU")):
        with pytest.raises(SettingsError, match=rf"execution.step is '{requested}', which needs {needed}.*'plain'"):
            way_of(requested, claim)


@pytest.mark.parametrize(("runs", "way"), [(1, "captured"), (2, "plain")])
def test_a_training_on_a_shared_gpu_captures_nothing(workspace, tmp_path, monkeypatch, runs, way):
    """A stand-in for a GPU is claimed, and tapes stand in for graphs."""

    @contextmanager
    def claimed(requested: str, allotted: int, share: Share) -> Iterator[Claim]:
        assert share.runs == runs
        yield Claim(torch.device("cpu"), 0, share.runs)

    def on_gpu(requested: str, claim: Claim) -> str:
        return way_of(requested, Claim(torch.device("cuda", 0), claim.slot, claim.runs_per_gpu))

    monkeypatch.setattr(run_module, "claimed", claimed)
    monkeypatch.setattr(run_module, "way_of", on_gpu)
    monkeypatch.setattr(recorders, "CudaGraphs", lambda device: Graphs())
    settings, run = workspace.settings(epochs=1), RunFolder(tmp_path / "run")
    annotations = workspace.layout.annotations(settings.dataset)
    with own_torch_state():
        run_module.train(settings, workspace.layout.store("qvhighlights"), annotations, run.path, share=Share(runs))
    said = provenance(run)
    assert (said["step"]["way"], said["runs_per_gpu"]) == (way, runs)


def test_what_cannot_be_captured_is_said_before_features_are_brought(workspace, tmp_path, capsys):
    execution = workspace.settings().execution.model_copy(update={"step": "captured"})
    settings = workspace.settings().model_copy(update={"execution": execution})
    with pytest.raises(SettingsError, match=r"execution.step is 'captured', which needs a GPU"):
        workspace.train(tmp_path / "run", settings)
    assert capsys.readouterr().out == ""


gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU to capture graphs on")


@gpu
@pytest.mark.parametrize("method", named_files("methods"))
def test_captured_steps_are_those_of_the_plain_way_on_a_gpu(method):
    first, second = late(method).cuda(), late(method).cuda()
    updates = make_step(second, TRAINING, "captured")
    with own_torch_state():
        make_deterministic(1)
        expected = taken(make_step(first, TRAINING, "plain"), first)
        found = taken(updates, second)
    for ours, theirs in zip(found, expected, strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-4, atol=1e-5)
    assert updates.graphs == 3


@gpu
def test_dropout_goes_on_behind_a_capture_that_failed(capsys):
    """A generator that waits for the end of a capture would refuse to draw."""

    class Waiting(CudaGraphs):
        def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
            plain.model.register_forward_hook(lambda *_: torch.cuda.synchronize())
            return super().record(plain, batch, step)

    model = small_method("qd_detr").cuda()
    plain = PlainStep(model, TRAINING, recorded=True)
    updates = RecordedStep(plain, Waiting(plain.device))
    assert all(values.isfinite().all() for values in taken(updates, model, 12))
    assert updates.counts == {"plain": 12}
    assert "cannot be captured" in capsys.readouterr().out
