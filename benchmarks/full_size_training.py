"""Train the full-size model (Table 9, QVHighlights) for a few steps on real annotations with random features.

    python benchmarks/full_size_training.py --data-root DIR [--steps 20]

``DIR/annotations/qvhighlights/`` holds the official annotations. Features of the real shapes are drawn for a subset of
the training queries, written to a temporary feature store and read back as in training. Prints lines of JSON: the
parameters, every step's loss, and a summary. Needs 0.9 MB of disk per query.
"""

import argparse
import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import SEED, milliseconds, report
from training_step import parameter_counts

from sadetr.configuration import resolve
from sadetr.data.annotations import Query, clip_count, read_annotations
from sadetr.data.batches import Split
from sadetr.data.preparation import normalise_rows
from sadetr.data.store import FeatureStore, StoreWriter
from sadetr.errors import SadetrError
from sadetr.models.construction import make_method
from sadetr.models.interface import Batch, Method, Step
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.optimiser import make_optimiser
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.schedule import learning_rate
from sadetr.training_settings import TrainingSettings

SCALE = "paper"
SPECIAL_TOKENS = 2
"""Start and end of text, which CLIP adds to the words."""


def main() -> int:
    arguments = parse_arguments()
    settings = resolve("qvhighlights", "sa_detr", arguments.variant, SEED, SCALE)
    make_deterministic(arguments.threads)
    try:
        queries = subset(settings, arguments.data_root, arguments.queries)
        with tempfile.TemporaryDirectory(prefix="full_size_training_", dir=arguments.folder) as folder:
            write_store(Path(folder) / "store", settings, queries)
            split = Split(queries, FeatureStore.open(Path(folder) / "store"), settings.dataset)
            summary = train(settings, split, arguments.steps)
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    command = f"python benchmarks/full_size_training.py --data-root DIR --steps {arguments.steps}"
    command += f" --queries {arguments.queries} --variant {arguments.variant} --threads {arguments.threads}"
    report({"measured": "summary", **summary}, command=command)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--queries", type=int, default=320, help="training queries with features, drawn at random")
    parser.add_argument("--variant", default="full")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--folder", help="where the temporary folder is made")
    return parser.parse_args()


def subset(settings: RunSettings, data_root: Path, count: int) -> list[Query]:
    """``count`` random queries of the training split.

    Raises:
        DataError: the annotations are missing or malformed.
    """
    dataset = settings.dataset
    file = data_root / "annotations" / dataset.name / dataset.annotations[dataset.train_split]
    queries = read_annotations(file, dataset.annotation_rules)
    chosen = np.random.default_rng(SEED).permutation(len(queries))[:count]
    return [queries[index] for index in chosen]


def write_store(path: Path, settings: RunSettings, queries: list[Query]) -> None:
    """Random normalised features: whole clips of each video's duration, a token per word and special token."""
    dataset, rng = settings.dataset, np.random.default_rng(SEED)
    widths = {stream.name: stream.width for stream in dataset.video_streams}
    videos = {query.vid: clip_count(query.duration, dataset.clip_length) for query in queries}
    text_width = dataset.text_stream.width
    with StoreWriter.create(path, widths, text_width, settings.features.dtype, {"features": "random"}) as writer:
        for vid, clips in videos.items():
            shape = min(clips, dataset.max_video_clips)
            writer.add_video(vid, {name: random_rows(shape, width, rng) for name, width in widths.items()})
        for query in queries:
            tokens = min(len(query.query.split()) + SPECIAL_TOKENS, dataset.max_text_tokens)
            writer.add_text(query.qid, random_rows(tokens, text_width, rng))


def random_rows(rows: int, width: int, rng: np.random.Generator) -> np.ndarray:
    return normalise_rows(rng.standard_normal((rows, width), np.float32))


def train(settings: RunSettings, split: Split, steps: int) -> dict[str, Any]:
    """Train as :mod:`sadetr.training.loop` does, without validation; returns the summary's figures."""
    streams = Streams(settings.seed)
    streams.seed_global("initialisation", 0)
    model = make_method(settings).train()
    counts = parameter_counts(model)
    report({"measured": "parameters", "total": sum(counts.values()), "per_part": counts})
    rates = settings.training
    optimiser = make_optimiser(model, rates)
    waits, seconds, losses = [], [], []
    started = time.perf_counter()
    for number, (batch, step) in enumerate(itertools.islice(batches(rates, split, streams, optimiser), steps), start=1):
        gathered = time.perf_counter()
        losses.append(update(model, batch, step, optimiser, rates.max_grad_norm))
        finished = time.perf_counter()
        waits.append(1000 * (gathered - started))
        seconds.append(finished - gathered)
        report({"measured": "step", "step": number, "loss": round(losses[-1], 4), "seconds": round(seconds[-1], 3)})
        started = finished
    return {
        "queries": len(split),
        "steps": len(losses),
        "median_step_s": round(statistics.median(seconds), 3),
        "min_step_s": round(min(seconds), 3),
        "gather_ms": gather_milliseconds(split, rates.batch_size),
        "wait_for_batch_ms": round(statistics.median(waits), 2),
        "first_loss": round(losses[0], 4),
        "last_loss": round(losses[-1], 4),
    }


def batches(
    training: TrainingSettings, split: Split, streams: Streams, optimiser: torch.optim.Optimizer
) -> Iterator[tuple[Batch, Step]]:
    """Batches of epoch after epoch, each epoch with its learning rate and random streams."""
    epochs = split.training_epochs(training.batch_size, streams)
    for epoch in itertools.count():
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(training, epoch)
        streams.seed_global("dropout", epoch)
        step = Step(epoch, training.epochs, streams.torch("method", epoch))
        for batch in epochs.epoch(epoch):
            yield batch, step


def update(model: Method, batch: Batch, step: Step, optimiser: torch.optim.Optimizer, max_grad_norm: float) -> float:
    """One step; returns the loss before it."""
    loss = torch.stack(list(model.objective(model(batch, step), batch).values())).sum()
    optimiser.zero_grad(set_to_none=True)
    loss.backward()
    torch.nn.utils.clip_grad_norm_(model.parameters(), max_grad_norm)
    optimiser.step()
    return loss.item()


def gather_milliseconds(split: Split, batch_size: int, repeats: int = 20) -> float:
    """Median time to gather a batch's features while nothing else runs."""
    rng, times = np.random.default_rng(SEED), []
    for _ in range(repeats):
        rows = rng.choice(len(split), min(batch_size, len(split)), replace=False)
        times.append(milliseconds(lambda rows=rows: next(split.features([rows]))))
    return round(statistics.median(times), 2)


if __name__ == "__main__":
    sys.exit(main())
