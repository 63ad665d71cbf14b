import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.data.annotations import Query, read_annotations
from sadetr.errors import DataError
from sadetr.evaluation import highlight_detection, scorer
from sadetr.evaluation.formats import cg_detr_json, moment_detr_json
from sadetr.evaluation.predictions import read_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.evaluation.significance import contributions_of

from . import reference

TIMES = st.sampled_from([0.0, 2.0, 4.0, 6.0, 7.3, 10.0, 12.0, 14.1, 20.0, 24.3, 30.4, 40.0, 70.0, 100.0, 160.0, 320.0])
SCORES = st.sampled_from([-0.5, 0.0, 0.1, 0.5, 0.9, 1.0]) | st.floats(-1, 1)
SALIENCY = st.sampled_from([-1.0, -0.0, 0.0, 0.5, 0.25]) | st.floats(-20, 20, width=16)


@st.composite
def windows(draw, count, empty=True):
    ends = draw(st.lists(st.tuples(TIMES, TIMES), min_size=count[0], max_size=count[1]))
    ends = [sorted(pair) for pair in ends]
    return [pair if empty or pair[0] < pair[1] else [pair[0], pair[0] + 10.0] for pair in ends]


@st.composite
def cases(draw, highlights):
    """Annotations and predictions in another order, a query's windows anywhere, also outside its video."""
    queries, rows = [], []
    for qid in range(draw(st.integers(1, 5))):
        clips = draw(st.sampled_from([1, 2, 5, 12]))
        ids = draw(st.lists(st.integers(0, clips - 1), unique=True)) if highlights else []
        triples = draw(st.lists(st.tuples(*[st.integers(0, 4)] * 3), min_size=len(ids), max_size=len(ids)))
        truth = np.array(draw(windows((1, 6), empty=False)), dtype=np.float64)
        saliency = np.array(triples, dtype=np.int64).reshape(-1, 3)
        queries.append(Query(qid, "", "", clips * 2.0, truth, np.array(sorted(ids), dtype=np.int64), saliency))
        predicted = draw(windows((0, 12)))
        # Often a perfect window, otherwise matches are rare.
        predicted = [draw(st.sampled_from([window, truth[0].tolist(), truth[-1].tolist()])) for window in predicted]
        row = {"qid": qid, "pred_relevant_windows": [[*window, draw(SCORES)] for window in predicted]}
        if highlights:
            row["pred_saliency_scores"] = draw(st.lists(SALIENCY, min_size=1, max_size=clips + 2))
        rows.append(row)
    return queries, draw(st.permutations(rows))


@settings(max_examples=200)
@given(cases(highlights=False))
def test_moment_retrieval_equals_the_reference(case):
    queries, rows = case
    assert evaluate(rows, queries, highlights=False, clip_length=2.0) == reference.evaluate(rows, queries, False, 2.0)


@settings(max_examples=200)
@given(cases(highlights=True))
def test_highlight_detection_equals_the_reference(case):
    queries, rows = case
    assert evaluate(rows, queries, highlights=True, clip_length=2.0) == reference.evaluate(rows, queries, True, 2.0)


@settings(max_examples=40)
@given(cases(highlights=True))
def test_chunks_and_blocks_change_nothing(case):
    queries, rows = case
    whole = evaluate(rows, queries, highlights=True, clip_length=2.0)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "CHUNK", 2)
        patch.setattr(highlight_detection, "MAX_CLIPS", 10)
        assert evaluate(rows, queries, highlights=True, clip_length=2.0) == whole


def query(windows, **fields):
    values = {"qid": 1, "query": "", "vid": "v", "duration": 150.0, "relevant_clip_ids": None, "saliency": None}
    return Query(**(values | {"windows": np.array(windows, dtype=np.float64)} | fields))


def prediction(windows, qid=1, saliency=None):
    return {"qid": qid, "pred_relevant_windows": windows, "pred_saliency_scores": saliency or [0.0]}


def moments(windows, truth):
    return evaluate([prediction(windows)], [query(truth)], highlights=False, clip_length=2.0)


def test_a_threshold_is_reached_exactly():
    assert moments([[0, 10, 1]], [[3, 10]])["R1@0.7"] == 100
    assert moments([[0, 10, 1]], [[1, 10]])["mAP@0.9"] == 100


