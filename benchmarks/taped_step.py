"""Time steps that are taped beside plain ones, at the scale whose steps are narrow. Prints one line of JSON per method.

    python benchmarks/taped_step.py [--methods sa_detr qd_detr] [--scale mini] [--steps 100]

Processor time in milliseconds, plain and taped steps in turns, on a synthetic batch of the largest shapes of
``qvhighlights``. ``recording_ms`` is what it costs, once per shape of batches, to note a step.
"""

import argparse
import time
from collections.abc import Callable
from functools import partial
from typing import Any

from measuring import SEED, report, spread
from training_step import synthetic_batch

from sadetr.configuration import resolve
from sadetr.layering import named_files
from sadetr.models.construction import make_method
from sadetr.models.interface import Step
from sadetr.randomness import Streams
from sadetr.training.allocation import keep_freed_memory
from sadetr.training.recorders import make_step
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.tapes import Tapes


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--methods", nargs="+", default=named_files("methods"))
    parser.add_argument("--scale", default="mini")
    parser.add_argument("--steps", type=int, default=100, help="of each way")
    arguments = parser.parse_args()
    make_deterministic(1)
    keep_freed_memory()
    for method in arguments.methods:
        report({"method": method, "scale": arguments.scale, **measure(method, arguments.scale, arguments.steps)})


def measure(method: str, scale: str, steps: int) -> dict[str, Any]:
    """Times of both ways of a method's steps."""
    settings = resolve("qvhighlights", method, "full", SEED, scale)
    streams = Streams(SEED)
    batch = synthetic_batch(settings, streams.numpy("benchmark", 0))
    ways: dict[str, Callable[[], object]] = {}
    for way in ("plain", "taped"):
        streams.seed_global("initialisation", 0)
        model = make_method(settings).train()
        updates = make_step(model, settings.training, way)
        step = model.prepared(batch, Step(0, settings.training.epochs, streams.torch("method", 0)))
        ways[way] = partial(updates, batch, step)
    warming = [{way: processor_milliseconds(take) for way, take in ways.items()} for _ in range(Tapes.warming + 1)]
    times = [{way: processor_milliseconds(take) for way, take in ways.items()} for _ in range(steps)]
    found = {way: spread([row[way] for row in times]) for way in ways}
    shape = {"batch": list(batch.video.shape), "tokens": list(batch.text.shape), "taken": dict(updates.counts)}
    return {**found, "recording_ms": round(warming[-1]["taped"] - found["taped"]["median_ms"], 1), **shape}


def processor_milliseconds(function: Callable[[], object]) -> float:
    """What a call takes of the processor: the clock would count what else runs there."""
    start = time.process_time()
    function()
    return 1000 * (time.process_time() - start)


if __name__ == "__main__":
    main()
