"""Steps in other precisions, and batches that are padded further: what they change and what they leave."""

from dataclasses import dataclass, field, fields, replace
from typing import NamedTuple, get_args

import pytest
import torch
from torch import Tensor

from sadetr.configuration import load_method, resolve
from sadetr.layering import named_files
from sadetr.models.interface import Batch, Length, Method, Output, Step
from sadetr.training.padding import PADDED, Padding
from sadetr.training.precision import in_single
from sadetr.training.steps import PlainStep
from sadetr.training_settings import PaddingSettings, TrainingSettings
from tests.samples import padded, small_batch, small_method

METHODS = named_files("methods")
VARIANTS = [
    (method, variant)
    for method in METHODS
    for variant in load_method(method).variants
    if not variant.startswith(("reading_", "groups_"))
]
LATE = (900, 1000)


def step(seed: int = 0) -> Step:
    """So late that a method which changes while it trains has changed."""
    return Step(*LATE, torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("method", METHODS)
def test_mixed_precision_is_near_and_leaves_weights_and_losses_single(method):
    batch, found = small_batch(), {}
    for precision in ("float32", "bf16"):
        model = small_method(method, dropout=False)
        updates = PlainStep(model, TrainingSettings(precision=precision))
        with torch.autograd.graph.saved_tensors_hooks(seen := Seen(), lambda value: value):
            found[precision] = updates(batch, model.prepared(batch, step()))
        assert (torch.bfloat16 in seen.types) == (precision == "bf16")
        moments = [value for each in updates.optimiser.state.values() for value in each.values()]
        assert {each.dtype for each in [*model.parameters(), *moments]} == {torch.float32}
        assert found[precision].values.dtype == torch.float32
    assert found["bf16"].names == found["float32"].names
    # Digits of bfloat16: 0.4 %; matching and thresholds may fall otherwise in a single term.
    sums = [each.values.sum().item() for each in found.values()]
    assert sums[1] == pytest.approx(sums[0], rel=0.05)


class Seen:
    """The types of what a forward pass keeps for its backward pass."""

    def __init__(self) -> None:
        self.types: set[torch.dtype] = set()

    def __call__(self, value: Tensor) -> Tensor:
        self.types.add(value.dtype)
        return value


def test_tf32_is_float32_on_a_cpu():
    batch, found = small_batch(), []
    for precision in ("float32", "tf32"):
        model = small_method("qd_detr")
        torch.manual_seed(1)
        found.append(PlainStep(model, TrainingSettings(precision=precision))(batch, step()).values)
    assert torch.equal(*found)


class Pair(NamedTuple):
    """Two."""

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Nested(Output):
    """An output of outputs."""

    pairs: list[Pair] = field(default_factory=list)
    others: dict[str, Tensor | None] = field(default_factory=dict)


def test_outputs_become_single_wherever_their_numbers_are():
    half, count = torch.ones(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.int64)
    given = Nested(half, half, half.double(), step=step(), pairs=[Pair(half, count)], others={"x": half, "y": None})
    found = in_single(given)
    assert {found.spans.dtype, found.scores.dtype, found.pairs[0].first.dtype, found.others["x"].dtype} == {
        torch.float32
    }
    assert (found.saliency.dtype, found.pairs[0].second.dtype) == (torch.float64, torch.int64)
    assert found.others["y"] is None
    assert found.step is given.step


def loss_and_gradient(model: Method, batch: Batch) -> tuple[Tensor, Tensor]:
    """What is minimised, and the gradient of all weights."""
    model.zero_grad()
    loss = torch.stack(list(model.objective(model(batch, step()), batch).values())).sum()
    loss.backward()
    return loss.detach(), torch.cat([each.grad.flatten() for each in model.parameters() if each.grad is not None])


@pytest.mark.parametrize(("method", "variant"), VARIANTS, ids=["-".join(names) for names in VARIANTS])
def test_padding_changes_nothing_where_a_method_says_so(method, variant):
    """In double precision, where no rectifier turns over by rounding."""
    model = small_method(method, variant, dropout=False).double()
    batch = small_batch((9, 6, 4, 9), (5, 3, 1, 5), (2, 1, 3, 1))
    values = {part.name: getattr(batch, part.name) for part in fields(batch)}
    batch = replace(batch, **{name: each.double() for name, each in values.items() if each.is_floating_point()})
    expected = loss_and_gradient(model, batch)
    counts = {"clips": "clips", "tokens": "tokens", "windows": "slots"}
    for length in model.extendable:
        found = loss_and_gradient(model, padded(batch, **{counts[length]: 3}))
        torch.testing.assert_close(found, expected, rtol=1e-6, atol=1e-9, msg=lambda text, at=length: f"{at}: {text}")


def test_published_faults_are_told_from_what_padding_leaves():
    """A length that a method does not name does change its numbers: otherwise more could be rounded up."""
    model = small_method("bam_detr", dropout=False)
    assert model.extendable == {"tokens", "windows"}
    batch = small_batch()
    (expected, _), (found, _) = (loss_and_gradient(model, each) for each in (batch, padded(batch, clips=3)))
    assert abs(found - expected) > 1e-3 * expected


def test_lengths_are_rounded_up_no_further_than_the_longest():
    dataset = resolve("qvhighlights", "qd_detr", "full", 2018, "paper").dataset
    dataset = dataset.model_copy(update={"max_video_clips": 11, "max_text_tokens": None, "max_windows": 2})
    batch = small_batch((9, 6, 4), (5, 3, 1), (2, 1, 3))
    batch = replace(batch, characters=torch.ones(3, 5, 4, dtype=torch.int64))
    settings = PaddingSettings(clips=8, tokens=8, windows=5)
    found = Padding(settings, dataset, frozenset(get_args(Length)))(batch)
    assert found.video.shape == (3, 11, batch.video.shape[2])
    assert found.text.shape[1] == 8
    # More windows than the setting allows stay as they are.
    assert found.spans.shape[1] == 3
    for length, names in PADDED.items():
        for name in names:
            values, before = getattr(found, name), getattr(batch, name)
            assert values.shape[1] == getattr(found, PADDED[length][0]).shape[1]
            assert torch.equal(values[:, : before.shape[1]], before)
            assert not values[:, before.shape[1] :].any()
    some = Padding(settings, dataset, frozenset({"tokens"}))(batch)
    assert (some.video.shape[1], some.text.shape[1]) == (9, 8)
    assert Padding(PaddingSettings(), dataset, frozenset(get_args(Length)))(batch) is batch


def test_averaged_videos_are_not_padded_beyond_their_positions():
    """VSLNet's table of learned positions has no more."""
    dataset = resolve("tacos_glove", "vslnet", "full", 2018, "paper").dataset
    every = frozenset(get_args(Length))
    for longest, clips in ((None, 12), (10, 10), (64, 12)):
        limited = dataset.model_copy(update={"max_video_clips": longest, "max_positions": 12})
        assert Padding(PaddingSettings(clips=8), limited, every)(small_batch((9, 6, 4))).video.shape[1] == clips
