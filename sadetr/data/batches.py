"""Batches: features gathered from the store and labels, as tensors."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from sadetr.data.annotations import Query
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
        self._store = store
        self._video_rows = store.video_rows(query.vid for query in queries)
        self.lengths = store.video_lengths[self._video_rows]
        self._text_rows = store.text_rows(query.qid for query in queries)
        sources = [dataset.source_of(query.vid) for query in queries]
        numbers = {name: number for number, name in enumerate(dict.fromkeys(sources))}
        self._sources = np.array([numbers[name] for name in sources], dtype=np.int64)

    def __len__(self) -> int:
        return len(self.queries)

    def features(self, rows: np.ndarray) -> dict[str, Tensor]:
        """Features, characters, masks and ids of videos and originals of the queries ``rows`` (B,)."""
        video, video_lengths = self._store.gather_video(self._video_rows[rows])
        text, text_lengths = self._store.gather_text(self._text_rows[rows])
        return {
            "video": torch.from_numpy(video),
            "video_mask": _valid(video_lengths, video.shape[1]),
            "text": torch.from_numpy(text),
            "text_mask": _valid(text_lengths, text.shape[1]),
            "characters": torch.from_numpy(self._store.gather_characters(self._text_rows[rows])),
            "video_id": torch.from_numpy(self._video_rows[rows]),
            "source_id": torch.from_numpy(self._sources[rows]),
        }

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
        for start in range(0, len(order), batch_size):
            rows = order[start : start + batch_size]
            features = self.features(rows)
            yield Batch(**features, **_no_labels(len(rows), features["video"].shape[1]))


class TrainingEpochs:
    """The batches of each epoch; features of the next one are gathered while a step runs.

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
        with ThreadPoolExecutor(1, thread_name_prefix="gather") as executor:
            following = executor.submit(self._split.features, parts[0])
            for part, *of_batch in zip([*parts[1:], None], rows, windows, strict=True):
                features = following.result()
                if part is not None:
                    following = executor.submit(self._split.features, part)
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


def _valid(lengths: np.ndarray, longest: int) -> Tensor:
    return torch.from_numpy(np.arange(longest) < lengths[:, None])


def _no_labels(batch: int, clips: int) -> dict[str, Tensor]:
    return {
        "spans": torch.zeros(batch, 0, 2),
        "spans_mask": torch.zeros(batch, 0, dtype=torch.bool),
        "saliency": torch.zeros(batch, clips),
        "relevant": torch.zeros(batch, clips, dtype=torch.bool),
        "positive_clips": torch.zeros(batch, 0, dtype=torch.int64),
        "negative_clips": torch.zeros(batch, 0, dtype=torch.int64),
        "aligned_clip": torch.zeros(batch, dtype=torch.int64),
    }
