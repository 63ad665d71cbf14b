"""Time batch gathering from a feature store, beside reading one npz per video and stream. Prints one line of JSON.

Random features of the given size are written to a temporary folder and removed afterwards::

    python benchmarks/feature_store.py --videos 128
"""

import argparse
import json
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data.preparation import normalise_rows
from sadetr.data.store import FeatureStore, StoreWriter

REPEATS = 30


def main() -> None:
    arguments = parse_arguments()
    widths = {f"stream{number}": width for number, width in enumerate(arguments.widths)}
    with tempfile.TemporaryDirectory(prefix="feature_store_", dir=arguments.folder) as folder:
        store_path, npz_path = Path(folder) / "store", Path(folder) / "npz"
        npz_path.mkdir()
        packing = milliseconds(lambda: write(arguments, widths, store_path, npz_path))
        opening = statistics.median(milliseconds(lambda: FeatureStore.open(store_path)) for _ in range(5))
        store = FeatureStore.open(store_path)
        rng = np.random.default_rng(0)
        batches = [rng.integers(arguments.videos, size=arguments.batch) for _ in range(REPEATS)]
        memory = np.empty(arguments.batch * arguments.clips * (store.video_width + 2), dtype=np.float32)
        store.gather_video(np.arange(arguments.videos)[: arguments.batch])
        result = {
            **{name: value for name, value in vars(arguments).items() if name != "folder"},
            "write_both_s": round(packing / 1000, 2),
            "open_ms": opening,
            "gather_ms": per_batch(batches, store.gather_video),
            "gather_into_given_memory_ms": per_batch(batches, lambda rows: store.gather_video(rows, out=memory)),
            "npz_per_video_ms": per_batch(batches, lambda rows: gather_npz(arguments, widths, npz_path, rows)),
        }
    print(json.dumps({key: round(value, 2) if isinstance(value, float) else value for key, value in result.items()}))


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--videos", type=int, default=128, help="videos in the store (QVHighlights: 10148)")
    parser.add_argument("--npz", type=int, default=64, help="videos also written as npz, cycled through")
    parser.add_argument("--clips", type=int, default=75)
    parser.add_argument("--widths", type=int, nargs="+", default=[2304, 512], help="channels per stream")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--dtype", choices=["float16", "float32"], default="float32")
    parser.add_argument("--folder", help="where the temporary folder is made")
    return parser.parse_args()


def write(arguments: argparse.Namespace, widths: dict[str, int], store_path: Path, npz_path: Path) -> None:
    rng = np.random.default_rng(0)
    with StoreWriter.create(store_path, widths, 8, arguments.dtype, {}) as writer:
        for video in range(arguments.videos):
            streams = {name: rng.random((arguments.clips, width), dtype=np.float32) for name, width in widths.items()}
            writer.add_video(f"video{video}_0.0_150.0", streams)
            if video < arguments.npz:
                for name, features in streams.items():
                    np.savez(npz_path / f"{name}_{video}.npz", features=features)
        for query in range(arguments.videos):
            writer.add_text(query, rng.random((1, 8), dtype=np.float32))


def gather_npz(arguments: argparse.Namespace, widths: dict[str, int], folder: Path, rows: NDArray) -> NDArray:
    """The same batch as the field's loaders make it: read, normalise and concatenate per video, then stack."""
    samples = []
    for row in rows % min(arguments.npz, arguments.videos):
        streams = [np.load(folder / f"{name}_{row}.npz")["features"].astype(np.float32) for name in widths]
        steps = np.arange(arguments.clips + 1, dtype=np.float32)[:, None] / arguments.clips
        samples.append(np.concatenate([*map(normalise_rows, streams), steps[:-1], steps[1:]], axis=1))
    return np.stack(samples)


def per_batch(batches: list[NDArray], gather: Callable[[NDArray], object]) -> float:
    """Median milliseconds, after one warming pass."""
    for rows in batches:
        gather(rows)
    return statistics.median(milliseconds(lambda rows=rows: gather(rows)) for rows in batches)


def milliseconds(function: Callable[[], object]) -> float:
    start = time.perf_counter()
    function()
    return 1000 * (time.perf_counter() - start)


if __name__ == "__main__":
    main()
