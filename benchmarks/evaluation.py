"""Time of a validation: forward passes, windows in seconds, scores, the prediction file. Prints one line of JSON.

    python benchmarks/evaluation.py [--method qd_detr] [--device cuda] [--queries 1550]

An untrained network at the paper's size predicts random features of QVHighlights' shapes, as training does after an
epoch. ``host_ms_per_query`` is what a query costs beside the forward pass, ``own_cpu_ms_per_query`` what is left of
that without gathering features: then the network's outputs are given, and CPU time is measured.
"""

import argparse
import copy
import itertools
import tempfile
import time
from pathlib import Path

import torch
from batch import random_split
from measuring import SEED, milliseconds, report, spread
from torch import nn

from sadetr.configuration import resolve
from sadetr.data.batches import Split
from sadetr.evaluation.prediction_arrays import PredictionArrays
from sadetr.evaluation.predictions import write_predictions
from sadetr.evaluation.scorer import metrics_of
from sadetr.models.construction import make_method
from sadetr.models.interface import Batch, Method, Output
from sadetr.profiling.parts import Parts
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.diagnostics import ObservedPredictions
from sadetr.training.loop import ground_truth
from sadetr.training.prediction import predict
from sadetr.training.reproducibility import make_deterministic

REPLAYS = 15


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--method", default="sa_detr")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--queries", type=int, default=320, help="QVHighlights' split val has 1550")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    arguments = parser.parse_args()
    make_deterministic(arguments.threads)
    device = torch.device(arguments.device)
    settings = resolve("qvhighlights", arguments.method, "full", SEED, "paper")
    Streams(SEED).seed_global("initialisation", 0)
    model = make_method(settings).to(device).eval()
    with tempfile.TemporaryDirectory(prefix="evaluation_", dir=arguments.folder) as folder:
        split = random_split(settings, arguments.queries, Path(folder))
        file = Path(folder) / "predictions.jsonl"
        times = [measure(model, split, settings, device, file) for _ in range(1 + arguments.repeats)][1:]
        size = file.stat().st_size
        own = own_cost(model, split, settings, device)
    values = {name: spread([each[name] for each in times]) for name in times[0]}
    host = values["predict"]["median_ms"] - values["forward"]["median_ms"] + values["score"]["median_ms"]
    line = {
        "method": arguments.method,
        "queries": len(split),
        **values,
        "host_ms_per_query": round(host / len(split), 4),
        **own,
        "own_cpu_ms_per_query": round(sum(each["median_ms"] for each in own.values()) / len(split), 4),
        "bytes_per_query": round(size / len(split), 1),
        "clips": settings.dataset.max_video_clips,
        "batch_size": settings.training.batch_size,
    }
    report(line, device)


def measure(model: Method, split: Split, settings: RunSettings, device: torch.device, file: Path) -> dict[str, float]:
    """Milliseconds of each part for the whole split; ``predict`` includes ``forward`` and ``gather``."""
    training, parts = settings.training, Parts(device)
    truth = ground_truth(split.queries, settings.dataset)
    found: list[PredictionArrays] = []

    def prediction() -> None:
        found[:] = [predict(model, split, training.batch_size, device, ranking=training.ranking)]

    network, features = model.forward, split.features
    model.forward, split.features = parts.wrapped(network, "forward"), parts.wrapped(features, "gather")
    try:
        times = {"predict": milliseconds(prediction, device)}
    finally:
        model.forward, split.features = network, features
    (predictions,) = found
    times |= {
        "score": milliseconds(lambda: metrics_of(truth.score(predictions)), device),
        "write": milliseconds(lambda: write_predictions(file, predictions.rows(split.queries)), device),
    }
    return {name: 1000 * parts.totals[name].seconds for name in ("forward", "gather")} | times


class Recorded(nn.Module):
    """A network that says again what it said, batch by batch, and costs nothing."""

    def __init__(self, outputs: list[Output]) -> None:
        super().__init__()
        self._outputs = itertools.cycle(outputs)

    def forward(self, batch: Batch) -> Output:
        """The next output, whatever the batch."""
        return next(self._outputs)


def own_cost(model: Method, split: Split, settings: RunSettings, device: torch.device) -> dict[str, dict[str, float]]:
    """Milliseconds of CPU time for the whole split, from the network's outputs to its metrics."""
    training, outputs, batches = settings.training, [], []

    def record(module: nn.Module, inputs: tuple[Batch], output: Output) -> None:
        outputs.append(output)
        batches[:] = inputs

    hook = model.register_forward_hook(record)
    predict(model, split, training.batch_size, device, ranking=training.ranking)
    hook.remove()
    network, given = Recorded(outputs), copy.copy(split)
    given.prediction_batches = lambda *_: itertools.repeat(batches[0], len(outputs))
    truth = ground_truth(split.queries, settings.dataset)
    ranked, scored = [], []
    for _ in range(REPLAYS):
        started, observed = time.process_time(), ObservedPredictions()
        predictions = predict(network, given, training.batch_size, device, observed, training.ranking)
        observed.spread(), observed.best_score()
        between = time.process_time()
        metrics_of(truth.score(predictions))
        ranked.append(1000 * (between - started))
        scored.append(1000 * (time.process_time() - between))
    return {"own_predict_cpu": spread(ranked), "own_score_cpu": spread(scored)}


if __name__ == "__main__":
    main()
