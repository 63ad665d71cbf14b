"""Batches: every query once per epoch, with its own features and labels, whatever was iterated before."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.configuration import resolve
from sadetr.data.annotations import clip_count, read_annotations
from sadetr.data.batches import Split, bucketed
from sadetr.data.store import FeatureStore
from sadetr.models.interface import Batch
from sadetr.models.sa_detr.model import SADETR
from sadetr.randomness import Streams
from sadetr.settings import AnnotationRules
from sadetr.shapes import FeatureShape
from sadetr.training.prediction import predict
from tests.samples import SHARED, small_settings

BATCH_SIZE = 20


def key(text: torch.Tensor) -> float:
    """Tokens carry noise of their own, so their sum names a query."""
    return text.double().sum().item()


def names(batches: list[Batch]) -> list[float]:
    return [key(text) for batch in batches for text in batch.text]


def epochs_of(split, seed=2018, bucket_batches=1):
    return split.training_epochs(BATCH_SIZE, Streams(seed), bucket_batches)


def padding(parts, lengths):
    """Padded share of all clips of the batches ``parts``."""
    return 1 - lengths.sum() / sum(lengths[part].max() * len(part) for part in parts)


def assert_same_batches(ours, expected):
    for batch, other in zip(ours, expected, strict=True):
        for name in Batch.__dataclass_fields__:
            assert torch.equal(getattr(batch, name), getattr(other, name)), name


def test_labels_lie_where_training_is_and_features_where_they_are_gathered(workspace):
    """On a device that has no values, so that an epoch which needed one there would fail."""
    epochs = workspace.split("train").training_epochs(BATCH_SIZE, Streams(2018), device=torch.device("meta"))
    for batch, expected in zip(epochs.epoch(0), epochs_of(workspace.split("train")).epoch(0), strict=True):
        for name in ("spans", "spans_mask", "saliency", "relevant", "positive_clips", "aligned_clip"):
            assert getattr(batch, name).is_meta
            assert getattr(batch, name).shape == getattr(expected, name).shape
            assert getattr(expected, name).is_contiguous()
        assert torch.equal(batch.video, expected.video)


def test_an_epoch_is_a_permutation_with_the_last_partial_batch(workspace):
    split = workspace.split("train")
    batches = list(epochs_of(split).epoch(0))
    assert [len(batch) for batch in batches] == [20, 20, 8]
    in_order = names(list(split.prediction_batches(BATCH_SIZE)))
    assert len(set(in_order)) == len(split)
    assert sorted(names(batches)) == sorted(in_order)
    assert names(batches) != in_order


def test_epochs_do_not_depend_on_each_other(workspace):
    epochs = epochs_of(workspace.split("train"))
    sequence = [list(epochs.epoch(number)) for number in range(3)]
    assert_same_batches(epochs_of(workspace.split("train")).epoch(2), sequence[2])
    # An epoch that was given up half-way leaves no trace.
    abandoned = epochs.epoch(1)
    next(abandoned)
    abandoned.close()
    assert_same_batches(epochs.epoch(1), sequence[1])
    assert names(sequence[0]) != names(sequence[1])
    assert names(list(epochs_of(workspace.split("train"), seed=1).epoch(0))) != names(sequence[0])


def test_rows_carry_their_own_features_and_labels(workspace):
    split = workspace.split("train")
    in_order = [key(text) for batch in split.prediction_batches(1) for text in batch.text]
    seen = 0
    for batch in epochs_of(split).epoch(0):
        for index in range(len(batch)):
            row = in_order.index(key(batch.text[index]))
            query, length = split.queries[row], int(split.lengths[row])
            alone = next(iter_one(split, row))
            assert torch.equal(batch.video[index, :length], alone.video[0])
            assert batch.video_mask[index].sum() == length
            assert not batch.video[index, length:].any()
            tokens = alone.text.shape[1]
            assert torch.equal(batch.text[index, :tokens], alone.text[0])
            assert batch.text_mask[index].sum() == tokens
            relevant = query.relevant_clip_ids[query.relevant_clip_ids < length]
            assert batch.relevant[index].nonzero().flatten().tolist() == relevant.tolist()
            saliency = query.saliency.sum(1)[: len(relevant)]
            assert batch.saliency[index, relevant].tolist() == saliency.tolist()
            assert batch.relevant[index, batch.positive_clips[index]].all()
            assert batch.relevant[index, batch.aligned_clip[index]]
            assert batch.relevant[index, batch.negative_clips[index]].tolist()[0]
            windows = np.clip(query.windows / (length * split.dataset.clip_length), 0, 1)
            spans = batch.spans[index][batch.spans_mask[index]].numpy()
            np.testing.assert_allclose(spans[:, 0] - spans[:, 1] / 2, windows[:, 0], atol=1e-6)
            np.testing.assert_allclose(spans[:, 0] + spans[:, 1] / 2, windows[:, 1], atol=1e-6)
            seen += 1
    assert seen == len(split)


def iter_one(split, row):
    """The batch of one query alone."""
    return (batch for number, batch in enumerate(split.prediction_batches(1)) if number == row)


def test_batches_are_as_wide_as_their_longest_sample(workspace):
    for batch in epochs_of(workspace.split("train")).epoch(0):
        assert batch.video_mask.any(0).all()
        assert batch.text_mask.any(0).all()
        assert batch.spans_mask.any(0).all()
        assert batch.saliency.shape == batch.relevant.shape == batch.video_mask.shape
        # Temporal endpoints of the last valid clip end at 1.
        last = batch.video_mask.sum(1) - 1
        assert batch.video[torch.arange(len(batch)), last, -1].eq(1).all()


def test_queries_of_one_video_share_its_id(workspace):
    split = workspace.split("train")
    ids = torch.cat([batch.video_id for batch in split.prediction_batches(BATCH_SIZE)]).tolist()
    vids = [query.vid for query in split.queries]
    assert len(set(zip(ids, vids, strict=True))) == len(set(ids)) == len(set(vids)) < len(vids)


def test_videos_are_their_own_originals_unless_the_setting_has_a_rule(workspace):
    split = workspace.split("train")
    for batch in [*split.prediction_batches(BATCH_SIZE), *epochs_of(split).epoch(0)]:
        same_video, same_source = (ids[:, None] == ids for ids in (batch.video_id, batch.source_id))
        assert torch.equal(same_source, same_video)
        assert torch.equal(replace(batch, source_id=None).source_id, batch.video_id)


def test_parts_of_one_original_share_its_id(workspace):
    """Ten videos each are taken for parts of one: their names are g00012_0.0_32.0 and the like."""
    plain = workspace.split("train")
    dataset = plain.dataset.model_copy(update={"source_video": r"(g\d+)\d_[0-9.]+_[0-9.]+"})
    split = Split(plain.queries, FeatureStore.open(workspace.layout.store("qvhighlights")), dataset)
    originals = {}
    for batch in epochs_of(split).epoch(1):
        for text, source in zip(batch.text, batch.source_id.tolist(), strict=True):
            originals[key(text)] = source
    in_order = names(list(plain.prediction_batches(BATCH_SIZE)))
    found = [(query.vid[:5], originals[name]) for query, name in zip(plain.queries, in_order, strict=True)]
    assert 1 < len(set(found)) == len({vid for vid, _ in found}) == len({source for _, source in found})
    assert len(set(found)) < len({query.vid for query in plain.queries})


@pytest.mark.parametrize(
    ("split", "videos", "sources"), [("train", 7100, 2214), ("val", 1519, 474), ("test", 1529, 476)]
)
def test_qvhighlights_videos_are_parts_of_a_third_as_many(split, videos, sources):
    dataset = resolve("qvhighlights", "sa_detr", "full", 2018, "paper").dataset
    path = SHARED / "annotations" / "qvhighlights" / dataset.annotations[split]
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
    vids = {query.vid for query in read_annotations(path, dataset.annotation_rules)}
    originals = {dataset.source_of(vid) for vid in vids}
    assert (len(vids), len(originals)) == (videos, sources)
    # A YouTube id.
    assert {len(name) for name in originals} == {11}


@pytest.mark.parametrize("setting", ["charades_sta", "charades_sta_vgg", "tacos"])
def test_other_benchmarks_have_whole_videos(setting):
    dataset = resolve(setting, "sa_detr", "full", 2018, "paper").dataset
    assert dataset.source_of("s13-d21_0.0_150.0") == "s13-d21_0.0_150.0"


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 90), st.integers(1, 9), st.integers(1, 6), st.integers(0, 9))
def test_buckets_hold_every_row_once_in_batches_of_one_size(rows, batch_size, bucket_batches, seed):
    rng = np.random.default_rng(seed)
    lengths = rng.integers(1, 700, rows)
    parts = bucketed(rng.permutation(rows), lengths, batch_size, bucket_batches, rng)
    assert sorted(np.concatenate(parts)) == list(range(rows))
    sizes = sorted(map(len, parts))
    assert sizes[1:] == [batch_size] * (len(parts) - 1)
    assert len(parts) == -(-rows // batch_size)


def test_a_bucket_of_one_batch_is_plain_shuffling():
    order = np.random.default_rng(0).permutation(50)
    parts = bucketed(order, np.arange(50), 8, 1, np.random.default_rng(1))
    np.testing.assert_array_equal(np.concatenate(parts), order)


def test_buckets_gather_similar_lengths_and_keep_the_order_within_a_batch():
    lengths = np.random.default_rng(0).permutation(1000) + 1
    order = np.random.default_rng(1).permutation(1000)
    place = np.argsort(order)
    parts = bucketed(order, lengths, 20, 10, np.random.default_rng(2))
    assert all((np.diff(place[part]) > 0).all() for part in parts)
    for run in range(0, 50, 10):
        spans = sorted((lengths[part].min(), lengths[part].max()) for part in parts[run : run + 10])
        assert all(before[1] < after[0] for before, after in pairwise(spans)), "batches of a run overlap in length"
        shortest = [lengths[part].min() for part in parts[run : run + 10]]
        assert shortest != sorted(shortest), "the batches of a run are not shuffled"
    assert padding(parts, lengths) < 0.1 < 0.4 < padding(np.split(order, 50), lengths)


def test_bucketed_epochs_depend_on_seed_and_epoch_alone(workspace):
    split = workspace.split("train")
    sequence = [list(epochs_of(split, bucket_batches=2).epoch(number)) for number in range(2)]
    assert_same_batches(epochs_of(split, bucket_batches=2).epoch(1), sequence[1])
    assert sorted(names(sequence[0])) == sorted(names(sequence[1])) == sorted(names(list(epochs_of(split).epoch(0))))
    assert names(sequence[0]) != names(sequence[1])
    assert names(list(epochs_of(split, seed=1, bucket_batches=2).epoch(0))) != names(sequence[0])


@pytest.mark.parametrize(
    ("setting", "file", "clip_length", "bucket_batches", "videos"),
    [("tacos", "train.jsonl", 2.0, 8, 12), ("charades_sta", "charades_sta_train_tvr_format.jsonl", 1.0, 16, 32)],
)
def test_buckets_trade_padding_for_fewer_videos_per_batch(setting, file, clip_length, bucket_batches, videos):
    """D76: why they are an option, and why the paper's scale shuffles plainly."""
    path = SHARED / "annotations" / setting / file
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
    queries = read_annotations(path, AnnotationRules(clip_length=clip_length))
    lengths = np.array([clip_count(query.duration, clip_length) for query in queries])
    names = np.array([query.vid for query in queries])
    order = np.random.default_rng(0).permutation(len(lengths))

    def batches(size):
        return bucketed(order, lengths, 32, size, np.random.default_rng(1))

    def different(parts):
        return np.mean([len(set(names[part])) for part in parts])

    assert padding(batches(bucket_batches), lengths) < 0.3 < 0.4 < padding(batches(1), lengths)
    assert different(batches(bucket_batches)) < videos
    assert different(batches(1)) > 25


