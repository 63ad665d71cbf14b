"""Time one training step of a method at the paper's size on a synthetic batch. Prints one line of JSON per measurement.

    python benchmarks/training_step.py [--method qd_detr] [--variants full corrected] [--device cuda] [--threads 2]
                                       [--steps 10] [--step captured] [--precision bf16]

The parts of a step are timed one by one, the whole step in a pass of its own; a GPU is waited for at the ends of
whatever is timed. Times are medians in milliseconds, after warming steps. A captured or compiled step has no parts: it
is timed as a whole, with all that making it took as `recording`.
"""

import argparse
import resource
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import torch
from measuring import SEED, milliseconds, report, spread
from torch import Tensor, nn

from sadetr.configuration import resolve
from sadetr.data.annotations import Query
from sadetr.data.labels import Labels
from sadetr.models.construction import make_method
from sadetr.models.interface import Batch, Method, Step
from sadetr.profiling.limits import measure_limits
from sadetr.profiling.parts import OperatorCounter, Parts
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.allocation import keep_freed_memory
from sadetr.training.devices import Claim
from sadetr.training.optimiser import make_optimiser
from sadetr.training.precision import computing, in_single, predicting
from sadetr.training.recorders import make_step, way_of
from sadetr.training.reproducibility import make_deterministic
from sadetr.training_settings import TrainingSettings

SCALE = "paper"
WARMING_STEPS = 2
WINDOW_COUNTS = {1: 4855, 2: 1230, 3: 466, 4: 266, 5: 401}
"""Training queries of QVHighlights by their number of windows; 5 stands for 5 and more, as training sees them."""


def main() -> None:
    arguments = parse_arguments()
    make_deterministic(arguments.threads)
    keep_freed_memory()
    device = torch.device(arguments.device)
    for variant in arguments.variants:
        settings = resolve("qvhighlights", arguments.method, variant, SEED, SCALE)
        training = settings.training.model_copy(update={"precision": arguments.precision})
        settings = settings.model_copy(update={"training": training})
        measured_as = {"step_kind": arguments.step, "precision": arguments.precision}
        # What a forecast looks for has no suffix: float32, plain or, as on every GPU, captured.
        other = "" if arguments.precision == "float32" else f"/{arguments.precision}"
        other += "/compiled" if arguments.step == "compiled" else ""
        found = measure if arguments.step == "plain" else partial(measure_recorded, arguments.step)
        for measured, values in found(settings, arguments.steps, device):
            line = {
                "method": arguments.method,
                "variant": variant,
                **measured_as,
                "measured": measured + other,
                **values,
            }
            report(line, device)


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sa_detr")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--steps", type=int, default=10, help="steps per timing")
    parser.add_argument("--variants", nargs="+", default=["full"])
    parser.add_argument("--step", choices=["plain", "captured", "compiled"], default="plain")
    parser.add_argument("--precision", choices=["float32", "tf32", "bf16"], default="float32")
    return parser.parse_args()


