"""A step of training asks the host for nothing and is one graph: what a GPU needs, shown of all methods without one."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode

from sadetr.configuration import load_method, resolve, resolve_dataset
from sadetr.data.residency import Resident
from sadetr.data.store import FeatureStore
from sadetr.layering import named_files
from sadetr.models.construction import make_method
from sadetr.models.interface import Batch, Method, Step
from sadetr.randomness import Streams
from sadetr.training import prediction
from sadetr.training.checkpoint import TrainingState
from sadetr.training.loop import Trainer
from tests.samples import shallow
from tests.training.test_feeding import write
from tests.training.test_methods import SCALE

pytestmark = pytest.mark.long
METHODS = named_files("methods")
VARIANTS = [
    (method, variant)
    for method in METHODS
    for variant in load_method(method).variants
    if variant in ("full", "corrected")
]
READING = {
    "_local_scalar_dense",
    "_linalg_check_errors",
    "_unique",
    "_unique2",
    "equal",
    "is_nonzero",
    "item",
    "linalg_solve",
    "masked_select",
    "nonzero",
    "nonzero_numpy",
    "unique_consecutive",
    "unique_dim",
}
"""Operators whose result, or its shape, depends on values: the host waits for them."""
INDEXING = {"index", "index_put", "index_put_", "_index_put_impl_", "_unsafe_index", "_unsafe_index_put"}
"""Operators that find the True entries first, where an index is boolean."""
CALLS = {
    *("__array__", "__bool__", "__float__", "__index__", "__int__", "cpu", "item", "numpy", "tolist"),
    *("as_tensor", "from_numpy", "new_tensor", "tensor"),
}
"""Functions that read a tensor, or make one of the host's numbers, some of which no operator shows on a CPU."""


class ReadsError(AssertionError):
    """Something was read back."""


