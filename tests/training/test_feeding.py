"""Wherever features lie, a batch has the same bits; nothing is overwritten before it has left."""

import contextlib
import threading
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from sadetr.configuration import resolve_dataset
from sadetr.data import residency
from sadetr.data.batches import Split
from sadetr.data.feeding import Link, Mapped, Pinned, batch_bytes, prefetched
from sadetr.data.query import Query
from sadetr.data.residency import Resident, resident_bytes
from sadetr.data.store import FeatureStore, StoreWriter
from sadetr.layering import named_files
from sadetr.models.interface import Batch
from sadetr.randomness import Streams
from sadetr.settings import DatasetSettings

CPU = torch.device("cpu")
QUERIES, BATCH_SIZE, LONGEST_WORD = 23, 5, 9
LENGTHS = [1, 1, 2, *range(3, 13)]
SPARE = ("a video of no query", "nor this")


class LateCopy:
    """A copy that is made when somebody waits for it, and not before."""

    def __init__(self, host: Tensor) -> None:
        self._host = host
        self._lock = threading.Lock()
        self._done = False
        self.sent = torch.full_like(host, 255)

    def synchronize(self) -> None:
        with self._lock:
            if not self._done:
                self.sent.copy_(self._host)
            self._done = True


class LateLink(Link):
    """Stands in for a GPU that is far behind: memory that is used again before its copy is done shows in the end."""

    def __init__(self) -> None:
        self.sizes: list[int] = []
        self.copies: list[LateCopy] = []

    def memory(self, size: int) -> Tensor:
        self.sizes.append(size)
        return torch.full((size,), 255, dtype=torch.uint8)

    def send(self, host: Tensor) -> tuple[Tensor, LateCopy]:
        self.copies.append(LateCopy(host))
        return self.copies[-1].sent, self.copies[-1]

    def receive(self, sent: Tensor, copied: LateCopy) -> Tensor:
        return sent

    def finish(self) -> None:
        for copy in self.copies:
            copy.synchronize()


def random_query(number: int, length: int, dataset: DatasetSettings, rng: np.random.Generator) -> Query:
    """About one of the videos, of ``length`` clips; it has a window, and labels by three annotators."""
    start, end = sorted(rng.choice(length + 1, 2, replace=False))
    relevant = np.arange(start, end)
    windows = np.array([[start, end]]) * dataset.clip_length
    duration = length * dataset.clip_length
    vid = f"video{length // 3}_{length}.0_{length + 1}.0"
    return Query(number, "words", vid, duration, windows, relevant, rng.integers(0, 5, (len(relevant), 3)))


def write(path: Path, dataset: DatasetSettings, dtype: str) -> Split:
    """Random features of a benchmark setting's widths; the first two videos have one clip, and some have no query."""
    rng = np.random.default_rng(0)
    lengths = [*LENGTHS, *rng.choice(LENGTHS, QUERIES - len(LENGTHS))]
    queries = [random_query(number, int(length), dataset, rng) for number, length in enumerate(lengths)]
    spelled = dataset.text_stream.kind == "vocabulary"
    streams = {stream.name: stream.width for stream in dataset.video_streams}
    width = dataset.text_stream.width
    with StoreWriter.create(path, streams, width, dtype, {}, LONGEST_WORD if spelled else None) as writer:
        videos = {query.vid: round(query.duration / dataset.clip_length) for query in queries}
        for vid, clips in {SPARE[0]: 4, **videos, SPARE[1]: 2}.items():
            features = {name: rng.standard_normal((clips, width), np.float32) for name, width in streams.items()}
            writer.add_video(vid, features)
        for query in [*reversed(queries), random_query(QUERIES, 1, dataset, rng)]:
            tokens = int(rng.integers(1, 8))
            characters = np.zeros((tokens, LONGEST_WORD), np.uint16)
            for word in characters:
                word[: rng.integers(1, LONGEST_WORD)] = rng.integers(1, 2**16 - 1)
            values = rng.standard_normal((tokens, width), np.float32)
            writer.add_text(query.qid, values, characters if spelled else None)
    return Split(queries, FeatureStore.open(path), dataset)


def fed(split: Split, store: FeatureStore, mode: str) -> tuple[Split, LateLink]:
    """The split with another feeder; a GPU is the processor, or its stand-in."""
    link = LateLink()
    if mode == "resident":
        return split.fed_by(Resident.load(store, [split.rows], CPU)), link
    return split.fed_by(Pinned(store, batch_bytes(store, split.rows, BATCH_SIZE), link)), link