@pytest.mark.parametrize("setting", ["qvhighlights", "charades_sta", "charades_sta_vgg", "tacos"])
@pytest.mark.parametrize("scale", ["paper", "simulated"])
def test_full_size_trainings_shuffle_plainly(setting, scale):
    assert resolve(setting, "sa_detr", "full", 2018, scale).training.bucket_batches == 1


def test_prediction_goes_from_short_to_long_and_answers_in_file_order(workspace):
    split, model = workspace.split("train"), small()
    lengths = [int(batch.video_mask.sum(1).max()) for batch in split.prediction_batches(5, split.by_length())]
    assert lengths == sorted(lengths)
    assert len(set(lengths)) > 1
    alone, together = (predict(model, split, size, torch.device("cpu")).rows(split.queries) for size in (1, 20))
    assert [row["qid"] for row in together] == [query.qid for query in split.queries]
    for single, batched, length in zip(alone, together, split.lengths, strict=True):
        assert single["qid"] == batched["qid"]
        assert len(batched["pred_saliency_scores"]) == length
        np.testing.assert_allclose(single["pred_saliency_scores"], batched["pred_saliency_scores"], atol=2e-4)
        scores = [[window[2] for window in row["pred_relevant_windows"]] for row in (single, batched)]
        np.testing.assert_allclose(*scores, atol=2e-4)


def small():
    """An untrained model of the workspace's widths."""
    torch.manual_seed(0)
    return SADETR(small_settings(), FeatureShape(64 + 32 + 2, 32, clip_length=2.0))


def test_prediction_needs_no_labels(workspace):
    split = workspace.split("val")
    for batch in split.prediction_batches(5):
        assert batch.spans.shape == (len(batch), 0, 2)
        assert not batch.saliency.any()
