"""Predictions as arrays hold what rows hold, and are scored as rows are."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.errors import DataError
from sadetr.evaluation import scorer
from sadetr.evaluation.moment_retrieval import FULL
from sadetr.evaluation.prediction_arrays import PredictionArrays
from sadetr.evaluation.predictions import SALIENCY, WINDOWS
from sadetr.evaluation.scorer import GroundTruth, evaluate, metrics_of

from . import reference
from .test_scorer import cases, query


def in_order(queries, rows):
    """As a network predicts: in the order of the annotations, with the names."""
    by_qid = {row["qid"]: row for row in rows}
    return [{"qid": each.qid, "query": each.query, "vid": each.vid} | by_qid[each.qid] for each in queries]


@given(cases(highlights=True), st.data())
def test_rows_and_arrays_are_the_same(case, data):
    queries, rows = case
    rows = in_order(queries, rows)
    arrays = PredictionArrays.of_rows(rows)
    assert len(arrays) == len(rows)
    assert arrays.rows(queries) == rows
    chosen = data.draw(st.lists(st.integers(0, len(rows) - 1)))
    some = arrays.take(np.array(chosen, dtype=np.int64))
    assert some.rows([queries[index] for index in chosen]) == [rows[index] for index in chosen]
    both = PredictionArrays.join([arrays, some])
    assert both.rows([*queries, *(queries[index] for index in chosen)]) == rows + [rows[index] for index in chosen]
    for row, first in zip(rows, arrays.leading_windows(3).tolist(), strict=True):
        assert first == (row[WINDOWS] + [[0.0] * 3] * 3)[:3]


@settings(max_examples=100)
@given(cases(highlights=True))
def test_one_layout_of_the_labels_scores_every_prediction(case):
    queries, rows = case
    truth = GroundTruth(queries, highlights=True, clip_length=2.0)
    full = GroundTruth(queries, highlights=True, clip_length=2.0, ranges=(FULL,))
    for changed in (rows, [{**row, SALIENCY: row[SALIENCY][::-1], WINDOWS: row[WINDOWS][::-1]} for row in rows]):
        arrays = PredictionArrays.of_rows(in_order(queries, changed))
        expected = reference.evaluate(changed, queries, True, 2.0)
        assert (
            metrics_of(truth.score(arrays)) == evaluate(changed, queries, highlights=True, clip_length=2.0) == expected
        )
        # The metrics of all lengths do not depend on whether others are wanted.
        assert metrics_of(full.score(arrays)) == {name: expected[name] for name in expected if "/" not in name}


@settings(max_examples=40)
@given(cases(highlights=True))
def test_chunks_of_a_prepared_truth_change_nothing(case):
    queries, rows = case
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "CHUNK", 2)
        truth = GroundTruth(queries, highlights=True, clip_length=2.0)
        found = metrics_of(truth.score(PredictionArrays.of_rows(in_order(queries, rows))))
    assert found == evaluate(rows, queries, highlights=True, clip_length=2.0)


@pytest.mark.parametrize(
    ("windows", "saliency", "message"),
    [
        ([[0, np.nan, 1]], [0.0], "NaN"),
        ([[3, 1, 1]], [0.0], "ends before its start"),
        ([[0, 1, 1]], [], "no predicted saliency"),
        ([[0, 1, 1]], [np.inf], "NaN or infinite"),
    ],
)
def test_a_network_that_has_diverged_is_named(windows, saliency, message):
    labelled = query([[0, 4]], relevant_clip_ids=np.array([1]), saliency=np.array([[4, 4, 4]]))
    truth = GroundTruth([labelled], highlights=True, clip_length=2.0)
    with pytest.raises(DataError, match=message):
        truth.score(PredictionArrays.of_rows([{WINDOWS: windows, SALIENCY: saliency}]))
