"""Labels: what every draw promises, and that draws depend on the seed and the epoch alone."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query
from sadetr.data.labels import Labels
from sadetr.errors import DataError
from sadetr.losses.saliency import rank_loss
from sadetr.randomness import Streams

DATASET = resolve_dataset("qvhighlights", "mini")
CLIP = DATASET.clip_length


def query(windows, clips=None, saliency=None, qid=0, length=10):
    """A query of a video of ``length`` clips; clips inside the windows are relevant unless stated otherwise."""
    windows = np.array(windows, dtype=np.float64)
    if clips is None:
        inside = [np.arange(int(start // CLIP), int(np.ceil(end / CLIP))) for start, end in windows]
        clips = np.unique(np.concatenate(inside))
    clips = np.array(clips, dtype=np.int64)
    saliency = np.array([[1, 2, 3]] * len(clips) if saliency is None else saliency, dtype=np.int64)
    return Query(qid, "text", "video", length * CLIP, windows, clips, saliency)


def labels_of(*queries, lengths=None):
    return Labels(queries, np.array(lengths or [round(query.duration / CLIP) for query in queries]), DATASET)


def draw(labels, epoch=0, seed=0):
    streams = Streams(seed)
    return labels.draw(lambda consumer: streams.numpy(consumer, epoch))


def test_saliency_is_the_sum_of_the_annotators_and_zero_elsewhere():
    labels = labels_of(query([[4, 8]], saliency=[[4, 4, 4], [0, 1, 0]]))
    assert labels.saliency[0].tolist() == [0, 0, 12, 1, 0, 0, 0, 0, 0, 0]
    assert labels.relevant[0].nonzero()[0].tolist() == [2, 3]


def test_pairs_are_what_they_promise():
    scores = [[2, 2, 2], [4, 4, 4], [0, 0, 1], [3, 3, 3]]
    labels = labels_of(query([[4, 12]], saliency=scores), query([[0, 20]], saliency=scores + [[1, 1, 1]] * 6, qid=1))
    positives, negatives, aligned = set(), set(), set()
    for epoch in range(60):
        draws = draw(labels, epoch)
        # Hardest: the most and the least salient relevant clip.
        assert draws.positive_clips[0, 0] == 3
        assert draws.negative_clips[0, 0] == 4
        # Random: a relevant and an irrelevant clip.
        positives.add(int(draws.positive_clips[0, 1]))
        negatives.add(int(draws.negative_clips[0, 1]))
        aligned.add(int(draws.aligned_clip[0]))
        # Without an irrelevant clip the random pair copies the hard one.
        assert draws.positive_clips[1].tolist() == [1, 1]
        assert draws.negative_clips[1].tolist() == [2, 2]
        assert labels.relevant[1, draws.aligned_clip[1]]
    assert positives == aligned == {2, 3, 4, 5}
    assert negatives == {0, 1, 6, 7, 8, 9}


@settings(max_examples=40)
@given(st.data())
def test_draws_point_at_valid_clips_of_the_right_kind(data):
    queries, lengths = [], []
    for qid in range(data.draw(st.integers(1, 4))):
        length = data.draw(st.integers(2, 12))
        relevant = sorted(data.draw(st.sets(st.integers(0, length - 1), min_size=1)))
        scores = [[data.draw(st.integers(0, 4))] * 3 for _ in relevant]
        windows = [[clip * CLIP, (clip + 1) * CLIP] for clip in relevant]
        queries.append(query(windows, relevant, scores, qid, length))
        lengths.append(length - data.draw(st.integers(0, 1)))
    labels = labels_of(*queries, lengths=lengths)
    draws = draw(labels, seed=data.draw(st.integers(0, 99)))
    for row, length in enumerate(lengths):
        relevant, salient = labels.relevant[row], labels.salient[row]
        assert relevant.any()
        assert not relevant[length:].any()
        assert relevant[draws.aligned_clip[row]]
        # A pair's clip is salient, or the last one in place of a salient clip behind it.
        behind = salient[length:].any()
        for clip in draws.positive_clips[row]:
            assert salient[clip] or (behind and clip == length - 1)
        hardest, easiest = draws.positive_clips[row, 0], draws.negative_clips[row, 0]
        for clip, label in (
            (hardest, labels.saliency[row, salient].max()),
            (easiest, labels.saliency[row, salient].min()),
        ):
            assert labels.saliency[row, clip] == label or (behind and clip == length - 1)
        if salient[:length].all():
            assert draws.positive_clips[row, 1] == hardest
            assert draws.negative_clips[row, 1] == easiest
        else:
            assert not salient[draws.negative_clips[row, 1]]
            assert draws.negative_clips[row, 1] < length
        spans = draws.spans[row][draws.spans_mask[row]]
        assert 1 <= len(spans) <= DATASET.max_windows
        ends = np.stack([spans[:, 0] - spans[:, 1] / 2, spans[:, 0] + spans[:, 1] / 2])
        assert ends.min() >= -1e-6
        assert ends.max() <= queries[row].duration / (length * CLIP) + 1e-6
        assert spans[:, 1].min() > 0


def test_what_lies_beyond_the_features_is_trained_on_as_moment_detr_does():
    labels = labels_of(query([[14, 20]], saliency=[[1] * 3, [2] * 3, [4] * 3]), lengths=[9])
    assert labels.relevant[0].nonzero()[0].tolist() == [7, 8]
    assert labels.saliency[0].tolist() == [0] * 7 + [3, 6, 12]
    # The window is measured in the features' own length and ends after them; clip 9 gives its place to clip 8.
    draws = draw(labels)
    np.testing.assert_allclose(draws.spans[0, 0], [(7 + 10) / 2 / 9, 3 / 9], rtol=1e-6)
    assert draws.positive_clips[0, 0] == 8
    assert draws.negative_clips[0, 0] == 7


def test_a_query_wholly_beyond_the_features_trains_on_the_last_clip():
    draws = draw(labels := labels_of(query([[18, 20]]), lengths=[9]))
    assert labels.relevant[0].nonzero()[0].tolist() == [8]
    assert draws.positive_clips[0].tolist() == [8, 8]
    np.testing.assert_allclose(draws.spans[0, 0], [9.5 / 9, 1 / 9], rtol=1e-6)


@pytest.mark.parametrize(
    ("scores", "lowest", "highest"),
    [
        ([5, 5, 5], 0, 2),
        ([3, 1, 9, 1, 9, 2], 1, 4),
        ([7] * 16, 0, 15),
        # Beyond 16 clips numpy's introsort partitions before it inserts, and equal ones change places.
        ([7] * 17, 0, 16),
        ([9, 3] * 10, 9, 0),
        ([9, 3, 3, 9] * 5, 9, 19),
    ],
)
def test_of_equally_salient_clips_the_pair_has_those_of_the_authors(scores, lowest, highest):
    split = [[score // 3 + (score % 3 > place) for place in range(3)] for score in scores]
    draws = draw(labels_of(query([[0, 2 * len(scores)]], saliency=split, length=len(scores) + 1)))
    assert draws.negative_clips[0, 0] == lowest
    assert draws.positive_clips[0, 0] == highest


def test_windows_are_normalised_centres_and_widths():
    draws = draw(labels_of(query([[4, 8], [10, 20]]), query([[0, 2]], qid=1)))
    np.testing.assert_allclose(draws.spans[0], [[0.3, 0.2], [0.75, 0.5]], rtol=1e-6)
    assert draws.spans_mask.tolist() == [[True, True], [True, False]]
    assert not draws.spans[1, 1].any()


def test_many_windows_are_a_fresh_random_subset_in_file_order():
    many = [[2 * clip, 2 * clip + 1] for clip in range(9)]
    labels = labels_of(query(many), query(many[:5], qid=1))
    centres = [(2 * clip + 0.5) / 20 for clip in range(9)]
    subsets, counts = set(), np.zeros(9)
    for epoch in range(300):
        draws = draw(labels, epoch)
        assert draws.spans_mask.all()
        chosen = [int(np.argmin(np.abs(np.array(centres) - centre))) for centre in draws.spans[0, :, 0]]
        assert chosen == sorted(set(chosen))
        assert len(chosen) == DATASET.max_windows
        subsets.add(tuple(chosen))
        counts[chosen] += 1
        # Five windows are all kept.
        np.testing.assert_allclose(draws.spans[1, :, 0], centres[:5], rtol=1e-5)
    assert len(subsets) > 60
    # Each window is kept in 5 of 9 draws, to within five standard deviations.
    assert np.abs(counts / 300 - 5 / 9).max() < 5 * (5 / 9 * 4 / 9 / 300) ** 0.5


def test_draws_are_a_function_of_seed_and_epoch():
    queries = [query([[2 * clip, 2 * clip + 1] for clip in range(9)], qid=qid) for qid in range(8)]
    labels, again = labels_of(*queries), labels_of(*queries)
    for epoch in (3, 0, 7):
        ours, theirs = draw(labels, epoch, seed=5), draw(again, epoch, seed=5)
        for name in ("spans", "spans_mask", "positive_clips", "negative_clips", "aligned_clip"):
            np.testing.assert_array_equal(getattr(ours, name), getattr(theirs, name))
    assert not np.array_equal(draw(labels, 0, seed=5).spans, draw(labels, 1, seed=5).spans)
    assert not np.array_equal(draw(labels, 0, seed=5).spans, draw(labels, 0, seed=6).spans)


def test_a_split_without_labels_cannot_be_trained_on():
    unlabelled = Query(7, "text", "video", 20.0, None, None, None)
    with pytest.raises(DataError, match="query 7"):
        labels_of(unlabelled)


WINDOW = DATASET.model_copy(update={"saliency": "window"})


def windowed(windows, length=10, clip=CLIP, qid=0):
    """A query without saliency annotations."""
    return Query(qid, "text", "video", length * clip, np.array(windows, dtype=np.float64), None, None)


@pytest.mark.parametrize(
    ("clip", "window", "clips"),
    [
        (2.0, [4.0, 8.0], [2, 3]),
        # Whatever the window touches belongs to it, and something always does.
        (2.0, [3.9, 8.1], [1, 2, 3, 4]),
        (2.0, [4.3, 4.4], [2]),
        (2.0, [19.5, 19.9], [9]),
        # A border on the grid is one in spite of rounding.
        (1.0, [0.1 * 30, 0.1 * 50], [3, 4]),
        (0.166666, [0.5, 1.0], [3, 4, 5]),
    ],
)
def test_the_clips_that_a_window_touches_are_relevant(clip, window, clips):
    dataset = WINDOW.model_copy(update={"clip_length": clip})
    labels = Labels([windowed([window], clip=clip)], np.array([10]), dataset)
    assert labels.relevant[0].nonzero()[0].tolist() == clips


@pytest.mark.parametrize(
    ("duration", "window", "clips"),
    [
        (10.0, [4.0, 8.0], [4, 5, 6, 7]),
        # Left before its end, the last clip does not count; entered late, the first one does.
        (10.0, [2.4, 7.6], [2, 3, 4, 5, 6]),
        # Something always counts: the clip before the end's.
        (10.0, [4.3, 4.4], [3]),
        (10.0, [0.0, 0.5], [0]),
        (10.0, [8.7, 10.0], [8, 9]),
        # Behind the features' nominal end too: a clip lasts duration / L.
        (12.0, [6.0, 12.0], [5, 6, 7, 8, 9]),
    ],
)
def test_saliency_in_a_window_follows_cg_detr(duration, window, clips):
    query = Query(0, "text", "video", duration, np.array([window, [0.0, 1.0]]), None, None)
    labels = Labels([query], np.array([10]), WINDOW.model_copy(update={"clip_length": 1.0}))
    assert labels.saliency[0].tolist() == [float(index in clips) for index in range(10)]
    draws = draw(labels)
    assert set(draws.positive_clips[0].tolist()) <= set(clips)
    assert not set(draws.negative_clips[0].tolist()) & set(clips)


def test_relevant_clips_lie_under_the_normalised_window():
    """Whatever the duration says: both are measured in clips of the features."""
    query = Query(0, "text", "video", 21.7, np.array([[6.0, 10.0]]), None, None)
    labels = Labels([query], np.array([10]), WINDOW)
    centre, width = draw(labels).spans[0, 0] * 10
    assert [round(centre - width / 2), round(centre + width / 2)] == [3, 5]
    assert labels.relevant[0].nonzero()[0].tolist() == [3, 4]


def test_window_pairs_are_inside_and_outside():
    queries = [windowed([[4, 10]]), windowed([[0, 2]], qid=1), windowed([[0, 18]], qid=2), windowed([[0, 20]], qid=3)]
    labels = Labels(queries, np.array([10] * 4), WINDOW)
    seen = [set(), set()]
    for epoch in range(80):
        draws = draw(labels, epoch)
        positive, negative = draws.positive_clips, draws.negative_clips
        assert all(labels.relevant[row, positive[row]].all() for row in range(4))
        # Two of each kind, different where there are two.
        assert not labels.relevant[0, negative[0]].any()
        assert len(set(positive[0])) == len(set(negative[0])) == 2
        assert positive[1].tolist() == [0, 0]
        assert not labels.relevant[1, negative[1]].any()
        # Fewer than two clips outside: the negatives repeat the positives.
        np.testing.assert_array_equal(negative[2:], positive[2:])
        seen[0].update(positive[0].tolist())
        seen[1].update(negative[0].tolist())
    assert seen == [{2, 3, 4}, {0, 1, 5, 6, 7, 8, 9}]


def test_a_window_beyond_the_features_trains_on_the_last_clip():
    labels = Labels([windowed([[18, 20]])], np.array([9]), WINDOW)
    assert labels.saliency[0].tolist() == [0] * 8 + [1]
    np.testing.assert_allclose(draw(labels).spans[0, 0], [9.5 / 9, 1 / 9], rtol=1e-6)


def test_window_labels_reach_the_first_level_of_the_rank_loss_alone():
    """So L_rank is a twelfth of one contrast, as in CG-DETR, whose weight 4 Table 9 repeats."""
    labels = torch.from_numpy(Labels([windowed([[4, 10]])], np.array([10]), WINDOW).saliency)
    scores, mask = torch.linspace(-1, 1, 10)[None], torch.ones(1, 10, dtype=torch.bool)
    loss = rank_loss(scores, labels, mask, None, torch.tensor([True]), 0.5, levels=12)
    contrast = -(scores / 0.5).log_softmax(1)[labels > 0].mean()
    torch.testing.assert_close(loss, contrast / 12)


def test_annotators_saliency_is_asked_for_only_where_it_is_used():
    with pytest.raises(DataError, match=r"query 4: no saliency and no relevant_clip_ids .*'annotators'"):
        Labels([windowed([[0, 4]], qid=4)], np.array([10]), DATASET)


def test_labels_lie_at_the_same_time_whatever_the_clips_of_the_features():
    coarse, fine = ([replace(one, label_clip_length=2.0)] for one in (query([[4, 8], [12, 14]]),) * 2)
    one_second = DATASET.model_copy(update={"clip_length": 1.0})
    twos, ones = Labels(coarse, np.array([10]), DATASET), Labels(fine, np.array([20]), one_second)
    for name in ("saliency", "relevant", "salient"):
        np.testing.assert_array_equal(getattr(ones, name), np.repeat(getattr(twos, name), 2, axis=1))
    # Relevant clips lie under the spans that are learned with them.
    spans = draw(ones).spans[0][draw(ones).spans_mask[0]]
    for clip in ones.relevant[0].nonzero()[0]:
        assert (abs((clip + 0.5) / 20 - spans[:, 0]) < spans[:, 1] / 2).any()


def test_labels_are_not_mixed_between_clips():
    odd = DATASET.model_copy(update={"clip_length": 1.5})
    with pytest.raises(DataError, match=r"qid 7: clip_length 1\.5 s \(features\) does not divide label_clip_length 2"):
        Labels([replace(query([[4, 8]], qid=7), label_clip_length=2.0)], np.array([13]), odd)
