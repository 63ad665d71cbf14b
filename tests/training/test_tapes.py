"""Tapes do what was noted, with the bits of plain steps; what they cannot repeat is refused."""

import itertools
from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from sadetr.models.interface import Batch, Method, Output, Step
from sadetr.training import tapes
from sadetr.training.arena import ALIGNMENT, Lifetime, placed
from sadetr.training.graphs import RecordedStep
from sadetr.training.recorders import make_step
from sadetr.training.steps import PlainStep
from sadetr.training.tapes import Tapes
from sadetr.training_settings import TrainingSettings
from tests.samples import small_batch, small_method

TRAINING = TrainingSettings(learning_rate=1e-2)
BATCH = small_batch()


def lifetimes(seed: int) -> list[Lifetime]:
    """Three hundred pieces that come and go."""
    draws = torch.Generator().manual_seed(seed)
    sizes, firsts, spans = (torch.randint(1, most, (300,), generator=draws).tolist() for most in (5000, 400, 60))
    return [Lifetime(size, first, first + span) for size, first, span in zip(sizes, firsts, spans, strict=True)]


@pytest.mark.parametrize("seed", range(5))
def test_what_is_needed_at_the_same_time_is_apart(seed):
    pieces = lifetimes(seed)
    offsets, total = placed(pieces)
    held = [(start, start + piece.size, piece) for start, piece in zip(offsets, pieces, strict=True)]
    for (begin, end, one), (start, stop, other) in itertools.combinations(held, 2):
        at_once = one.first <= other.last and other.first <= one.last
        assert not at_once or end <= start or stop <= begin
    assert all(start % ALIGNMENT == 0 for start in offsets)
    assert max(end for _, end, _ in held) <= total
    # Far less than all of them, and little more than what is there at the busiest time.
    busiest = max(sum(piece.size for piece in pieces if piece.first <= time <= piece.last) for time in range(460))
    assert busiest <= total < 1.5 * busiest + 300 * ALIGNMENT


def test_nothing_needs_nothing():
    assert placed([]) == ([], 0)


