"""Batches: every query once per epoch, with its own features and labels, whatever was iterated before."""

import numpy as np
import torch

from sadetr.models.interface import Batch
from sadetr.training.reproducibility import Streams

BATCH_SIZE = 20


def key(text: torch.Tensor) -> float:
    """Tokens carry noise of their own, so their sum names a query."""
    return text.double().sum().item()


def names(batches: list[Batch]) -> list[float]:
    return [key(text) for batch in batches for text in batch.text]


def epochs_of(split, seed=2018):
    return split.training_epochs(BATCH_SIZE, Streams(seed))


def assert_same_batches(ours, expected):
    for batch, other in zip(ours, expected, strict=True):
        for name in Batch.__dataclass_fields__:
            assert torch.equal(getattr(batch, name), getattr(other, name)), name


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


def test_prediction_needs_no_labels(workspace):
    split = workspace.split("val")
    for batch in split.prediction_batches(5):
        assert batch.spans.shape == (len(batch), 0, 2)
        assert not batch.saliency.any()
