"""Gathering: rows of stored arrays side by side in one zero-padded float32 batch, as fast as memory allows."""

import functools
import os
import warnings
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import ArrayLike, NDArray

if TYPE_CHECKING:
    from torch import Tensor

TEMPORAL_FEATURES = 2
"""Columns appended to every clip: its start and end as a fraction of the video."""

THREADS = min(4, len(os.sched_getaffinity(0)))
"""Threads that fill a large batch: one core alone does not use all of the memory's speed."""

SMALL_BATCH = 1 << 20
"""Elements below which handing them to threads costs more than it saves."""

SERIAL_COPY = 1 << 15
"""Elements from which torch would spread a copy over its own threads."""

Batch = tuple[NDArray[np.float32], NDArray[np.int64]]


class StoredRows:
    """The rows of several samples, one sample after the other, in one or more arrays that belong side by side.

    Attributes:
        lengths: (samples,) rows of each.
        width: columns of all arrays together.
    """

    def __init__(self, arrays: Sequence[NDArray], offsets: NDArray[np.int64]) -> None:
        """``arrays`` are (rows, width) each; sample i owns the rows offsets[i]:offsets[i + 1] of all of them."""
        self._columns = [_Columns(array) for array in arrays]
        # The offsets are small: in memory they cost no page fault per batch.
        self._offsets = np.array(offsets)
        self.lengths = np.diff(self._offsets)
        self.width = sum(array.shape[1] for array in arrays)

    def gather(self, samples: ArrayLike, out: NDArray[np.float32] | None, temporal: bool = False) -> Batch:
        """(B, L, width) of ``samples``, zero-padded, and their lengths (B,).

        ``out`` is memory to write into, if given; ``temporal`` appends the temporal endpoint features.
        """
        samples = np.asarray(samples, dtype=np.int64)
        starts, lengths = self._offsets[samples], self.lengths[samples]
        shape = (len(samples), int(lengths.max()), self.width + (TEMPORAL_FEATURES if temporal else 0))
        memory = np.empty(np.prod(shape), dtype=np.float32) if out is None else out.reshape(-1)
        batch = memory[: np.prod(shape)].reshape(shape)

        def fill(part: range) -> None:
            for place in part:
                self._fill(batch[place], starts[place], lengths[place], temporal)

        if batch.size < SMALL_BATCH or THREADS == 1:
            fill(range(len(samples)))
        else:
            # What is made only once is made with the first sample, by one thread.
            fill(range(1))
            rest = (range(1 + part, len(samples), THREADS) for part in range(THREADS))
            # A list: errors are raised when results are asked for.
            list(_threads().map(fill, rest))
        return batch, lengths

    def _fill(self, features: NDArray[np.float32], start: np.int64, length: np.int64, temporal: bool) -> None:
        column = 0
        for columns in self._columns:
            columns.copy(start, features[:length, column : column + columns.width])
            column += columns.width
        if temporal:
            bounds = np.arange(length + 1, dtype=np.float32) / np.float32(length)
            features[:length, -2] = bounds[:-1]
            features[:length, -1] = bounds[1:]
        features[length:] = 0


class _Columns:
    """One stored array (rows, width), copied from as float32."""

    def __init__(self, array: NDArray) -> None:
        self.width = array.shape[1]
        self._array = array

    def copy(self, start: np.int64, target: NDArray[np.float32]) -> None:
        """Fill ``target`` (n, width) with the rows from ``start`` on."""
        if self._array.dtype == np.float16:
            self._convert(start, target)
        else:
            np.copyto(target, self._array[start : start + len(target)])

    def _convert(self, start: np.int64, target: NDArray[np.float32]) -> None:
        import torch

        source, converted = self._halves[start : start + len(target)], torch.from_numpy(target)
        if torch.get_num_threads() == 1:
            converted.copy_(source)
            return
        # In pieces that torch copies without threads of its own: those are busy with the training beside.
        rows = max(1, (SERIAL_COPY - 1) // self.width)
        for piece, values in zip(converted.split(rows), source.split(rows), strict=True):
            piece.copy_(values)

    @functools.cached_property
    def _halves(self) -> "Tensor":
        # numpy converts halves one by one, five times slower than torch, which is imported with the first batch only:
        # whoever looks at lengths and names can do without.
        import torch

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "The given NumPy array is not writable")
            return torch.from_numpy(self._array)


@functools.cache
def _threads() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(THREADS, thread_name_prefix="gather")