class NoReading(TorchDispatchMode):
    """Raises where an operator needs values on the host."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        name = func.overloadpacket.__name__
        indices = args[1] if name in INDEXING else ()
        boolean = any(index is not None and index.dtype in (torch.bool, torch.uint8) for index in indices)
        if name in READING or boolean or func is torch.ops.aten.repeat_interleave.Tensor:
            raise ReadsError(f"{func} needs values on the host")
        if torch.is_inference_mode_enabled():
            # Matching runs in this mode, in which operators that are made of others arrive whole.
            with self:
                result = func.decompose(*args, **(kwargs or {}))
            if result is not NotImplemented:
                return result
        return func(*args, **(kwargs or {}))


class NoReadingCalls(TorchFunctionMode):
    """Raises where a function that reads or makes numbers of the host is called."""

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        if getattr(func, "__name__", "") in CALLS:
            raise ReadsError(f"{func.__name__} is called")
        return func(*args, **(kwargs or {}))


READS: dict[str, Callable[[Tensor], object]] = {
    "item": lambda values: values[0].item(),
    "tolist": lambda values: values.tolist(),
    "cpu": lambda values: values.cpu(),
    "numpy": lambda values: values.numpy(),
    "branch": lambda values: 1 if values.sum() > 0 else 0,
    "float": lambda values: float(values[0]),
    "nonzero": lambda values: values.nonzero(),
    "where": lambda values: torch.where(values > 0),
    "masked_select": lambda values: values.masked_select(values > 0),
    "boolean index": lambda values: values[values > 0],
    "boolean index_put": lambda values: values.clone().index_put_((values > 0,), values[0]),
    "unique": lambda values: values.unique(),
    "equal": lambda values: torch.equal(values, values),
    "repeat_interleave": lambda values: values.repeat_interleave(torch.ones(3, dtype=torch.int64)),
    "one_hot": lambda values: torch.nn.functional.one_hot(values.long() % 2),
    "solve": lambda values: torch.linalg.solve(values.diag(), values),
    "tensor": lambda values: values + torch.tensor([1.0, 2.0, 3.0]),
    "new_tensor": lambda values: values + values.new_tensor([1.0, 2.0, 3.0]),
}


@pytest.mark.parametrize("inference", [False, True])
@pytest.mark.parametrize("read", READS)
def test_whatever_reads_is_found(read, inference):
    values = torch.arange(1.0, 4.0)
    with pytest.raises(ReadsError), NoReadingCalls(), NoReading(), torch.inference_mode(inference):
        READS[read](values)


@dataclass(frozen=True)
class Training:
    """A method with dropout, the trainer of it, and its first batch."""

    model: Method
    trainer: Trainer
    batch: Batch
    step: Step


@pytest.fixture
def training(workspace, tmp_path) -> Callable[..., Training]:
    scale = tmp_path / "narrow.yaml"
    scale.write_text(SCALE % workspace.scale)

    def make(method: str, variant: str = "full") -> Training:
        settings = shallow(resolve("qvhighlights", method, variant, 2018, str(scale)))
        torch.manual_seed(0)
        model = make_method(settings)
        train = workspace.split("train")
        trainer = Trainer(model, settings, train, {"val": workspace.split("val")}, TrainingState("none"))
        batch = next(train.training_epochs(settings.training.batch_size, Streams(2018)).epoch(0))
        batch = batch.to(torch.device("cpu"))
        # So late that a method which changes while it trains has changed.
        step = model.prepared(batch, Step(900, 1000, Streams(2018).torch("method", 0)))
        return Training(model.train(), trainer, batch, step)

    return make


@pytest.mark.parametrize(("method", "variant"), VARIANTS, ids=["-".join(names) for names in VARIANTS])
def test_no_step_reads_a_value_back(training, method, variant):
    """Forward, objective, backward, clipping and optimiser; the first step makes what all the others find."""
    made = training(method, variant)
    made.trainer._step(made.batch, made.step)
    with NoReadingCalls(), NoReading():
        columns = made.trainer._step(made.batch, made.step)
    assert columns.values.isfinite().all()
    # They would be in the way of the next step's tensors.
    assert all(parameter.grad is None for parameter in made.model.parameters())


@pytest.mark.parametrize("method", METHODS)
def test_a_validation_reads_back_once(training, workspace, method, monkeypatch):
    """No forward pass does; what all batches said leaves the device together."""
    made, calls, unpacked = training(method), [], prediction._unpacked
    forward = made.model.forward

    def silent(batch: Batch) -> object:
        with NoReadingCalls(), NoReading():
            return forward(batch)

    monkeypatch.setattr(made.model, "forward", silent)
    monkeypatch.setattr(prediction, "_unpacked", lambda *values: calls.append(1) or unpacked(*values))
    predictions = prediction.predict(made.model, workspace.split("val"), 5, torch.device("cpu"))
    assert len(predictions) == 12
    assert calls == [1]


@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_resident_features_are_gathered_without_reading(tmp_path, monkeypatch, dtype):
    """Of an epoch's batches and of a validation's, and without sending, once the order of the queries has been sent."""
    split = write(tmp_path / "store", resolve_dataset("tacos_glove", "paper"), dtype)
    store = FeatureStore.open(tmp_path / "store")
    resident = split.fed_by(Resident.load(store, [split.rows], torch.device("cpu")))

    def sent(array: object) -> None:
        raise ReadsError("an array of the host is sent")

    makes = [lambda each: each.training_epochs(5, Streams(0)).epoch(0), lambda each: each.prediction_batches(5)]
    for make in makes:
        with monkeypatch.context() as patch:
            following = make(resident)
            batches = [next(following)]
            patch.setattr(torch, "from_numpy", sent)
            with NoReadingCalls(), NoReading():
                batches += [batch.to(torch.device("cpu")) for batch in following]
            assert len(batches) == 5
            with pytest.raises(ReadsError, match="is sent"):
                next(make(split))


def test_no_shape_depends_on_a_value_of_the_device(tmp_path):
    """On a device that has no values."""
    split = write(tmp_path / "store", resolve_dataset("tacos_glove", "paper"), "float16")
    store, meta = FeatureStore.open(tmp_path / "store"), torch.device("meta")
    resident = split.fed_by(Resident.load(store, [split.rows], meta))
    found, expected = (each.training_epochs(5, Streams(0), device=meta).epoch(0) for each in (resident, split))
    for batch, other in zip(found, expected, strict=True):
        for part in fields(Batch):
            ours, theirs = getattr(batch, part.name), getattr(other, part.name)
            assert ours.is_meta
            assert ours.shape == theirs.shape


class Captured:
    """Keeps the graph that ``torch.compile`` has captured, and what it is called on."""

    def __call__(self, graph: torch.fx.GraphModule, examples: list[Any]) -> Callable[..., Any]:
        def run(*inputs: Any) -> Any:
            self._graph, self.inputs = graph, inputs
            return graph(*inputs)

        return run

    @property
    def leaves(self) -> list[Tensor]:
        """The inputs that have a gradient."""
        return differentiable(self.inputs)

    def with_backward(self) -> torch.fx.GraphModule:
        """One graph of the value and the gradients of all leaves, traced on tensors that have no values."""

        def joint(*inputs: Any) -> tuple[Tensor | None, ...]:
            (value,) = self._graph(*inputs)
            return value, *torch.autograd.grad(value, differentiable(inputs), allow_unused=True)

        return make_fx(joint, tracing_mode="fake", _allow_non_fake_inputs=True)(*self.inputs)


def differentiable(inputs: Sequence[Any]) -> list[Tensor]:
    """Tensors that have a gradient."""
    return [each for each in inputs if isinstance(each, Tensor) and each.requires_grad]


# oneDNN's LSTM cannot be captured where its input needs no gradient.
@torch.backends.mkldnn.flags(enabled=False)
@torch._dynamo.config.patch(allow_rnn=True)
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("method", METHODS)
def test_a_step_is_one_graph_with_the_same_numbers(training, method):
    """Of forward and objective, where a break would be an error, and of these with the backward pass.

    ``make_fx`` traces the latter once. AOTAutograd, which traces everything twice and then divides the graph, takes
    three times as long; test_graphs.py compiles a step with it.
    """
    made = training(method)

    def loss(batch: Batch) -> Tensor:
        return torch.stack(list(made.model.objective(made.model(batch, made.step), batch).values())).sum()

    torch._dynamo.reset()
    captured = Captured()
    values = []
    # What is made once for all steps is there before one is captured.
    for run in (loss, torch.compile(loss, fullgraph=True, dynamic=False, backend=captured)):
        torch.manual_seed(0)
        values.append(run(made.batch))
    values[0].backward()
    joint = captured.with_backward()
    torch.manual_seed(0)
    with torch.no_grad():
        found = joint(*captured.inputs)
    torch.testing.assert_close(found, (values[0], *(leaf.grad for leaf in captured.leaves)), rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(*reversed(values), rtol=1e-4, atol=1e-5)
    # A parameter that is no input of the graph would be a constant in it.
    trained = [parameter for parameter in made.model.parameters() if parameter.grad is not None]
    assert {id(parameter) for parameter in trained} <= {id(leaf) for leaf in captured.leaves}
