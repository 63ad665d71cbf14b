"""Time batches from a feature store beside the field's way, npz files per query. Prints lines of JSON.

    python benchmarks/feature_store.py [--store results/simulated/features/qvhighlights]

Without ``--store``, random features are written to a temporary store first. The features of ``--queries`` queries are
also written as the official files (float32: one npz per stream and video, one per query), 0.9 MB each for QVHighlights.
Then both loaders make the same random batches, in turns, with all files in the page cache, and the batches of both are
compared. A batch from a store of halves is made of halves, which training converts on its device; ``store, single`` is
the time with that conversion, by the processor.
"""

import argparse
import statistics
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from measuring import milliseconds, report, spread
from numpy.typing import NDArray
from torch import Tensor

from sadetr.data.preparation import normalise_rows
from sadetr.data.store import FeatureStore, StoreWriter
from sadetr.errors import SadetrError

Batch = tuple[Tensor, Tensor, Tensor, Tensor]
"""Video (B, L, width + 2), its mask, text (B, T, width), its mask."""

NPZ = "npz per query"

TURN = 10
"""Batches that one loader makes before the other has its turn."""

TOLERANCE = 1e-3
"""Largest difference between the loaders: the one normalises rows again that were stored in half precision."""


def main() -> int:
    arguments = parse_arguments()
    torch.set_num_threads(arguments.threads)
    sizes = f"--queries {arguments.queries} --threads {arguments.threads}"
    command = f"python benchmarks/feature_store.py --store DIR {sizes}" if arguments.store else None
    try:
        with tempfile.TemporaryDirectory(prefix="feature_store_", dir=arguments.folder) as folder:
            path = arguments.store or write_random_store(Path(folder) / "store", arguments)
            report({"measured": "open", **opening(path)}, command=command)
            store = FeatureStore.open(path)
            sample = Sample(store, arguments.queries, Path(folder))
            times = time_loaders(sample, arguments.batch, arguments.batches)
    except SadetrError as error:
        print(error, file=sys.stderr)
        return 1
    for loader, values in times.items():
        counts = {"batch": arguments.batch, "batches": len(values)}
        report({"measured": "batch", "loader": loader, **spread(values), **counts}, command=command)
    npz = times.pop(NPZ)
    line = {
        "measured": "speed_up",
        "of_medians": {name: round(statistics.median(npz) / statistics.median(own), 1) for name, own in times.items()},
        "of_minima": {name: round(min(npz) / min(own), 1) for name, own in times.items()},
        "queries": arguments.queries,
        "stored_as": store.manifest["files"]["text.npy"]["dtype"],
    }
    report(line, command=command)
    return 0


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--store", type=Path, help="a prepared store; default: random features of QVHighlights' shape")
    parser.add_argument("--queries", type=int, default=256, help="queries also written as npz files")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--batches", type=int, default=40, help="timed batches per loader")
    parser.add_argument("--threads", type=int, default=1, help="torch's threads; the npz loader uses one")
    parser.add_argument("--clips", type=int, default=75, help="of the random features")
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float32", help="of the random store")
    parser.add_argument("--folder", help="where the temporary folder is made")
    return parser.parse_args()


def write_random_store(path: Path, arguments: argparse.Namespace) -> Path:
    """A video and a text of 12 tokens for every query."""
    rng, widths = np.random.default_rng(0), {"slowfast": 2304, "clip": 512}
    with StoreWriter.create(path, widths, 512, arguments.dtype, {"features": "random"}) as writer:
        for video in range(arguments.queries):
            rows = {name: rng.random((arguments.clips, width), dtype=np.float32) for name, width in widths.items()}
            writer.add_video(f"video{video}_0.0_150.0", {name: normalise_rows(each) for name, each in rows.items()})
            writer.add_text(video, normalise_rows(rng.random((12, 512), dtype=np.float32)))
    return path


def opening(path: Path) -> dict[str, Any]:
    """Milliseconds to open the store, and its size."""
    times = [milliseconds(lambda: FeatureStore.open(path)) for _ in range(9)]
    store = FeatureStore.open(path)
    return {
        **spread(times),
        "max_ms": round(max(times), 2),
        "videos": len(store.video_names),
        "clips": int(store.video_lengths.sum()),
        "queries": len(store.text_names),
        "bytes": sum(file.stat().st_size for file in path.iterdir()),
    }


