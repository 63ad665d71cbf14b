"""Time to make a batch as training makes it, and to bring it to the device. Prints one line of JSON.

    python benchmarks/batch.py [--device cuda] [--dtype float16]

Random features of QVHighlights' shapes for ``--queries`` queries go into a temporary store (0.9 MB each in single
precision). Then batches are gathered with their labels, epoch after epoch, by a loop that does nothing else, and moved
to the device. The line has the bytes of a batch, and how long a copy of as many would take on the device.
"""

import argparse
import itertools
import json
import os
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import fields, replace
from functools import partial
from pathlib import Path

import torch
from full_size_training import write_store
from training_step import SEED, environment, milliseconds, spread, synthetic_query

from sadetr.configuration import resolve
from sadetr.data.annotations import Query
from sadetr.data.batches import Split
from sadetr.data.store import FeatureStore
from sadetr.models.interface import Batch
from sadetr.profiling.limits import measure_limits
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.reproducibility import make_deterministic

WORDS = 10
"""Of every query: QVHighlights' median."""
WARMING = 2


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float32", help="precision of the store")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40, help="that are timed")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    arguments = parser.parse_args()
    make_deterministic(arguments.threads)
    device = torch.device(arguments.device)
    settings = resolve("qvhighlights", "sa_detr", "full", SEED, "paper")
    stored = settings.model_copy(update={"features": settings.features.model_copy(update={"dtype": arguments.dtype})})
    with tempfile.TemporaryDirectory(prefix="batch_", dir=arguments.folder) as folder:
        split = random_split(stored, arguments.queries, Path(folder))
        gather, transfer, batch = measure(split, settings.training.batch_size, arguments.batches, device)
    moved = sum(getattr(batch, part.name).numel() * getattr(batch, part.name).element_size() for part in fields(batch))
    # A copy reads and writes every byte.
    copy_ms = 1000 * measure_limits(device).least_seconds(0, 2 * moved)
    line = {
        "benchmark": "batch",
        "gather": spread(gather),
        "transfer": spread(transfer),
        "copy_ms": round(copy_ms, 3),
        "bytes": moved,
        "stored_as": arguments.dtype,
        "batch": list(batch.video.shape),
        "tokens": list(batch.text.shape),
        "batches": arguments.batches,
        "load_average": round(os.getloadavg()[0], 2),
        "command": " ".join(["python benchmarks/batch.py", *sys.argv[1:]]),
        **environment(device),
    }
    print(json.dumps(line))


def random_split(settings: RunSettings, count: int, folder: Path) -> Split:
    """Queries with windows as QVHighlights' have them, whose features are random."""
    dataset, rng = settings.dataset, Streams(SEED).numpy("benchmark", 0)
    made = (synthetic_query(number, dataset.max_video_clips, dataset.clip_length, rng) for number in range(count))
    queries: list[Query] = [replace(query, query=" ".join(["word"] * WORDS)) for query in made]
    write_store(folder / "store", settings, queries)
    return Split(queries, FeatureStore.open(folder / "store"), dataset)


def measure(split: Split, size: int, count: int, device: torch.device) -> tuple[list[float], list[float], Batch]:
    """Milliseconds to have each batch and to move it, and one batch."""
    gather, transfer = [], []
    batches = endless(split, size)
    for number in range(WARMING + count):
        started = time.perf_counter()
        batch = next(batches)
        gathered = 1000 * (time.perf_counter() - started)
        if number >= WARMING:
            gather.append(gathered)
            transfer.append(milliseconds(partial(batch.to, device), device))
    return gather, transfer, batch


def endless(split: Split, size: int) -> Iterator[Batch]:
    """Full batches of epoch after epoch."""
    epochs = split.training_epochs(size, Streams(SEED))
    for epoch in itertools.count():
        yield from (batch for batch in epochs.epoch(epoch) if len(batch) == min(size, len(split)))


if __name__ == "__main__":
    main()
