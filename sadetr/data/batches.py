"""Batches: features gathered from the store and labels, as tensors."""

import copy
from collections.abc import Iterator, Sequence

import numpy as np
import torch
from torch import Tensor

from sadetr.data.annotations import Query
from sadetr.data.feeding import Feeder, Mapped, Rows
from sadetr.data.labels import Labels
from sadetr.data.store import FeatureStore
from sadetr.models.interface import Batch
from sadetr.randomness import Streams
from sadetr.settings import DatasetSettings

CPU = torch.device("cpu")


class Split:
    """The queries of one split with their rows in the store."""

    def __init__(self, queries: Sequence[Query], store: FeatureStore, dataset: DatasetSettings) -> None:
        """Look every name up once.

        Raises:
            StoreError: a video or query is not in the store.
        """
        self.queries = queries
        self.dataset = dataset
        videos = store.video_rows(query.vid for query in queries)
        self.lengths = store.video_lengths[videos]
        sources = [dataset.source_of(query.vid) for query in queries]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(sources))}
        originals = np.array([numbers[name] for name in sources], dtype=np.int64)
        self.rows = Rows(videos, store.text_rows(query.qid for query in queries), originals)
        self._feeder: Feeder = Mapped(store)

    def __len__(self) -> int:
        return len(self.queries)

    def fed_by(self, feeder: Feeder) -> "Split":
        """The same queries with the same features, brought by ``feeder``; until then by the memory map."""
        split = copy.copy(self)
        split._feeder = feeder
        return split

    @property
    def features_mode(self) -> str:
        """Where features lie, as ``execution.features`` calls it."""
        return self._feeder.mode

    def features(self, parts: Sequence[np.ndarray]) -> Iterator[dict[str, Tensor]]:
        """Features, characters, masks and ids of videos and originals of each batch; ``parts`` are its queries (B,)."""
        return self._feeder.batches(self.rows, parts)

    def training_epochs(
        self, batch_size: int, streams: Streams, bucket_batches: int = 1, device: torch.device = CPU
    ) -> "TrainingEpochs":
        """Shuffled batches with labels on ``device``; see :func:`bucketed` for ``bucket_batches``."""
        return TrainingEpochs(self, batch_size, streams, bucket_batches, device)

    def by_length(self) -> np.ndarray:
        """All rows, the shortest video first: the order of prediction with the least padding."""
        return np.argsort(self.lengths, kind="stable")

    def prediction_batches(self, batch_size: int, order: np.ndarray | None = None) -> Iterator[Batch]:
        """Batches of the rows ``order`` (default: file order) without labels: prediction must not need any."""
        order = np.arange(len(self)) if order is None else order
        for features in self.features(
            [order[start : start + batch_size] for start in range(0, len(order), batch_size)]
        ):
            yield Batch(**features, **_no_labels(features["video_mask"]))


class TrainingEpochs:
    """The batches of each epoch; features of the next ones are gathered while a step runs.

    Labels are tensors on the training's device, where each batch takes its rows: they cross over once per epoch.
    """

    def __init__(
        self, split: Split, batch_size: int, streams: Streams, bucket_batches: int, device: torch.device
    ) -> None:
        self._split = split
        self._batch_size = batch_size
        self._bucket_batches = bucket_batches
        self._streams = streams
        self._labels = Labels(split.queries, split.lengths, split.dataset)
        self._device = device
        self._clip_labels = self._moved({"saliency": self._labels.saliency, "relevant": self._labels.relevant})

    def epoch(self, number: int) -> Iterator[Batch]:
        """Batches of epoch ``number``; one may be smaller."""
        draws = self._labels.draw(lambda consumer: self._streams.numpy(consumer, number))
        order = self._streams.numpy("order", number).permutation(len(self._split))
        shuffle = self._streams.numpy("buckets", number)
        parts = bucketed(order, self._split.lengths, self._batch_size, self._bucket_batches, shuffle)
        # What shapes depend on is known on the host; the rest stays where it is used.
        windows = [int(draws.spans_mask[part].sum(1).max()) for part in parts]
        labels = self._clip_labels | self._moved(vars(draws))
        rows = self._moved({"rows": np.concatenate(parts)})["rows"].split([len(part) for part in parts])
        for features, *of_batch in zip(self._split.features(parts), rows, windows, strict=True):
            yield Batch(**features, **_labels_of(labels, *of_batch, features["video"].shape[1]))

    def _moved(self, arrays: dict[str, np.ndarray]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(array).to(self._device) for name, array in arrays.items()}


def _labels_of(labels: dict[str, Tensor], rows: Tensor, windows: int, clips: int) -> dict[str, Tensor]:
    """Labels of the ``rows`` of a split, of as many windows and clips as their batch has."""
    lengths = {"spans": windows, "spans_mask": windows, "saliency": clips, "relevant": clips}
    found = {name: values.index_select(0, rows) for name, values in labels.items()}
    return found | {name: found[name][:, :length].contiguous() for name, length in lengths.items()}


def bucketed(
    order: np.ndarray, lengths: np.ndarray, batch_size: int, bucket_batches: int, rng: np.random.Generator
) -> list[np.ndarray]:
    """Split shuffled rows into batches of videos of similar length.

    Runs of ``bucket_batches`` batches are sorted by length and cut into batches, which are shuffled within their run.
    A batch keeps the order that its rows had in ``order``: neighbours, whose texts are exchanged for negative pairs,
    stay strangers. With 1 this is ``order`` cut into batches.

    Args:
        order: (Q,) a permutation of the rows.
        lengths: (Q,) clips of each row's video.
        batch_size: rows per batch; one batch may be smaller.
        bucket_batches: batches per run.
        rng: shuffles the batches of a run.
    """
    parts: list[np.ndarray] = []
    for start in range(0, len(order), batch_size * bucket_batches):
        run = order[start : start + batch_size * bucket_batches]
        places = np.argsort(lengths[run], kind="stable")
        cut = [np.sort(places[first : first + batch_size]) for first in range(0, len(run), batch_size)]
        parts += [run[cut[index]] for index in rng.permutation(len(cut))]
    return parts


def _no_labels(clips: Tensor) -> dict[str, Tensor]:
    """Labels of nothing, for a batch with this (B, L) mask of clips."""
    batch = len(clips)
    windows, pairs = clips.new_zeros(batch, 0), clips.new_zeros(batch, 0, dtype=torch.int64)
    return {
        "spans": clips.new_zeros(batch, 0, 2, dtype=torch.float32),
        "spans_mask": windows,
        "saliency": torch.zeros_like(clips, dtype=torch.float32),
        "relevant": torch.zeros_like(clips),
        "positive_clips": pairs,
        "negative_clips": pairs,
        "aligned_clip": clips.new_zeros(batch, dtype=torch.int64),
    }
