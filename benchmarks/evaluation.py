"""Time of a validation: forward passes, windows in seconds, scores, the prediction file. Prints one line of JSON.

    python benchmarks/evaluation.py [--method qd_detr] [--device cuda] [--queries 1550]

An untrained network at the paper's size predicts random features of QVHighlights' shapes, as training does after an
epoch. ``host_ms_per_query`` is what a query costs beside the forward pass.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path

import torch
from batch import random_split
from training_step import SEED, environment, milliseconds, spread

from sadetr.configuration import resolve
from sadetr.data.batches import Split
from sadetr.evaluation.predictions import write_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.models.construction import make_method
from sadetr.models.interface import Method
from sadetr.profiling.parts import Parts
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.prediction import predict
from sadetr.training.reproducibility import make_deterministic


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
    values = {name: spread([each[name] for each in times]) for name in times[0]}
    host = values["predict"]["median_ms"] - values["forward"]["median_ms"] + values["score"]["median_ms"]
    line = {
        "benchmark": "evaluation",
        "method": arguments.method,
        "queries": len(split),
        **values,
        "host_ms_per_query": round(host / len(split), 4),
        "bytes_per_query": round(size / len(split), 1),
        "clips": settings.dataset.max_video_clips,
        "batch_size": settings.training.batch_size,
        "load_average": round(os.getloadavg()[0], 2),
        "command": " ".join(["python benchmarks/evaluation.py", *sys.argv[1:]]),
        **environment(device),
    }
    print(json.dumps(line))


def measure(model: Method, split: Split, settings: RunSettings, device: torch.device, file: Path) -> dict[str, float]:
    """Milliseconds of each part for the whole split; ``predict`` includes ``forward``."""
    dataset, training = settings.dataset, settings.training
    rows, parts = [], Parts(device)

    def prediction() -> None:
        rows[:] = predict(model, split, training.batch_size, device, ranking=training.ranking)

    def score() -> None:
        evaluate(rows, split.queries, highlights=dataset.highlights, clip_length=dataset.clip_length)

    network = model.forward
    model.forward = parts.wrapped(network, "forward")
    try:
        times = {"predict": milliseconds(prediction, device)}
    finally:
        model.forward = network
    times |= {
        "score": milliseconds(score, device),
        "write": milliseconds(lambda: write_predictions(file, rows), device),
    }
    return {"forward": 1000 * parts.totals["forward"].seconds, **times}


if __name__ == "__main__":
    main()
