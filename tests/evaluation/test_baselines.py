import numpy as np
import pytest

from sadetr.data.annotations import Query, read_annotations
from sadetr.errors import SettingsError
from sadetr.evaluation.baselines import BASELINES, baseline_rows
from sadetr.evaluation.predictions import read_predictions, write_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.settings import AnnotationRules

QUERIES = [
    Query(qid, "q", "v", duration, np.array([[0.0, duration / 2], [duration / 2, duration]]), None, None)
    for qid, duration in enumerate([10.0, 33.3, 150.0])
]


def rows_of(name, training=QUERIES, seed=0):
    return baseline_rows(name, QUERIES, training=training, clip_length=2.0, seed=seed)


@pytest.mark.parametrize("name", BASELINES)
def test_rows_are_valid_predictions(name, tmp_path):
    write_predictions(tmp_path / "p.jsonl", rows_of(name))
    rows = read_predictions(tmp_path / "p.jsonl", QUERIES)
    assert [len(row["pred_saliency_scores"]) for row in rows] == [5, 16, 75]
    for row, query in zip(rows, QUERIES, strict=True):
        windows = np.array(row["pred_relevant_windows"])
        assert windows[:, 1].max() <= query.duration
        assert (np.diff(windows[:, 2]) <= 0).all()


def test_random_spans_depend_on_the_seed_alone():
    assert rows_of("random_spans") == rows_of("random_spans")
    assert rows_of("random_spans") != rows_of("random_spans", seed=1)
    assert {len(row["pred_relevant_windows"]) for row in rows_of("random_spans")} == {10}


def test_the_mean_span_is_that_of_the_training_windows():
    assert rows_of("mean_span")[0]["pred_relevant_windows"] == [[2.5, 7.5, 1.0]]
    with pytest.raises(SettingsError, match="training annotations"):
        rows_of("mean_span", training=None)


def test_an_unknown_baseline_is_named():
    with pytest.raises(SettingsError, match=r"'best'.*whole_video, mean_span, random_spans"):
        rows_of("best")


@pytest.mark.parametrize(
    ("parts", "expected"),
    [
        (("qvhighlights", "highlight_val_release.jsonl"), "20.06 9.03 6.06 23.89"),
        (("qvhighlights", "highlight_test_with_gt.jsonl"), "22.37 9.99 6.23 24.38"),
        (("charades_sta", "charades_sta_test_tvr_format.jsonl"), "35.00 0.43 0.00 27.13"),
        (("tacos", "test.jsonl"), "5.90 1.55 0.77 8.76"),
    ],
)
def test_whole_video_on_the_real_benchmarks(shared, parts, expected):
    queries = read_annotations(shared("annotations", *parts), AnnotationRules(clip_length=1.0))
    rows = baseline_rows("whole_video", queries, training=None, clip_length=1.0, seed=0)
    metrics = evaluate(rows, queries, highlights=False, clip_length=1.0)
    assert [f"{metrics[name]:.2f}" for name in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")] == expected.split()
