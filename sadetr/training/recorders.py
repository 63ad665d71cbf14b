"""What makes recordings of a step: CUDA graphs and ``torch.compile``; and the choice among all ways of a step."""

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import torch
from torch import Tensor

from sadetr.errors import SettingsError
from sadetr.models.interface import Batch, Method, Step
from sadetr.training.devices import Claim
from sadetr.training.graphs import RecordedStep, Recorder, Replay
from sadetr.training.steps import Columns, PlainStep, StepKind, TakesSteps
from sadetr.training.tapes import Tapes
from sadetr.training_settings import TrainingSettings


def way_of(requested: str, claim: Claim) -> StepKind:
    """What ``execution.step`` means on a claimed device.

    Where runs share a GPU, ``auto`` captures nothing: graphs keep memory of their own, beside what was set aside for a
    run when it claimed its slot, and the next run might be refused.

    Raises:
        SettingsError: graphs are to be captured on a CPU, or tapes made on a GPU.
    """
    on_gpu = claim.device.type == "cuda"
    elsewhere = {"taped": on_gpu, "captured": not on_gpu}
    if elsewhere.get(requested):
        needed, there = ("the CPU", "a GPU") if on_gpu else ("a GPU", "the CPU")
        raise SettingsError(
            f"execution.step is {requested!r}, which needs {needed}, and this training is on {there}: set "
            "execution.step to 'auto', 'plain' or 'compiled'"
        )
    if requested != "auto":
        return requested
    if not on_gpu:
        return "taped"
    return "captured" if claim.runs_per_gpu == 1 else "plain"


def make_step(model: Method, settings: TrainingSettings, way: StepKind) -> TakesSteps:
    """Updates of ``model``, which is on its device, in a way that :func:`way_of` found."""
    device = next(model.parameters()).device
    # One optimiser for all ways on a GPU: they differ in nothing but who launches the kernels.
    plain = PlainStep(model, settings, recorded=way != "plain" or device.type == "cuda")
    makers: dict[StepKind, Callable[[], Recorder]] = {
        "taped": Tapes,
        "captured": lambda: CudaGraphs(device),
        "compiled": Compiler,
    }
    return plain if way == "plain" else RecordedStep(plain, makers[way]())


class CudaGraphs:
    """Captures a whole step, the optimiser included, as a CUDA graph.

    Every step runs on one stream of its own, as the default stream cannot be captured. Dropout draws from torch's
    generator of the device, whose seed and offset a graph reads anew: shapes being equal, the draws are those of plain
    steps. All graphs share one pool of memory, since one runs at a time.
    """

    kind: StepKind = "captured"
    most = 64
    warming = 1

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)
        self._pool = torch.cuda.graph_pool_handle()

    @contextmanager
    def running(self) -> Iterator[None]:
        """The stream, behind everything that was asked for before and in front of all that comes after."""
        outside = torch.cuda.current_stream(self._device)
        self._stream.wait_stream(outside)
        try:
            with torch.cuda.stream(self._stream):
                yield
        finally:
            outside.wait_stream(self._stream)

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """Capture the step: kernels are noted, and none runs."""
        graph = torch.cuda.CUDAGraph()
        random = torch.cuda.get_rng_state(self._device)
        try:
            # Other threads go on: the one that gathers the next batch may pin memory.
            with torch.cuda.graph(graph, pool=self._pool, stream=self._stream, capture_error_mode="thread_local"):
                columns = plain.take(batch, step)
        except RuntimeError:
            self._restore_generator(random)
            raise

        def replay() -> Columns:
            graph.replay()
            return columns

        return replay

    def _restore_generator(self, random: Tensor) -> None:
        """A capture that failed leaves the generator waiting for the end of it; a copy waits for nothing."""
        generator = torch.cuda.default_generators[self._device.index or 0]
        generator.graphsafe_set_state(generator.clone_state())
        torch.cuda.set_rng_state(random, self._device)


class Compiler:
    """Compiles forward, objective and backward of a step; clipping and optimiser are fused kernels already."""

    kind: StepKind = "compiled"
    most = 8
    warming = 1

    def running(self) -> AbstractContextManager[object]:
        """Nothing."""
        return nullcontext()

    def record(self, plain: PlainStep, batch: Batch, step: Step) -> Replay:
        """Compile for these shapes alone. Draws are those of plain steps, as the fallback asks torch for them."""
        # As it is, but said so that torch's compiler hears it too.
        torch.use_deterministic_algorithms(torch.are_deterministic_algorithms_enabled())
        options = {"fallback_random": True}
        evaluate = torch.compile(plain.evaluate, fullgraph=True, dynamic=False, options=options)
        devices = [plain.device] if plain.device.type == "cuda" else []
        # `most` is the limit; torch's own counts the other networks of this process too. Both passes are compiled when
        # they are first called.
        unlimited = torch._dynamo.config.patch(recompile_limit=sys.maxsize, accumulated_recompile_limit=sys.maxsize)
        with unlimited, torch.random.fork_rng(devices), plain.computing():
            loss, _ = evaluate(batch, step)
            torch.autograd.grad(loss, [each for each in plain.parameters if each.requires_grad], allow_unused=True)

        def replay() -> Columns:
            with plain.computing():
                loss, columns = evaluate(batch, step)
                plain.update(loss)
            return columns

        return replay
