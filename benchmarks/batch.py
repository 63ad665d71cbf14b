"""Time to make a batch as training makes it and to bring it to the device, by where features lie. Prints lines of JSON.

    python benchmarks/batch.py [--device cuda] [--dtype float16]

Random features of QVHighlights' shapes for ``--queries`` queries go into a temporary store (0.9 MB each in single
precision). Then batches are gathered with their labels by a loop that does nothing else, and moved to the device: an
epoch from the memory map, one from pinned memory (on a GPU), one from what is resident on the device, in turns. Every
line has the bytes of a batch, and how long a copy of as many would take on the device.
"""

import argparse
import itertools
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from functools import partial
from pathlib import Path
from typing import Any

import torch
from full_size_training import write_store
from measuring import SEED, milliseconds, report, spread
from training_step import synthetic_query

from sadetr.configuration import resolve
from sadetr.data.annotations import Query
from sadetr.data.batches import Split
from sadetr.data.feeding import Feeder, Link, Mapped, Pinned, batch_bytes
from sadetr.data.residency import Resident, resident_bytes
from sadetr.data.store import FeatureStore
from sadetr.models.interface import Batch
from sadetr.profiling.limits import measure_limits
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.reproducibility import make_deterministic

WORDS = 10
"""Of every query: QVHighlights' median."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="CPU threads")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float32", help="precision of the store")
    parser.add_argument("--queries", type=int, default=256)
    parser.add_argument("--batches", type=int, default=40, help="that are timed at least, of each kind")
    parser.add_argument("--folder", type=Path, help="where the temporary store goes")
    arguments = parser.parse_args()
    make_deterministic(arguments.threads)
    device = torch.device(arguments.device)
    settings = resolve("qvhighlights", "sa_detr", "full", SEED, "paper")
    stored = settings.model_copy(update={"features": settings.features.model_copy(update={"dtype": arguments.dtype})})
    with tempfile.TemporaryDirectory(prefix="batch_", dir=arguments.folder) as folder:
        split = random_split(stored, arguments.queries, Path(folder))
        store = FeatureStore.open(Path(folder) / "store")
        size = settings.training.batch_size
        found = measure(split, feeders(split, store, size, device), size, arguments.batches, device)
        held = resident_bytes(store, [split.rows])
    limits = measure_limits(device)
    for mode, times in found.items():
        line = {
            "features": mode,
            **times.values(),
            # A copy reads and writes every byte.
            "copy_ms": round(1000 * limits.least_seconds(0, 2 * times.bytes), 3),
            "bytes": times.bytes,
            "resident_bytes": held if mode == Resident.mode else 0,
            "stored_as": arguments.dtype,
            "batch": list(times.batch.video.shape),
            "tokens": list(times.batch.text.shape),
            "batches": len(times.gather),
        }
        report(line, device)


def random_split(settings: RunSettings, count: int, folder: Path) -> Split:
    """Queries with windows as QVHighlights' have them, whose features are random."""
    dataset, rng = settings.dataset, Streams(SEED).numpy("benchmark", 0)
    made = (synthetic_query(number, dataset.max_video_clips, dataset.clip_length, rng) for number in range(count))
    queries: list[Query] = [replace(query, query=" ".join(["word"] * WORDS)) for query in made]
    write_store(folder / "store", settings, queries)
    return Split(queries, FeatureStore.open(folder / "store"), dataset)


def feeders(split: Split, store: FeatureStore, size: int, device: torch.device) -> list[Feeder]:
    """All ways to the device."""
    pinned = [Pinned(store, batch_bytes(store, split.rows, size), Link(device))] if device.type == "cuda" else []
    return [Mapped(store), *pinned, Resident.load(store, [split.rows], device)]


@dataclass
class Times:
    """Of the batches of one kind: milliseconds until the loop has each, those to move it, and those of processors."""

    gather: list[float] = field(default_factory=list)
    transfer: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    """Per batch of an epoch, both together, its labels included."""
    batch: Batch | None = None

    @property
    def bytes(self) -> int:
        """Of a batch as it is gathered."""
        tensors = [getattr(self.batch, part.name) for part in fields(Batch)]
        return sum(tensor.numel() * tensor.element_size() for tensor in tensors)

    def values(self) -> dict[str, Any]:
        """As a line has them."""
        return {"gather": spread(self.gather), "transfer": spread(self.transfer), "cpu": spread(self.cpu)}


def measure(split: Split, ways: list[Feeder], size: int, count: int, device: torch.device) -> dict[str, Times]:
    """Times of at least ``count`` batches of each kind: one epoch of each to warm up, then epochs in turns."""
    epochs = {way.mode: split.fed_by(way).training_epochs(size, Streams(SEED), device=device) for way in ways}
    whole = min(size, len(split))
    for each in epochs.values():
        time_batches(each.epoch(0), whole, device, Times())
    found = {mode: Times() for mode in epochs}
    for number in itertools.count(1):
        for mode, each in epochs.items():
            time_batches(each.epoch(number), whole, device, found[mode])
        if min(len(times.gather) for times in found.values()) >= count:
            return found


def time_batches(batches: Iterator[Batch], whole: int, device: torch.device, times: Times) -> None:
    """Add what an epoch's batches take; of a smaller one than ``whole`` the time of processors alone."""
    used, made, following = time.process_time(), 0, None

    def ask() -> None:
        nonlocal following
        following = next(batches, None)

    while True:
        gathered = milliseconds(ask, device)
        if following is None:
            break
        moved = milliseconds(partial(following.to, device), device)
        made += 1
        if len(following) == whole:
            times.gather.append(gathered)
            times.transfer.append(moved)
            times.batch = following
    times.cpu.append(1000 * (time.process_time() - used) / made)


if __name__ == "__main__":
    main()
