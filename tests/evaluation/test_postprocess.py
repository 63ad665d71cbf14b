import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import read_annotations
from sadetr.data.labels import Labels
from sadetr.evaluation.postprocess import postprocess_windows, rank_windows
from sadetr.evaluation.predictions import read_predictions, write_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.settings import AnnotationRules

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
    free = rank_windows(array[:, :2], array[:, 2], duration, clamp=False)
    np.testing.assert_allclose(np.minimum(free[:, :2], duration), windows[:, :2], atol=1e-4)
    assert (free[:, 0] >= 0).all()
    order = np.argsort(-array[:, 2], kind="stable")
    np.testing.assert_allclose(free[:, 1], (array[order, 0] + array[order, 1] / 2) * duration, atol=1e-4)


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
        # What a limit of 75 clips would leave.
        (TACOS, (0, 150), None, "68.58 67.23 65.86 67.11"),
    ],
)
def test_the_ceiling_of_rounding(shared, file, clamp, round_to, ceiling):
    """The ground truth itself, post-processed, scores what is known for each benchmark's grid."""
    queries = read_annotations(shared("annotations", *file), AnnotationRules(clip_length=1.0))
    rows = []
    for query in queries:
        windows = postprocess_windows(np.column_stack([query.windows, np.ones(1)]), clamp, round_to)
        rows.append({"qid": query.qid, "pred_relevant_windows": windows.tolist()})
    assert recalls(rows, queries) == ceiling.split()


def recalls(rows, queries):
    metrics = evaluate(rows, queries, highlights=False, clip_length=1.0)
    return [f"{metrics[name]:.2f}" for name in ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU")]


SETTINGS = [
    ("qvhighlights", "val", "100.00 100.00 100.00 100.00"),
    ("charades_sta", "test", "100.00 100.00 99.81 93.77"),
    ("charades_sta_vgg", "test", "100.00 100.00 100.00 98.95"),
    ("tacos", "test", "99.80 98.93 93.80 90.17"),
]


@pytest.mark.parametrize(("setting", "split", "ceiling"), SETTINGS, ids=[setting for setting, *_ in SETTINGS])
def test_ground_truth_survives_the_way_through_a_prediction_file(shared, tmp_path, setting, split, ceiling):
    """Each setting's own post-processing costs what is known and no more."""
    dataset = resolve_dataset(setting, "paper")
    folder = "charades_sta" if setting.startswith("charades_sta") else setting
    queries = read_annotations(shared("annotations", folder, dataset.annotations[split]), dataset.annotation_rules)
    rules, rows = dataset.postprocess, []
    for query in queries:
        windows = np.column_stack([query.windows, np.ones(len(query.windows))])
        windows = postprocess_windows(windows, rules.clamp, rules.round_to).tolist()
        names = {"qid": query.qid, "query": query.query, "vid": query.vid}
        rows.append({**names, "pred_relevant_windows": windows, "pred_saliency_scores": [0.0]})
    write_predictions(tmp_path / "rows.jsonl", rows)
    read = read_predictions(tmp_path / "rows.jsonl", queries, dataset.highlights)
    assert recalls(read, queries) == ceiling.split()


SPACING = [
    ("charades_sta", np.floor, "99.84 94.90"),
    ("charades_sta", np.ceil, "99.03 93.99"),
    # Without clamping to the video 25 windows that end behind the last whole clip make it 95.48 and 93.67.
    ("tacos", np.floor, "95.50 93.71"),
    ("tacos", np.ceil, "93.65 92.04"),
]


@pytest.mark.parametrize(("setting", "round_up", "ceiling"), SPACING, ids=[f"{s}-{r.__name__}" for s, r, _ in SPACING])
def test_labels_decoded_by_duration_cost_the_known_mismatch(shared, setting, round_up, ceiling):
    """Spans are normalised by clips and decoded with the duration, as in the field (D58): even a perfect model pays."""
    dataset = resolve_dataset(setting, "paper")
    queries = read_annotations(shared("annotations", setting, dataset.annotations["test"]), dataset.annotation_rules)
    lengths = round_up([query.duration / dataset.clip_length for query in queries]).astype(np.int64)
    spans = Labels(queries, lengths, dataset).draw(lambda _: np.random.default_rng(0)).spans
    rows = [
        {"qid": query.qid, "pred_relevant_windows": rank_windows(each[:1], [1.0], query.duration).tolist()}
        for query, each in zip(queries, spans, strict=True)
    ]
    assert recalls(rows, queries)[2:] == ceiling.split()
