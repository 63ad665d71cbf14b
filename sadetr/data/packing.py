"""What ends up in a setting's feature store, wherever its features come from: rows, tokens, a record of the source."""

import hashlib
import sys
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray
from rich.console import Console
from rich.progress import track

from sadetr.data.characters import Characters
from sadetr.data.query import Query
from sadetr.data.store import StoreWriter
from sadetr.settings import DatasetSettings, FeatureSettings

NORM_EPSILON = 1e-5
"""Added to the norm, not under the root, as in the field's loaders: an all-zero row stays zero."""

_Item = TypeVar("_Item")


def normalise_rows(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Each row divided by (its l2 norm + 1e-5), (n, width) float32."""
    norms = np.sqrt(np.einsum("nw,nw->n", rows, rows))
    return rows / (norms[:, None] + np.float32(NORM_EPSILON))


def averaged(rows: NDArray[np.float32], most: int | None) -> NDArray[np.float32]:
    """Means over ``most`` equal shares of the rows, borders rounded to whole ones; no more rows stay as they are.

    As in VSLNet (26hzhang/VSLNet), whose last share leaves out the last row; here it does not.
    """
    if most is None or len(rows) <= most:
        return rows
    # Halves upwards, in whole numbers: every share has a row.
    borders = (2 * len(rows) * np.arange(most + 1) + most) // (2 * most)
    return np.add.reduceat(rows, borders[:-1]) / np.diff(borders)[:, None].astype(np.float32)


def create_store(
    out: Path, dataset: DatasetSettings, features: FeatureSettings, origin: dict, characters: Characters | None
) -> AbstractContextManager[StoreWriter]:
    """A feature store for the streams of ``dataset``; see :meth:`StoreWriter.create` for ``out`` and ``origin``.

    Raises:
        ResultsError: ``out`` cannot be written.
    """
    streams = {stream.name: stream.width for stream in dataset.video_streams}
    width, longest = dataset.text_stream.width, None
    if characters is not None:
        origin, longest = origin | {"characters": characters.known}, characters.longest
    return StoreWriter.create(out, streams, width, features.dtype, origin, longest)


def add_query(
    writer: StoreWriter,
    dataset: DatasetSettings,
    query: Query,
    tokens: NDArray[np.float32],
    characters: Characters | None,
) -> None:
    """Write what the store holds of a query's text: its first ``max_text_tokens`` tokens, and their characters."""
    kept = slice(dataset.max_text_tokens)
    spelled = None if characters is None else characters.numbers(query)[kept]
    writer.add_text(query.qid, tokens[kept], spelled)


def describe_source(dataset: DatasetSettings, annotations: dict[str, Path], fingerprint: str) -> dict:
    """What the manifest says about the source; no paths outside the data root, so that stores can be compared."""
    return {
        "preparation": fingerprint,
        "setting": dataset.name,
        "clip_length": dataset.clip_length,
        "max_video_clips": dataset.max_video_clips,
        "max_text_tokens": dataset.max_text_tokens,
        **({} if dataset.max_positions is None else {"max_positions": dataset.max_positions}),
        "video_sources": [stream.model_dump() for stream in dataset.video_streams],
        "text_source": dataset.text_stream.model_dump(),
        "annotations": {
            split: {"file": file.name, "sha256": hashlib.sha256(file.read_bytes()).hexdigest()}
            for split, file in annotations.items()
        },
    }


def with_progress(items: Sequence[_Item], noun: str) -> Iterator[_Item]:
    """Iterate with a progress bar on a terminal, with a line per tenth in a log; both on standard error."""
    console = Console(stderr=True)
    if console.is_terminal:
        yield from track(items, description=f"packing {noun}", console=console)
        return
    step = max(1, -(-len(items) // 10))
    for done, item in enumerate(items, start=1):
        yield item
        if done % step == 0 or done == len(items):
            print(f"packing {noun}: {done} of {len(items)}", file=sys.stderr, flush=True)
