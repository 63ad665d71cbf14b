"""Suppression, beside a form that looks at one pair of windows at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.errors import SettingsError
from sadetr.evaluation import ranking as module
from sadetr.training_settings import GaussianSuppression, HardSuppression, LinearSuppression, ScoreRanking

KEPT = st.none() | st.integers(1, 9)
# Multiples of 1/4 make ties: windows that overlap by exactly the threshold, and equal scores.
THRESHOLDS = st.sampled_from([0.0, 0.25, 0.3, 0.5, 0.7, 1.0])
RANKINGS = st.one_of(
    st.builds(HardSuppression, threshold=THRESHOLDS, kept=KEPT),
    st.builds(LinearSuppression, threshold=THRESHOLDS, kept=KEPT),
    st.builds(GaussianSuppression, threshold=THRESHOLDS, sigma=st.sampled_from([0.1, 0.5, 2.0]), kept=KEPT),
)
SECONDS = st.integers(0, 8)
WINDOWS = st.lists(st.tuples(SECONDS, SECONDS, st.integers(0, 20)), min_size=6, max_size=6)


def batch_of(queries):
    """(B, N, 3) windows in the order that prediction hands them on: by descending score."""
    rows = [[[min(a, b), max(a, b), score / 20] for a, b, score in query] for query in queries]
    return np.array([sorted(query, key=lambda window: -window[2]) for query in rows], dtype=np.float64)


def rerank(batch, ranking):
    """The windows that each query keeps."""
    return [query[kept] for query, kept in zip(*module.rerank(batch, ranking), strict=True)]


def iou(first, second):
    hull = max(first[1], second[1]) - min(first[0], second[0])
    return max(0.0, min(first[1], second[1]) - max(first[0], second[0])) / hull if hull else 0.0


def one_by_one(windows, ranking):
    """What ``rerank`` promises, for one query, from the published descriptions."""
    waiting, result = [list(window) for window in windows], []
    while waiting and len(result) < (ranking.kept or len(windows)):
        best = max(waiting, key=lambda window: window[2])
        waiting.remove(best)
        result.append(best)
        for window in list(waiting):
            overlap = iou(best, window)
            if overlap <= ranking.threshold:
                continue
            if ranking.kind == "nms":
                waiting.remove(window)
            elif ranking.kind == "linear_soft_nms":
                window[2] *= 1 - overlap
            else:
                # NumPy's exponential, whose last bit may decide between windows that decay in another order.
                window[2] *= float(np.exp(-(overlap**2) / ranking.sigma))
    return result


@given(st.lists(WINDOWS, min_size=1, max_size=4), RANKINGS)
def test_suppression_is_what_one_window_at_a_time_gives(queries, ranking):
    batch = batch_of(queries)
    for ours, windows in zip(rerank(batch, ranking), batch, strict=True):
        expected = np.array(one_by_one(windows.tolist(), ranking))
        np.testing.assert_array_equal(ours[:, :2], expected[:, :2])
        np.testing.assert_allclose(ours[:, 2], expected[:, 2], rtol=0, atol=5.1e-5)


@given(st.lists(WINDOWS, min_size=1, max_size=4), RANKINGS)
def test_the_best_window_stays_and_scores_descend(queries, ranking):
    batch = batch_of(queries)
    before = batch.copy()
    for ours, windows in zip(rerank(batch, ranking), batch, strict=True):
        np.testing.assert_array_equal(ours[0], windows[0])
        assert (np.diff(ours[:, 2]) <= 0).all()
        assert 1 <= len(ours) <= (ranking.kept or len(windows))
        if ranking.kind == "nms":
            pairs = [(a, b) for index, a in enumerate(ours) for b in ours[:index]]
            assert all(iou(a, b) <= ranking.threshold for a, b in pairs)
    np.testing.assert_array_equal(batch, before)


def test_scores_alone_keep_all_windows_or_the_first():
    batch = batch_of([[(0, 4, 5), (0, 4, 9), (2, 8, 7)]])
    (everything,) = rerank(batch, ScoreRanking())
    np.testing.assert_array_equal(everything, batch[0])
    (two,) = rerank(batch, ScoreRanking(kept=2))
    np.testing.assert_array_equal(two, batch[0, :2])


def test_bam_detrs_values():
    """IoU 0.5 is above 0.3 and costs exp(-0.25 / 0.5); IoU 0.25 is not and costs nothing."""
    windows = [[0.0, 8.0, 0.9], [0.0, 4.0, 0.8], [6.0, 8.0, 0.7], [20.0, 30.0, 0.5]]
    ranking = GaussianSuppression(threshold=0.3, sigma=0.5, kept=10)
    (ours,) = rerank(np.array([windows]), ranking)
    assert ours.tolist() == [windows[0], windows[2], windows[3], [0.0, 4.0, 0.4852]]


def test_queries_keep_different_numbers_of_windows():
    batch = batch_of([[(0, 4, 9), (0, 4, 8), (0, 4, 7)], [(0, 2, 9), (3, 5, 8), (6, 8, 7)]])
    assert [len(windows) for windows in rerank(batch, HardSuppression(threshold=0.7))] == [1, 3]


@pytest.mark.parametrize("ranking", [LinearSuppression(threshold=0.3), GaussianSuppression(threshold=0.3, sigma=0.5)])
def test_negative_scores_are_not_decayed(ranking):
    batch = np.array([[[0.0, 4.0, 0.5], [0.0, 4.0, -0.5]]])
    with pytest.raises(SettingsError, match=r"training\.ranking: kind '\w+_soft_nms'.*negative.*'nms'"):
        rerank(batch, ranking)
    assert len(rerank(batch, HardSuppression(threshold=0.3))[0]) == 1


@given(st.lists(WINDOWS, min_size=1, max_size=4), RANKINGS)
def test_what_is_no_candidate_changes_nothing(queries, ranking):
    batch = batch_of(queries)
    nothing = np.tile([0.0, 5.0, -np.inf], (len(batch), 3, 1))
    for ours, expected in zip(
        rerank(np.concatenate((batch, nothing), 1), ranking), rerank(batch, ranking), strict=True
    ):
        np.testing.assert_array_equal(ours, expected)