class Sample:
    """Some of a store's queries, and the same features as one npz file per query, and per video and stream."""

    def __init__(self, store: FeatureStore, queries: int, folder: Path) -> None:
        rng = np.random.default_rng(0)
        self.size = min(queries, len(store.video_names), len(store.text_names))
        self._store, self._folder = store, folder
        # Any video will do for a query: what is read is as much.
        self._videos = rng.permutation(len(store.video_names))[: self.size]
        self._texts = rng.permutation(len(store.text_names))[: self.size]
        widths = [store.manifest["files"][f"video_{name}.npy"]["shape"][1] for name in store.manifest["video_streams"]]
        self._streams = list(zip(store.manifest["video_streams"], np.cumsum([0, *widths]), widths, strict=False))
        for name in (*store.manifest["video_streams"], "text"):
            (folder / name).mkdir()
        for query in range(self.size):
            (clips,), _ = store.gather_video(self._videos[[query]])
            for name, first, width in self._streams:
                np.savez(folder / name / f"{query}.npz", features=clips[:, first : first + width].astype(np.float32))
            (tokens,), _ = store.gather_text(self._texts[[query]])
            tokens = tokens.astype(np.float32)
            np.savez(folder / "text" / f"{query}.npz", last_hidden_state=tokens, pooler_output=tokens[-1])

    def from_store(self, rows: NDArray[np.int64]) -> Batch:
        """A batch as :mod:`sadetr.data.batches` makes it."""
        video, clips = self._store.gather_video(self._videos[rows])
        text, tokens = self._store.gather_text(self._texts[rows])
        video_mask, text_mask = np.arange(video.shape[1]) < clips[:, None], np.arange(text.shape[1]) < tokens[:, None]
        return tuple(torch.from_numpy(part) for part in (video, video_mask, text, text_mask))

    def in_single(self, rows: NDArray[np.int64]) -> Batch:
        """A batch of :meth:`from_store` with features converted to single precision."""
        video, video_mask, text, text_mask = self.from_store(rows)
        return video.float(), video_mask, text.float(), text_mask

    def from_npz(self, rows: NDArray[np.int64]) -> Batch:
        """A batch made query by query, in single precision: read, normalise, concatenate, add the endpoints, pad."""
        videos, texts = [], []
        for row in rows:
            streams = [self._read(name, row, "features") for name, _, _ in self._streams]
            shortest = min(map(len, streams))
            steps = np.arange(shortest + 1, dtype=np.float32)[:, None] / shortest
            videos.append(np.concatenate([*(rows[:shortest] for rows in streams), steps[:-1], steps[1:]], axis=1))
            texts.append(self._read("text", row, "last_hidden_state"))
        return *pad(videos), *pad(texts)

    def _read(self, folder: str, row: int, key: str) -> NDArray[np.float32]:
        with np.load(self._folder / folder / f"{row}.npz", allow_pickle=False) as archive:
            return normalise_rows(archive[key].astype(np.float32))


def pad(samples: list[NDArray[np.float32]]) -> tuple[Tensor, Tensor]:
    """(B, longest, width) zero-padded, and (B, longest) bool."""
    longest = max(map(len, samples))
    batch = torch.zeros(len(samples), longest, samples[0].shape[1])
    mask = torch.zeros(len(samples), longest, dtype=torch.bool)
    for row, sample in enumerate(samples):
        batch[row, : len(sample)] = torch.from_numpy(sample)
        mask[row, : len(sample)] = True
    return batch, mask


def time_loaders(sample: Sample, size: int, count: int) -> dict[str, list[float]]:
    """Loader -> milliseconds per batch. They take turns, so that what else the machine does meets both."""
    loaders = {"store": sample.from_store, "store, single": sample.in_single, NPZ: sample.from_npz}
    for first in range(0, sample.size, size):
        rows = np.arange(first, min(first + size, sample.size))
        for stored, single, loaded in zip(*(load(rows) for load in loaders.values()), strict=True):
            torch.testing.assert_close(single, loaded, rtol=0, atol=TOLERANCE)
            torch.testing.assert_close(stored.to(single.dtype), single, rtol=0, atol=0)
    rng = np.random.default_rng(1)
    times: dict[str, list[float]] = {name: [] for name in loaders}
    for _ in range(0, count, TURN):
        batches = [rng.choice(sample.size, size) for _ in range(TURN)]
        for name, load in loaders.items():
            times[name] += [milliseconds(partial(load, rows)) for rows in batches]
    return times


if __name__ == "__main__":
    sys.exit(main())
