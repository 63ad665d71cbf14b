import numpy as np
import pytest

from sadetr.data.annotations import Query
from sadetr.evaluation.scorer import metrics_of, score
from sadetr.evaluation.significance import confidence_intervals, contributions_of, paired_permutation_test


def queries_of(count, rng):
    starts = rng.integers(0, 30, count) * 2.0
    return [
        Query(qid, "", "", 80.0, np.array([[start, start + 8.0]]), np.array([3]), np.array([[4, 2, 3]]))
        for qid, start in enumerate(starts)
    ]


def scores_of(queries, jitter, rng):
    """Predictions whose windows miss by up to ``jitter`` seconds; every tenth query has none."""
    rows = []
    for query in queries:
        start = max(0.0, query.windows[0, 0] + rng.uniform(-jitter, jitter))
        rows.append(
            {
                "qid": query.qid,
                "pred_relevant_windows": [[start, start + 8.0, 0.5]] if query.qid % 10 else [],
                "pred_saliency_scores": rng.normal(size=40).round(1).tolist(),
            }
        )
    return score(rows, queries, highlights=True, clip_length=2.0)


@pytest.fixture(scope="module")
def scores():
    rng = np.random.default_rng(0)
    queries = queries_of(200, rng)
    return {jitter: scores_of(queries, jitter, rng) for jitter in (2.0, 2.1, 8.0)}


def test_metrics_are_means_of_their_contributions(scores):
    metrics = metrics_of(scores[2.0])
    contributions = contributions_of(scores[2.0])
    assert set(contributions.names) == set(metrics)
    for index, name in enumerate(contributions.names):
        values = contributions.values[contributions.counted[:, index], index]
        if metrics[name] is None:
            assert not len(values)
        else:
            assert values.mean() == pytest.approx(metrics[name], abs=1e-9)


def test_intervals_hold_the_metric_and_shrink_with_the_number_of_queries(scores):
    metrics = metrics_of(scores[8.0])
    intervals = confidence_intervals(contributions_of(scores[8.0]), 1000, seed=1)
    assert intervals["middle/mAP"] is None
    low, high = intervals["R1@0.5"]
    share = metrics["R1@0.5"] / 100
    normal = 1.96 * 100 * np.sqrt(share * (1 - share) / 200)
    assert low < metrics["R1@0.5"] < high
    assert high - low == pytest.approx(2 * normal, rel=0.15)


def test_intervals_depend_on_the_seed_alone(scores):
    contributions = contributions_of(scores[8.0])
    first = confidence_intervals(contributions, 50, seed=1)
    assert first == confidence_intervals(contributions, 50, seed=1)
    assert first != confidence_intervals(contributions, 50, seed=2)


def test_equal_predictions_do_not_differ(scores):
    contributions = contributions_of(scores[2.0])
    differences = paired_permutation_test(contributions, contributions, seed=0, permutations=200)
    assert differences["long/mAP"] is None
    assert all(found is None or (found.value, found.p) == (0, 1) for found in differences.values())


def test_a_clear_difference_is_found_and_is_antisymmetric(scores):
    good, bad = contributions_of(scores[2.0]), contributions_of(scores[8.0])
    forward = paired_permutation_test(good, bad, seed=0, permutations=2000)
    backward = paired_permutation_test(bad, good, seed=0, permutations=2000)
    assert forward["mIoU"].value > 0
    assert forward["mIoU"].p == pytest.approx(1 / 2001)
    for name, found in forward.items():
        assert found is None or (found.value, found.p) == pytest.approx((-backward[name].value, backward[name].p))


def test_p_is_that_of_the_sign_test_where_only_signs_differ():
    """R1 of predictions that disagree on 8 queries, all in one direction: 2 of 2**8 permutations are as extreme."""
    queries = queries_of(20, np.random.default_rng(0))

    def hits(missed):
        rows = [
            {"qid": query.qid, "pred_relevant_windows": [[*(query.windows[0] + (100 if query.qid < missed else 0)), 1]]}
            for query in queries
        ]
        return contributions_of(score(rows, queries, highlights=False, clip_length=2.0))

    found = paired_permutation_test(hits(0), hits(8), seed=3, permutations=40_000)["R1@0.5"]
    assert found.value == pytest.approx(40)
    assert found.p == pytest.approx(2 / 2**8, rel=0.2)


def test_blocks_change_nothing(scores, monkeypatch):
    contributions = contributions_of(scores[8.0])
    whole = confidence_intervals(contributions, 40, seed=1)
    monkeypatch.setattr("sadetr.evaluation.significance.BLOCK_CELLS", 1000)
    for name, interval in confidence_intervals(contributions, 40, seed=1).items():
        assert interval == (whole[name] and pytest.approx(whole[name]))
