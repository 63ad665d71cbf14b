"""Where the features of batches come from: gathered on the host, and there or on the way to the device.

Every feeder gives the same bits; :mod:`sadetr.data.residency` has the one whose features are on the device already.
"""

import itertools
import math
import threading
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import ClassVar, Protocol, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadetr.data.store import FeatureStore
from sadetr.shapes import TEMPORAL_FEATURES

IntArray = NDArray[np.int64]
Item, Made = TypeVar("Item"), TypeVar("Made")
ALIGNMENT = 16
"""Bytes to whose multiples arrays are moved in memory that they share: what vector instructions want."""
INTEGER_BYTES = 8
BESIDE = ("video_mask", "text_mask", "characters", "video_id", "source_id")
"""What a batch has beside the features of videos and texts."""


@dataclass(frozen=True)
class Rows:
    """Which features queries have."""

    videos: IntArray
    """(Q,) rows of the store, equal where queries share a video."""
    texts: IntArray
    """(Q,) rows of the store."""
    sources: IntArray
    """(Q,) equal where the videos of queries were cut from one original."""

    def of(self, places: IntArray) -> "Rows":
        """Those of the queries at ``places``."""
        return Rows(self.videos[places], self.texts[places], self.sources[places])


class Feeder(Protocol):
    """Gives the features of batches."""

    mode: ClassVar[str]
    """As ``execution.features`` calls it."""

    def batches(self, rows: Rows, parts: Sequence[IntArray]) -> Iterator[dict[str, Tensor]]:
        """Features, characters, masks and ids of videos and originals, batch after batch.

        Args:
            rows: of all queries of a split.
            parts: the queries of each batch, as places in ``rows``.
        """
        ...


class Mapped:
    """Batches gathered from the memory map, in a thread beside the step."""

    mode = "mapped"

    def __init__(self, store: FeatureStore) -> None:
        self._store = store

    def batches(self, rows: Rows, parts: Sequence[IntArray]) -> Iterator[dict[str, Tensor]]:
        """See :class:`Feeder`; on the host, in the precision of the store."""
        return prefetched(lambda part: self.gather(rows.of(part)), parts)

    def gather(self, rows: Rows) -> dict[str, Tensor]:
        """The batch of ``rows``."""
        video, video_lengths = self._store.gather_video(rows.videos)
        text, text_lengths = self._store.gather_text(rows.texts)
        arrays = {"video": video, "text": text, **_beside(self._store, rows, video_lengths, text_lengths)}
        return {name: torch.from_numpy(array) for name, array in arrays.items()}


class Copied(Protocol):
    """When a copy is done: what is used of ``torch.cuda.Event``."""

    def synchronize(self) -> None:
        """Let the host wait for it."""
        ...


class Link:
    """Copies to a GPU on a stream of their own, beside what it computes."""

    def __init__(self, device: torch.device) -> None:
        self._device = device
        self._stream = torch.cuda.Stream(device)

    def memory(self, size: int) -> Tensor:
        """(size,) uint8 on the host, from which copies need no help of the processor.

        Raises:
            RuntimeError: the system gives no such memory.
        """
        return torch.empty(size, dtype=torch.uint8, pin_memory=True)

    def send(self, host: Tensor) -> tuple[Tensor, Copied]:
        """Begin to copy, and say when it is done; ``host`` stays as it is until then."""
        with torch.cuda.stream(self._stream):
            sent = host.to(self._device, non_blocking=True)
            return sent, self._stream.record_event()

    def receive(self, sent: Tensor, copied: Copied) -> Tensor:
        """``sent`` for the stream that the caller computes on, which waits for it where the host does not."""
        stream = torch.cuda.current_stream(self._device)
        stream.wait_event(copied)
        # Its memory is of the copying stream, which must not give it away before this one is done with it.
        sent.record_stream(stream)
        return sent


@dataclass
class _Slot:
    """Memory that batches are sent from, one after the other."""

    memory: Tensor
    copied: Copied | None = None
    """Of the last batch."""
    lock: threading.Lock = field(default_factory=threading.Lock)


@dataclass(frozen=True)
class _Field:
    """A tensor of a batch in the memory that the whole batch shares."""

    start: int
    shape: tuple[int, ...]
    dtype: torch.dtype

    def of(self, memory: Tensor) -> Tensor:
        size = math.prod(self.shape) * self.dtype.itemsize
        return memory[self.start : self.start + size].view(self.dtype).view(self.shape)


@dataclass(frozen=True)
class _Sent:
    """A batch on its way."""

    memory: Tensor
    copied: Copied
    fields: dict[str, _Field]