def assert_same_bits(ours, expected):
    for batch, other in zip(ours, expected, strict=True):
        for part in fields(Batch):
            found, wanted = (getattr(each, part.name).cpu() for each in (batch, other))
            assert (found.dtype, found.shape) == (wanted.dtype, wanted.shape), part.name
            assert found.numpy().tobytes() == wanted.numpy().tobytes(), part.name


def arrived(batches, link=None, device=CPU):
    """All of them, as a step has them, once the GPU is done."""
    sent = list(batches)
    if link is not None:
        link.finish()
    return [batch.to(device) for batch in sent]


@pytest.mark.parametrize("mode", ["resident", "pinned"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
@pytest.mark.parametrize("setting", named_files("settings"))
def test_the_same_bits_in_every_mode(tmp_path, monkeypatch, setting, dtype, mode):
    """Of every field of every batch: shuffled, in buckets, and predicted; the last batch is smaller."""
    # Several chunks.
    monkeypatch.setattr(residency, "CHUNK_BYTES", 2**15)
    dataset = resolve_dataset(setting, "paper")
    split = write(tmp_path / "store", dataset, dtype)
    store = FeatureStore.open(tmp_path / "store")
    other, link = fed(split, store, mode)
    for bucket_batches in (1, 2):
        expected, found = (each.training_epochs(BATCH_SIZE, Streams(3), bucket_batches) for each in (split, other))
        for epoch in range(2):
            batches = list(found.epoch(epoch))
            assert {batch.video.dtype for batch in batches} == {getattr(torch, dtype)}
            assert_same_bits(arrived(batches, link), arrived(expected.epoch(epoch)))
    for order in (None, split.by_length()):
        batches = other.prediction_batches(BATCH_SIZE, order)
        assert_same_bits(arrived(batches, link), arrived(split.prediction_batches(BATCH_SIZE, order)))
    ones, alone = (arrived(each.prediction_batches(1), link) for each in (split, other))
    assert_same_bits(alone, ones)
    assert {batch.video.shape[1] for batch in alone} >= {1, 2, 12}
    assert {batch.characters.shape[-1] > 0 for batch in alone} == {dataset.text_stream.kind == "vocabulary"}
    for batch in alone:
        assert all(getattr(batch, part.name).is_contiguous() for part in fields(Batch))


@pytest.fixture
def split(tmp_path) -> Split:
    return write(tmp_path / "store", resolve_dataset("tacos_glove", "paper"), "float16")


@pytest.fixture
def store(split, tmp_path) -> FeatureStore:
    return FeatureStore.open(tmp_path / "store")


def test_only_what_splits_need_is_resident_and_each_once(split, store):
    part = Split(split.queries[:7], store, split.dataset)
    loaded = Resident.load(store, [part.rows, part.rows], CPU)
    pools = (loaded._videos, loaded._texts, loaded._spelled)
    clips = sum({query.vid: round(query.duration / 2) for query in part.queries}.values())
    assert len(loaded._videos.values) == clips + 1
    taken = sum(pool.values.numel() * pool.values.element_size() for pool in pools)
    assert resident_bytes(store, [part.rows, part.rows]) == taken < resident_bytes(store, [split.rows])
    assert_same_bits(part.fed_by(loaded).prediction_batches(3), part.prediction_batches(3))
    with pytest.raises(ValueError, match="is not on the device"):
        next(split.fed_by(loaded).prediction_batches(3))


def test_splits_share_what_is_resident(split, store):
    first, second = (Split(queries, store, split.dataset) for queries in (split.queries[:9], split.queries[6:]))
    loaded = Resident.load(store, [first.rows, second.rows], CPU)
    for each in (first, second):
        assert_same_bits(each.fed_by(loaded).prediction_batches(4), each.prediction_batches(4))


@pytest.mark.parametrize("mode", ["resident", "pinned", "mapped"])
def test_no_queries_are_no_batches(split, store, mode):
    each = split if mode == "mapped" else fed(split, store, mode)[0]
    assert list(each.features([])) == []


def test_pinned_memory_is_reserved_once_for_the_largest_batch(split, store):
    link = LateLink()
    feeder = Pinned(store, batch_bytes(store, split.rows, BATCH_SIZE), link)
    for epoch in range(3):
        list(split.fed_by(feeder).training_epochs(BATCH_SIZE, Streams(1)).epoch(epoch))
    assert link.sizes == [link.sizes[0]] * (Pinned.ahead + 1)
    # A larger one than was said takes what it needs.
    larger = arrived(split.fed_by(feeder).prediction_batches(11), link)
    assert_same_bits(larger, arrived(split.prediction_batches(11)))
    assert max(link.sizes[3:]) > link.sizes[0]


def test_a_given_up_epoch_leaves_pinned_memory_in_order(split, store):
    """Its batches are still on their way when those of the next one are gathered."""
    other, link = fed(split, store, "pinned")
    epochs, expected = (each.training_epochs(BATCH_SIZE, Streams(1)) for each in (other, split))
    for _ in range(4):
        given_up = epochs.epoch(0)
        next(given_up)
        given_up.close()
    half = epochs.epoch(1)
    kept = next(half)
    between = list(other.prediction_batches(BATCH_SIZE))
    assert_same_bits(arrived([kept, *half], link), arrived(expected.epoch(1)))
    assert_same_bits(arrived(between), arrived(split.prediction_batches(BATCH_SIZE)))


@pytest.mark.parametrize("ahead", [1, 2, 3])
def test_what_is_made_ahead_comes_in_order_and_is_not_more_than_asked(ahead):
    made, release = [], threading.Event()

    def make(item):
        made.append(item)
        if item == 1:
            # The first may be the last to be ready.
            release.wait(0.05)
        return -item

    assert list(prefetched(make, [], ahead)) == []
    results = prefetched(make, [1, 2, 3, 4, 5, 6], ahead)
    assert next(results) == -1
    results.close()
    assert sorted(made) == list(range(1, ahead + 2))
    assert list(prefetched(make, [1, 2, 3, 4], ahead)) == [-1, -2, -3, -4]


def test_an_error_of_gathering_reaches_the_training(split, store, monkeypatch):
    def broken(feeder, rows):
        raise OSError("damaged")

    monkeypatch.setattr(Mapped, "gather", broken)
    with pytest.raises(OSError, match="damaged"):
        list(split.prediction_batches(2))


def test_the_way_to_a_gpu_has_a_stream_of_its_own(monkeypatch):
    """The step's stream waits for the copy, and the copy's memory for the step; on stand-ins for streams."""
    calls = []

    class Stream:
        def __init__(self, name):
            self.name = name

        def record_event(self):
            calls.append(f"{self.name} records")
            return "copied"

        def wait_event(self, event):
            calls.append(f"{self.name} waits until {event}")

    @contextlib.contextmanager
    def stream(entered):
        calls.append(f"on {entered.name}")
        yield
        calls.append(f"left {entered.name}")

    monkeypatch.setattr(torch.cuda, "Stream", lambda device: Stream("the way"))
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: Stream("the step"))
    monkeypatch.setattr(torch.cuda, "stream", stream)
    monkeypatch.setattr(Tensor, "record_stream", lambda self, stream: calls.append(f"kept for {stream.name}"))
    link, host = Link(CPU), torch.arange(4, dtype=torch.uint8)
    assert torch.equal(link.receive(*link.send(host)), host)
    assert calls == [
        *("on the way", "the way records", "left the way"),
        *("the step waits until copied", "kept for the step"),
    ]


@pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU: pinned memory and streams have none")
@pytest.mark.parametrize("mode", ["resident", "pinned"])
@pytest.mark.parametrize("dtype", ["float16", "float32"])
def test_the_same_bits_on_a_gpu(tmp_path, dtype, mode):
    dataset, device = resolve_dataset("tacos_glove", "paper"), torch.device("cuda", 0)
    split = write(tmp_path / "store", dataset, dtype)
    store = FeatureStore.open(tmp_path / "store")
    feeder = (
        Resident.load(store, [split.rows], device)
        if mode == "resident"
        else Pinned(store, batch_bytes(store, split.rows, BATCH_SIZE), Link(device))
    )
    expected, found = (
        each.training_epochs(BATCH_SIZE, Streams(3), device=device) for each in (split, split.fed_by(feeder))
    )
    for epoch in range(3):
        assert_same_bits(arrived(found.epoch(epoch), device=device), arrived(expected.epoch(epoch), device=device))