class Small(Method):
    """One number per sample, made by ``body`` of a weight and the features' mean."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(3))
        self.register_buffer("seen", torch.zeros(()))

    def forward(self, batch: Batch, step: Step | None = None) -> Output:
        values = self.body(batch.video.mean((1, 2)))
        return Output(values.view(-1, 1, 1).expand(-1, 1, 2), values.view(-1, 1), batch.saliency)

    def body(self, values: Tensor) -> Tensor:
        return values * self.weight.sum()

    def objective(self, output: Output, batch: Batch) -> dict[str, Tensor]:
        return {"scores": output.scores.square().sum()}


def steps(model: Method, count: int = 14) -> tuple[list[Tensor], RecordedStep]:
    """What taped steps leave for the history, on numbers that are new in every step."""
    torch.manual_seed(0)
    updates = make_step(model, TRAINING, "taped")
    step = Step(0, 1, torch.Generator())
    batches = [replace(BATCH, video=BATCH.video * (1 + number / 8)) for number in range(count)]
    return [updates(batch, step).values.clone() for batch in batches], updates


def plain_steps(model: Method, count: int = 14) -> list[Tensor]:
    """The same the plain way."""
    torch.manual_seed(0)
    updates, step = PlainStep(model, TRAINING), Step(0, 1, torch.Generator())
    batches = [replace(BATCH, video=BATCH.video * (1 + number / 8)) for number in range(count)]
    return [updates(batch, step).values.clone() for batch in batches]


def assert_taped(kind: type[Small]) -> None:
    """Its steps are taped, and give what plain ones give, bit for bit."""
    expected, (found, updates) = plain_steps(model := kind()), steps(other := kind())
    assert updates.counts == {"plain": Tapes.warming, "taped": 14 - Tapes.warming}
    assert all(map(torch.equal, found, expected))
    assert all(map(torch.equal, other.state_dict().values(), model.state_dict().values()))


def test_constants_are_made_once_and_what_is_written_to_is_none():
    class Filled(Small):
        def body(self, values: Tensor) -> Tensor:
            ones = torch.ones(3).mul(torch.arange(3))
            rising = torch.zeros(3)
            rising[1:] += values[0].detach()
            return values * (self.weight * ones * rising).sum()

    assert_taped(Filled)
    tape = tapes.Tape()
    with tape:
        torch.arange(3) * 2
        torch.zeros(3).add_(1)
        torch.rand(2)
    calls, constant = tapes.varying(tape.calls)
    assert [tapes.name_of(call.operator) for call in calls] == ["zeros", "add_", "rand"]
    assert len(constant) == 2


def test_memory_from_outside_is_written_once_per_step():
    class Counting(Small):
        def body(self, values: Tensor) -> Tensor:
            self.seen += values.detach().sum()
            return values * self.weight.sum() * self.seen

    assert_taped(Counting)


def test_draws_are_new_in_every_step():
    class Drawing(Small):
        def body(self, values: Tensor) -> Tensor:
            return values * nn.functional.dropout(self.weight, 0.5).sum() + torch.rand(1)

    assert_taped(Drawing)


def test_views_that_are_copies_at_times_and_dimensions_that_are_turned_in_place():
    class Turning(Small):
        def body(self, values: Tensor) -> Tensor:
            table = values.view(-1, 1) * self.weight
            with torch.inference_mode():
                # No view there, as the numbers lie the other way round.
                shares = table.detach().T.reshape(-1).to(torch.float64).float()
            turned = table + shares.view(3, -1).T
            turned.transpose_(0, 1)
            return turned.sum(0)

    assert_taped(Turning)


@pytest.mark.parametrize("left_out", ["arena", "constants", "writing forms"])
def test_nothing_but_memory_and_time_depends_on_how_a_tape_is_kept(left_out, monkeypatch):
    """The same steps with memory of its own for each tensor, with all calls, and with copies of their results."""
    expected, _ = steps(small_method("qd_detr"))
    if left_out == "arena":

        def apart(pieces: list[Lifetime]) -> tuple[list[int], int]:
            ends = list(itertools.accumulate(piece.size + -piece.size % ALIGNMENT for piece in pieces))
            return [0, *ends[:-1]], ends[-1]

        monkeypatch.setattr(tapes, "placed", apart)
    elif left_out == "constants":

        def all_but_empty(calls: list[tapes.Call]) -> tuple[list[tapes.Call], set[int]]:
            return [call for call in calls if tapes.name_of(call.operator) not in tapes.EMPTY], set()

        monkeypatch.setattr(tapes, "varying", all_but_empty)
    else:
        monkeypatch.setattr(tapes, "writing_form", lambda operator: None)
    found, updates = steps(small_method("qd_detr"))
    assert updates.counts["taped"]
    assert all(map(torch.equal, found, expected))


def refused(model: Method, capsys: pytest.CaptureFixture[str]) -> str:
    """What is said of its steps, which go the plain way, with the same numbers."""
    expected = plain_steps(type(model)())
    found, updates = steps(model)
    assert updates.counts == {"plain": 14}
    assert all(map(torch.equal, found, expected))
    (line,) = capsys.readouterr().out.splitlines()
    return line


class Reading(Small):
    """Python decides by a number."""

    def body(self, values: Tensor) -> Tensor:
        return values * self.weight.sum() if values[0].item() < 1 else values + self.weight.sum()


class Choosing(Small):
    """How many numbers there are depends on numbers."""

    def body(self, values: Tensor) -> Tensor:
        return values * self.weight.sum() + values[values > values.detach().median()].sum()


class Large(Small):
    """Much memory."""

    def body(self, values: Tensor) -> Tensor:
        return values * self.weight.sum() + self.weight.expand(1000, 3).mul(2).mean()


@pytest.mark.parametrize(("model", "operator"), [(Reading, "_local_scalar_dense"), (Choosing, "index")])
def test_a_step_that_reads_numbers_is_refused(capsys, model, operator):
    line = refused(model(), capsys)
    assert line.startswith("warning: a step cannot be taped")
    assert f"aten.{operator}" in line


def test_a_large_step_goes_the_plain_way(monkeypatch, capsys):
    monkeypatch.setattr(tapes, "LARGEST", 8000)
    line = refused(Large(), capsys)
    assert line.startswith("steps go the plain way")
    assert "MiB" in line


def test_a_recording_leaves_everything_as_it_was():
    model = small_method("sa_detr")
    plain = PlainStep(model, TRAINING, recorded=True)
    step = model.prepared(BATCH, Step(0, 1, torch.Generator()))
    plain.take(BATCH, step)
    states = [value for state in plain.optimiser.state.values() for value in state.values()]
    held = [*model.state_dict().values(), *states]
    before, random = [value.clone() for value in held], torch.get_rng_state()
    Tapes().record(plain, BATCH, step)
    assert all(map(torch.equal, held, before))
    assert torch.equal(torch.get_rng_state(), random)


def test_what_does_something_else_when_it_is_repeated_is_refused(monkeypatch, capsys):
    """One of its operators is put wrong."""
    repeatable = tapes.repeatable

    def wrong(call: tapes.Call, move) -> object:
        again = repeatable(call, move)
        return (lambda: None) if tapes.name_of(call.operator) == "sum" else again

    monkeypatch.setattr(tapes, "repeatable", wrong)
    assert "give other numbers" in refused(Small(), capsys)
