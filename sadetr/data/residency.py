"""Features that are on the device before training begins: batches are gathered where they are used."""

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from sadetr.data.feeding import INTEGER_BYTES, IntArray, Rows
from sadetr.data.store import FeatureStore
from sadetr.shapes import TEMPORAL_FEATURES

CHUNK_BYTES = 2**26
"""Of features that are on the host at a time, while they are brought to the device."""
ABSENT = -1
"""Start of a video or text that is not resident."""

Gather = Callable[..., tuple[NDArray[Any], IntArray]]


class Pool:
    """Videos or texts one behind the other on a device, and a row of zeros that stands for all padding."""

    def __init__(self, values: Tensor, starts: IntArray, lengths: IntArray) -> None:
        """Of ``values`` (N + 1, width) the last is the padding; ``starts`` and ``lengths`` are those of a store."""
        self.values = values
        self.starts = starts
        self.lengths = lengths

    def gather(self, starts: Tensor, lengths: Tensor, longest: int) -> tuple[Tensor, Tensor]:
        """(B, longest, width) and the mask (B, longest), from where the (B,) rows start and how long they are.

        Nothing is read back, and no shape depends on a value of the device.
        """
        places = torch.arange(longest, device=starts.device)
        mask = places < lengths[:, None]
        count, width = self.values.shape
        rows = (starts[:, None] + places).masked_fill(~mask, count - 1)
        return self.values.index_select(0, rows.flatten()).view(*rows.shape, width), mask


class Resident:
    """Batches gathered on the device from all features that the splits of a run need; see :meth:`load`."""

    mode = "resident"

    def __init__(self, videos: Pool, texts: Pool, spelled: Pool, letters: IntArray) -> None:
        """``spelled`` holds the characters of the texts, ``letters`` (texts,) those of the longest word of each."""
        self._videos = videos
        self._texts = texts
        self._spelled = spelled
        self._letters = letters

    @classmethod
    def load(cls, store: FeatureStore, rows: Sequence[Rows], device: torch.device) -> Self:
        """Bring the videos and texts of ``rows`` to ``device``, each once.

        A clip has its temporal endpoint features there, which depend on its video alone: they are the store's to the
        bit, in whatever precision it has.
        """
        videos, texts = _needed(rows)
        width = store.video_width + TEMPORAL_FEATURES
        clips = _loaded(store.gather_video, videos, store.video_lengths, (width, store.dtype), device)
        tokens = _loaded(store.gather_text, texts, store.text_lengths, (store.text_width, store.dtype), device)
        spelled, letters = _spelled(store, texts, tokens.starts, device)
        return cls(clips, tokens, spelled, letters)

    def batches(self, rows: Rows, parts: Sequence[IntArray]) -> Iterator[dict[str, Tensor]]:
        """See :class:`sadetr.data.feeding.Feeder`; on the device, in the precision of the store."""
        if not len(parts):
            return
        videos, texts = self._videos, self._texts
        ordered = rows.of(np.concatenate(parts))
        if (videos.starts[ordered.videos] == ABSENT).any() or (texts.starts[ordered.texts] == ABSENT).any():
            raise ValueError("a video or text of these queries is not on the device: load it with the others")
        # What shapes depend on is known on the host; all else crosses over once.
        table = np.stack(
            [
                *(ordered.videos, ordered.sources),
                *(videos.starts[ordered.videos], videos.lengths[ordered.videos]),
                *(texts.starts[ordered.texts], texts.lengths[ordered.texts]),
            ]
        )
        columns = torch.from_numpy(table).to(videos.values.device).split([len(part) for part in parts], dim=1)
        for part, each in zip(parts, columns, strict=True):
            video_rows, text_rows = rows.videos[part], rows.texts[part]
            longest = (videos.lengths[video_rows], texts.lengths[text_rows], self._letters[text_rows])
            yield self.gather(each, *(int(lengths.max()) for lengths in longest))

    def gather(self, columns: Tensor, clips: int, tokens: int, letters: int) -> dict[str, Tensor]:
        """A batch of so many clips, tokens and characters at most; ``columns`` (6, B) say where its features lie."""
        video_ids, sources, video_starts, video_lengths, text_starts, text_lengths = columns.unbind()
        video, video_mask = self._videos.gather(video_starts, video_lengths, clips)
        text, text_mask = self._texts.gather(text_starts, text_lengths, tokens)
        spelled, _ = self._spelled.gather(text_starts, text_lengths, tokens)
        return {
            "video": video,
            "video_mask": video_mask,
            "text": text,
            "text_mask": text_mask,
            "characters": spelled[..., :letters].contiguous(),
            "video_id": video_ids,
            "source_id": sources,
        }


def resident_bytes(store: FeatureStore, rows: Sequence[Rows]) -> int:
    """What :meth:`Resident.load` takes of the device's memory."""
    videos, texts = _needed(rows)
    clip = (store.video_width + TEMPORAL_FEATURES) * store.dtype.itemsize
    token = store.text_width * store.dtype.itemsize + store.longest_word * INTEGER_BYTES
    return int((store.video_lengths[videos].sum() + 1) * clip + (store.text_lengths[texts].sum() + 1) * token)


def _needed(rows: Sequence[Rows]) -> tuple[IntArray, IntArray]:
    """Videos and texts of all ``rows`` together, each once, as rows of the store in rising order."""
    videos, texts = [each.videos for each in rows], [each.texts for each in rows]
    return np.unique(np.concatenate(videos)), np.unique(np.concatenate(texts))


def _starts(rows: IntArray, lengths: IntArray) -> IntArray:
    """Where each row of a store starts if those named lie one behind the other."""
    starts = np.full(len(lengths), ABSENT, np.int64)
    ends = np.cumsum(lengths[rows])
    starts[rows] = ends - lengths[rows]
    return starts


def _loaded(
    gather: Gather, rows: IntArray, lengths: IntArray, stored: tuple[int, np.dtype[Any]], device: torch.device
) -> Pool:
    """The named rows of a store, whose values have a width and a type ``stored``, chunk by chunk."""
    width, dtype = stored
    values = torch.empty(int(lengths[rows].sum()) + 1, width, dtype=getattr(torch, dtype.name), device=device)
    values[-1] = 0
    whole = max(1, CHUNK_BYTES // (width * dtype.itemsize))
    starts = _starts(rows, lengths)
    for chunk in np.split(rows, np.flatnonzero(np.diff(starts[rows] // whole)) + 1):
        first = starts[chunk[0]]
        host = np.empty((int(lengths[chunk].sum()), width), dtype)
        for row in chunk:
            place = starts[row] - first
            gather([row], out=host[place : place + lengths[row]])
        values[first : first + len(host)] = torch.from_numpy(host).to(device)
    return Pool(values, starts, lengths)


def _spelled(store: FeatureStore, texts: IntArray, starts: IntArray, device: torch.device) -> tuple[Pool, IntArray]:
    """Characters of the texts, zeros behind those of a word, and how many the longest word of each text has."""
    tokens = int(store.text_lengths[texts].sum())
    values = np.zeros((tokens + 1, store.longest_word), np.int64)
    letters = np.zeros(len(store.text_lengths), np.int64)
    for text in texts if store.longest_word else ():
        (characters,) = store.gather_characters(np.array([text]))
        letters[text] = characters.shape[1]
        values[starts[text] : starts[text] + len(characters), : letters[text]] = characters
    return Pool(torch.from_numpy(values).to(device), starts, store.text_lengths), letters