class Pinned:
    """Batches gathered from the memory map into pinned memory, in threads, and copied while steps are computed."""

    mode = "pinned"
    ahead = 2
    """Batches that are gathered and sent before they are asked for."""

    def __init__(self, store: FeatureStore, largest: int, link: Link) -> None:
        """Reserve memory for batches of up to ``largest`` bytes, see :func:`batch_bytes`; larger ones take more.

        Raises:
            RuntimeError: the system gives no pinned memory of this size.
        """
        self._store = store
        self._link = link
        # One more, so that a thread need not wait for the copy of the batch before.
        self._slots = itertools.cycle([_Slot(link.memory(largest)) for _ in range(self.ahead + 1)])

    def batches(self, rows: Rows, parts: Sequence[IntArray]) -> Iterator[dict[str, Tensor]]:
        """See :class:`Feeder`; on the device, in the precision of the store."""
        for sent in prefetched(lambda part: self.gather(rows.of(part)), parts, self.ahead):
            memory = self._link.receive(sent.memory, sent.copied)
            yield {name: each.of(memory) for name, each in sent.fields.items()}

    def gather(self, rows: Rows) -> _Sent:
        """The batch of ``rows``, on its way to the device in one piece."""
        slot = next(self._slots)
        with slot.lock:
            # The copy may still read what was gathered here before.
            if slot.copied is not None:
                slot.copied.synchronize()
            needed = batch_bytes(self._store, rows, len(rows.videos))
            if needed > len(slot.memory):
                slot.memory = self._link.memory(needed)
            fields, used = _packed(self._store, rows, slot.memory.numpy())
            memory, slot.copied = self._link.send(slot.memory[:used])
            return _Sent(memory, slot.copied, fields)


def batch_bytes(store: FeatureStore, rows: Rows, size: int) -> int:
    """Most bytes that a batch of ``size`` of these queries takes."""
    clips, tokens = int(store.video_lengths[rows.videos].max()), int(store.text_lengths[rows.texts].max())
    # With a byte of a mask.
    clip = (store.video_width + TEMPORAL_FEATURES) * store.dtype.itemsize + 1
    token = store.text_width * store.dtype.itemsize + 1 + store.longest_word * INTEGER_BYTES
    gaps = ALIGNMENT * (2 + len(BESIDE))
    return _aligned(size * (clips * clip + tokens * token + 2 * INTEGER_BYTES) + gaps)


def prefetched(make: Callable[[Item], Made], items: Sequence[Item], ahead: int = 1) -> Iterator[Made]:
    """What is made of the items, in their order; ``ahead`` of them are made in threads while the caller has one."""
    waiting = iter(items)
    with ThreadPoolExecutor(ahead, thread_name_prefix="gather") as executor:
        pending = deque(executor.submit(make, item) for item in itertools.islice(waiting, ahead))
        while pending:
            made = pending.popleft().result()
            pending.extend(executor.submit(make, item) for item in itertools.islice(waiting, 1))
            yield made


def _beside(store: FeatureStore, rows: Rows, clips: IntArray, tokens: IntArray) -> dict[str, NDArray]:
    """These arrays, of videos with (B,) ``clips`` and texts with (B,) ``tokens``."""
    masks = [np.arange(lengths.max()) < lengths[:, None] for lengths in (clips, tokens)]
    return dict(zip(BESIDE, [*masks, store.gather_characters(rows.texts), rows.videos, rows.sources], strict=True))


def _packed(store: FeatureStore, rows: Rows, memory: NDArray[np.uint8]) -> tuple[dict[str, _Field], int]:
    """Gather a batch into ``memory``; where its arrays lie there, and how many bytes they take."""
    video, video_lengths = store.gather_video(rows.videos, out=memory.view(store.dtype))
    start = _aligned(video.nbytes)
    text, text_lengths = store.gather_text(rows.texts, out=memory[start:].view(store.dtype))
    fields = {"video": _field(0, video), "text": _field(start, text)}
    used = start + text.nbytes
    for name, array in _beside(store, rows, video_lengths, text_lengths).items():
        start = _aligned(used)
        used = start + array.nbytes
        np.copyto(memory[start:used].view(array.dtype).reshape(array.shape), array)
        fields[name] = _field(start, array)
    return fields, used


def _field(start: int, array: NDArray) -> _Field:
    return _Field(start, array.shape, getattr(torch, array.dtype.name))


def _aligned(size: int) -> int:
    return -(-size // ALIGNMENT) * ALIGNMENT