def measure(settings: RunSettings, steps: int, device: torch.device) -> list[tuple[str, dict[str, Any]]]:
    """All measurements of one variant: name and values."""
    streams = Streams(SEED)
    streams.seed_global("initialisation", 0)
    model = make_method(settings).to(device).train()
    batch = synthetic_batch(settings, streams.numpy("benchmark", 0))
    training = TrainingStep(model, settings.training, batch, streams.torch("method", 0))
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
    run(training, WARMING_STEPS, lambda parts: [part() for part in parts.values()])
    parts = run(training, steps, lambda parts: {name: milliseconds(part, device) for name, part in parts.items()})
    whole = run(training, steps, lambda parts: milliseconds(lambda: [part() for part in parts.values()], device))
    shape = {"batch": list(batch.video.shape), "tokens": list(batch.text.shape), "windows": batch.spans.shape[1]}
    counts = parameter_counts(model)
    results: list[tuple[str, dict[str, Any]]] = [("parameters", {"total": sum(counts.values()), "per_part": counts})]
    results += [(name, {**spread([row[name] for row in parts]), **shape}) for name in parts[0]]
    results.append(("step", {**spread(whole), **shape}))
    if device.type == "cuda":
        results.append(("peak_memory", {"mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1), **shape}))
    kibibytes = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    results.append(("resident_memory", {"mib": round(kibibytes / 2**10, 1), **shape}))
    # Last: finding the device's limits takes memory of its own.
    results.append(("operations", {**operations(training, device), **shape}))
    return results


def measure_recorded(
    kind: str, settings: RunSettings, steps: int, device: torch.device
) -> list[tuple[str, dict[str, Any]]]:
    """Measurements of a step that is captured or compiled."""
    streams = Streams(SEED)
    streams.seed_global("initialisation", 0)
    model = make_method(settings).to(device).train()
    batch = synthetic_batch(settings, streams.numpy("benchmark", 0)).to(device)
    updates = make_step(model, settings.training, way_of(kind, Claim(device)))
    step = Step(0, settings.training.epochs, streams.torch("method", 0))

    def take() -> None:
        updates(batch, model.prepared(batch, step))

    # A plain one, and the one that is recorded.
    warming = [milliseconds(take, device) for _ in range(WARMING_STEPS)]
    whole = [milliseconds(take, device) for _ in range(steps)]
    shape = {"batch": list(batch.video.shape), "tokens": list(batch.text.shape), "windows": batch.spans.shape[1]}
    taken = {"graphs": updates.graphs, "taken": dict(updates.counts)}
    results = [("recording", {"ms": round(warming[-1] - min(whole), 2), **taken, **shape})]
    results.append(("step", {**spread(whole), **taken, **shape}))
    if device.type == "cuda":
        results.append(("peak_memory", {"mib": round(torch.cuda.max_memory_allocated(device) / 2**20, 1), **shape}))
    return results


class TrainingStep:
    """The parts of one step of the training loop, callable in their order."""

    def __init__(self, model: Method, settings: TrainingSettings, batch: Batch, generator: torch.Generator) -> None:
        self._model = model
        self._settings = settings
        self._batch = batch
        self._step = Step(0, settings.epochs, generator)
        self._device = next(model.parameters()).device
        self._optimiser = make_optimiser(model, settings, recorded=self._device.type == "cuda")

    def parts(self) -> dict[str, Callable[[], None]]:
        return {
            "transfer": self._transfer,
            "forward": self._forward,
            "objective": self._objective,
            "backward": self._backward,
            "optimiser": self._optimise,
        }

    def _transfer(self) -> None:
        self._moved = self._batch.to(self._device)

    def _forward(self) -> None:
        with computing(self._settings.precision, self._device), predicting(self._settings.precision, self._device):
            self._output = self._model(self._moved, self._step)

    def _objective(self) -> None:
        with computing(self._settings.precision, self._device):
            terms = self._model.objective(in_single(self._output), self._moved)
            self._loss: Tensor = torch.stack(list(terms.values())).sum()

    def _backward(self) -> None:
        with computing(self._settings.precision, self._device):
            self._loss.backward()
        del self._output, self._loss

    def _optimise(self) -> None:
        torch.nn.utils.clip_grad_norm_(self._model.parameters(), self._settings.max_grad_norm)
        self._optimiser.step()
        self._optimiser.zero_grad(set_to_none=True)


def run(training: TrainingStep, steps: int, timed: Callable[[dict[str, Callable[[], None]]], Any]) -> list[Any]:
    """What ``timed`` returns for each of ``steps`` steps."""
    return [timed(training.parts()) for _ in range(steps)]


def operations(training: TrainingStep, device: torch.device) -> dict[str, Any]:
    """Operations and bytes of a step, and the least time that this device needs for them, measured now."""
    parts = Parts(device)
    with OperatorCounter(parts):
        run(training, 1, lambda step: [parts.wrapped(function, name)() for name, function in step.items()])
    flops, moved = (sum(getattr(total, kind) for total in parts.totals.values()) for kind in ("flops", "moved"))
    least = 1000 * measure_limits(device).least_seconds(flops, moved)
    per_part = {name: total.flops for name, total in parts.totals.items()}
    return {"flops": flops, "bytes": moved, "flops_per_part": per_part, "least_ms": round(least, 2)}


def synthetic_batch(settings: RunSettings, rng: np.random.Generator) -> Batch:
    """A batch of the largest shapes: every video and every text is as long as the setting allows."""
    dataset, shape, size = settings.dataset, settings.dataset.feature_shape, settings.training.batch_size
    clips, tokens = dataset.max_video_clips, dataset.max_text_tokens
    queries = [synthetic_query(number, clips, dataset.clip_length, rng) for number in range(size)]
    labels = Labels(queries, np.full(size, clips), dataset)
    draws = labels.draw(lambda consumer: rng)
    arrays = {
        "video": rng.standard_normal((size, clips, shape.video_width), np.float32),
        "video_mask": np.ones((size, clips), bool),
        "text": rng.standard_normal((size, tokens, shape.text_width), np.float32),
        "text_mask": np.ones((size, tokens), bool),
        "saliency": labels.saliency,
        "relevant": labels.relevant,
        "video_id": np.arange(size),
        **vars(draws),
    }
    return Batch(**{name: torch.from_numpy(array) for name, array in arrays.items()})


def synthetic_query(number: int, clips: int, clip_length: float, rng: np.random.Generator) -> Query:
    """Disjoint random windows on the clip grid, as many as real queries have, and three annotators' saliency."""
    weights = np.array(list(WINDOW_COUNTS.values())) / sum(WINDOW_COUNTS.values())
    count = rng.choice(list(WINDOW_COUNTS), p=weights)
    ends = np.sort(rng.choice(clips + 1, 2 * count, replace=False)).reshape(-1, 2)
    relevant = np.concatenate([np.arange(start, end) for start, end in ends])
    saliency = rng.integers(0, 5, (len(relevant), 3))
    return Query(number, "", f"video{number}", clips * clip_length, ends * clip_length, relevant, saliency)


def parameter_counts(model: nn.Module) -> dict[str, int]:
    """Parameters per part of the model."""
    counts: Counter[str] = Counter()
    for name, parameter in model.named_parameters():
        counts[name.partition(".")[0]] += parameter.numel()
    return dict(counts)


if __name__ == "__main__":
    main()
