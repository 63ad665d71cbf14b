import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.data.annotations import read_annotations
from sadetr.evaluation.postprocess import postprocess_windows, rank_windows
from sadetr.evaluation.scorer import evaluate

FRACTIONS = st.floats(0, 1)
SPANS = st.lists(st.tuples(FRACTIONS, FRACTIONS, FRACTIONS), min_size=1, max_size=10)


@given(SPANS, st.floats(1, 1000))
def test_ranked_windows_lie_in_the_video_in_descending_order(spans, duration):
    array = np.array(spans)
    windows = rank_windows(array[:, :2], array[:, 2], duration)
    assert windows.shape == array.shape
    assert (windows[:, :2] >= 0).all()
    assert (windows[:, :2] <= duration + 5e-5).all()
    assert (windows[:, 0] <= windows[:, 1]).all()
    assert (np.diff(windows[:, 2]) <= 0).all()


def test_equal_scores_keep_their_order_and_ranks_are_those_before_rounding():
    spans = [[0.5, 0.2], [0.1, 0.2], [0.9, 0.2], [0.3, 0.2]]
    windows = rank_windows(spans, [0.5, 0.7, 0.5, 0.50001], 100.0)
    assert windows.tolist() == [[0, 20, 0.7], [20, 40, 0.5], [40, 60, 0.5], [80, 100, 0.5]]


def test_rounding_is_half_to_even_after_clamping():
    windows = [[1.0, 3.0, 0.12345], [-4.0, 5.0, 0.9], [149.0, 200.0, 0.9]]
    assert postprocess_windows(windows, (0, 150), 2.0).tolist() == [[0, 4, 0.1234], [0, 4, 0.9], [148, 150, 0.9]]


def test_nothing_is_done_unless_asked_for():
    windows = np.array([[-1.03, 7.77, 0.5]])
    result = postprocess_windows(windows, None, None)
    assert result.tolist() == windows.tolist()
    assert result is not windows
    assert postprocess_windows([], (0, 150), 2.0).shape == (0, 3)


@given(st.lists(st.tuples(st.floats(0, 150), st.floats(0, 150), FRACTIONS), max_size=6))
def test_postprocessing_twice_is_postprocessing_once(windows):
    once = postprocess_windows(windows, (0, 150), 2.0)
    np.testing.assert_array_equal(postprocess_windows(once, (0, 150), 2.0), once)


CHARADES, TACOS = ("charades_sta", "charades_sta_test_tvr_format.jsonl"), ("tacos", "test.jsonl")


@pytest.mark.parametrize(
    ("file", "clamp", "round_to", "ceiling"),
    [
        (CHARADES, (0, 150), 1.0, "100.00 100.00 99.81 93.77"),
        (CHARADES, (0, 150), 2.0, "100.00 99.89 98.28 87.55"),
        (CHARADES, (0, 360), 0.166666, "100.00 100.00 100.00 98.95"),
        (TACOS, None, 2.0, "99.80 98.93 93.80 90.17"),
        (TACOS, (0, 150), 2.0, "68.43 66.46 61.01 59.63"),
    ],
)
def test_the_ceiling_of_rounding(shared, file, clamp, round_to, ceiling):
    """The ground truth itself, post-processed, scores what is known for each benchmark's grid."""
    queries = read_annotations(shared("annotations", *file), clip_length=1.0)
    rows = []
    for query in queries:
        windows = postprocess_windows(np.column_stack([query.windows, np.ones(1)]), clamp, round_to)
        rows.append({"qid": query.qid, "pred_relevant_windows": windows.tolist()})
    metrics = evaluate(rows, queries, highlights=False, clip_length=1.0)
    assert [f"{metrics[name]:.2f}" for name in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")] == ceiling.split()