def test_r1_takes_the_first_window_and_map_the_best_scored():
    metrics = moments([[50, 60, 0.1], [0, 10, 0.9]], [[0, 10]])
    assert (metrics["R1@0.5"], metrics["mAP@0.5"]) == (0, 100)


def test_only_ten_windows_count():
    misses = [[100, 110, 0.5]] * 10
    assert moments([*misses, [0, 10, 1.0]], [[0, 10]])["mAP"] == 0
    assert moments([*misses[1:], [0, 10, 1.0]], [[0, 10]])["mAP"] == pytest.approx(100)


def test_a_prediction_may_take_its_second_best_window():
    # Both predictions fit the first window best; the second one still reaches 0.5 with the other.
    truth = [[0, 10], [4, 14]]
    assert moments([[0, 10, 0.9], [1, 11, 0.8]], truth)["mAP@0.5"] == 100


def test_of_two_equal_overlaps_the_later_window_is_taken():
    # The first prediction fits both alike; the second reaches 0.7 with the first window only.
    assert moments([[1, 11, 0.9], [0, 10, 0.8]], [[0, 10], [2, 12]])["mAP@0.7"] == 100
    assert moments([[1, 11, 0.9], [2, 12, 0.8]], [[0, 10], [2, 12]])["mAP@0.7"] == 50


def test_scores_may_be_negative():
    assert moments([[0, 10, -3.0]], [[0, 10]])["mAP"] == pytest.approx(100)


def test_no_window_counts_for_r1_but_not_for_map():
    queries = [query([[0, 10]]), query([[0, 10]], qid=2)]
    rows = [prediction([[0, 10, 1.0]]), prediction([], qid=2)]
    metrics = evaluate(rows, queries, highlights=False, clip_length=2.0)
    assert (metrics["R1@0.5"], metrics["mIoU"], metrics["mAP"]) == (50, 50, 100)
    assert moments([], [[0, 10]])["mAP"] is None


def test_length_ranges_are_open_below_and_closed_above():
    metrics = moments([[0, 10, 1]], [[0, 10]])
    assert metrics["short/R1@0.5"] == 100
    assert metrics["middle/R1@0.5"] is metrics["long/mAP"] is metrics["long/mIoU"] is None
    metrics = moments([[0, 200, 1]], [[0, 200]])
    assert metrics["R1@0.5"] == 100
    assert metrics["long/R1@0.5"] is None


def test_missing_saliency_ranks_as_zero_and_a_top_clip_beyond_the_video_misses():
    labelled = query([[0, 4]], duration=4.0, relevant_clip_ids=np.array([1]), saliency=np.array([[4, 4, 4]]))

    def highlights(saliency):
        metrics = evaluate([prediction([], saliency=saliency)], [labelled], highlights=True, clip_length=2.0)
        return metrics["HD_mAP"], metrics["HIT@1"]

    assert highlights([-1.0]) == (100, 0)
    assert highlights([1.0]) == (50, 0)
    assert highlights([0.0, 1.0, 2.0]) == (100, 0)
    assert highlights([0.0, 1.0, 0.5]) == (100, 100)
    assert highlights([1.0, 1.0]) == (50, 0)


@pytest.mark.parametrize(
    ("rows", "queries", "highlights", "message"),
    [
        ([prediction([[0, 1, 1]], qid=2)], [query([[0, 1]])], False, "qid 2 have no annotation"),
        ([prediction([[0, 1, 1]], qid="1")], [query([[0, 1]])], False, "text in the predictions but a number"),
        ([], [query([[0, 1]])], False, "no prediction for qid 1"),
        ([prediction([])] * 2, [query([[0, 1]])], False, "twice"),
        ([prediction([[0, float("nan"), 1]])], [query([[0, 1]])], False, "NaN"),
        ([prediction([[3, 1, 1]])], [query([[0, 1]])], False, "ends before its start"),
        ([], [], False, "no annotations"),
    ],
)
def test_bad_input_is_named(rows, queries, highlights, message):
    with pytest.raises(DataError, match=message):
        evaluate(rows, queries, highlights=highlights, clip_length=2.0)


@settings(max_examples=40)
@given(cases(highlights=True), st.data())
def test_queries_without_labels_count_for_nothing(case, data):
    queries, rows = case
    hidden = data.draw(st.sets(st.sampled_from([query.qid for query in queries])))
    unrated = data.draw(st.sets(st.sampled_from([query.qid for query in queries])))
    changed = [
        replace(
            query,
            windows=None if query.qid in hidden else query.windows,
            saliency=None if query.qid in unrated else query.saliency,
        )
        for query in queries
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(scorer, "CHUNK", 2)
        scores = scorer.score(rows, changed, highlights=True, clip_length=2.0)
    found, contributions = scorer.metrics_of(scores), contributions_of(scores)
    for left, prefixes, highlights in ((hidden, ("R1", "mAP", "mIoU"), False), (unrated, ("HD", "HIT"), True)):
        kept = [query for query in queries if query.qid not in left]
        expected = dict.fromkeys(found)
        if kept:
            labelled = [row for row in rows if row["qid"] not in left]
            expected = evaluate(labelled, kept, highlights=highlights, clip_length=2.0)
        for column, name in enumerate(contributions.names):
            if name.rpartition("/")[2].startswith(prefixes):
                assert found[name] == expected[name]
                counted = {queries[index].qid for index in np.flatnonzero(contributions.counted[:, column])}
                assert counted.isdisjoint(left)


@pytest.mark.parametrize("saliency", [[], [float("nan")], [float("inf")]])
def test_bad_saliency_is_named(saliency):
    labelled = query([[0, 4]], relevant_clip_ids=np.array([1]), saliency=np.array([[4, 4, 4]]))
    row = prediction([]) | {"pred_saliency_scores": saliency}
    with pytest.raises(DataError, match="saliency"):
        evaluate([row], [labelled], highlights=True, clip_length=2.0)


@pytest.mark.parametrize(
    ("name", "structure"),
    [("cg_detr_val", cg_detr_json), ("qd_detr_val", moment_detr_json), ("moment_detr_sample_val", moment_detr_json)],
)
def test_published_metrics_are_reproduced_object_for_object(shared, name, structure):
    folder = shared("released_predictions", "qvhighlights")
    queries = read_annotations(shared("annotations", "qvhighlights", "highlight_val_release.jsonl"))
    rows = read_predictions(folder / f"{name}.jsonl", queries)
    written = json.dumps(structure(evaluate(rows, queries, highlights=True, clip_length=2.0)), indent=4)
    published = (folder / f"{name}.metrics.json").read_text()
    assert json.loads(written) == json.loads(published)
    assert list(json.loads(written)) == list(json.loads(published))


def test_tr_detr_reproduces_its_row_of_table_1(shared):
    queries = read_annotations(shared("annotations", "qvhighlights", "highlight_test_with_gt.jsonl"))
    rows = read_predictions(shared("released_predictions", "qvhighlights", "tr_detr_test.jsonl"), queries)
    metrics = evaluate(rows, queries, highlights=True, clip_length=2.0)
    names = ("R1@0.5", "R1@0.7", "mAP@0.5", "mAP@0.75", "mAP", "HD_mAP", "HIT@1")
    assert [f"{metrics[name]:.2f}" for name in names] == ["64.66", "48.96", "63.98", "43.73", "42.62", "39.91", "63.42"]


def test_the_reference_agrees_on_published_predictions(shared):
    queries = read_annotations(shared("annotations", "qvhighlights", "highlight_val_release.jsonl"))
    rows = read_predictions(shared("released_predictions", "qvhighlights", "cg_detr_val.jsonl"), queries)
    rng = np.random.default_rng(0)
    chosen = [queries[index] for index in rng.choice(len(queries), 200, replace=False)]
    kept = {query.qid for query in chosen}
    rows = [row for row in rows if row["qid"] in kept]
    for row in rows:  # shuffled, jittered and truncated
        windows = np.array(row["pred_relevant_windows"])
        windows[:, 1] += rng.choice([0.0, 1.7], len(windows))
        row["pred_relevant_windows"] = rng.permutation(windows)[: rng.integers(1, 11)].tolist()
        row["pred_saliency_scores"] = row["pred_saliency_scores"][: rng.integers(60, 76)]
    assert evaluate(rows, chosen, highlights=True, clip_length=2.0) == reference.evaluate(rows, chosen, True, 2.0)
