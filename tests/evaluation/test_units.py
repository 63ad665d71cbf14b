"""Units of prediction files: what is not in seconds is refused, whatever is honest passes, saliency keeps its clips."""

import json

import numpy as np
import pytest

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, read_annotations, write_annotations
from sadetr.errors import DataError
from sadetr.evaluation.baselines import BASELINES, baseline_rows
from sadetr.evaluation.command import evaluate_command, submit_command
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, write_predictions
from sadetr.evaluation.scorer import evaluate
from sadetr.evaluation.submission import validate_submission
from sadetr.evaluation.units import read_foreign_predictions
from sadetr.settings import WindowOverrun

PAPER = resolve_dataset("qvhighlights", "paper")
ONE_SECOND = PAPER.model_copy(update={"clip_length": 1.0, "max_video_clips": 150})
CLIPS = 75


def truth(count=4, seed=0):
    """Queries of QVHighlights' shape: windows on the 2-second grid, every clip of them labelled."""
    rng = np.random.default_rng(seed)
    queries = []
    for qid in range(count):
        starts = np.sort(rng.choice(np.arange(5, 65, 10), 2, replace=False))
        ends = np.stack((starts, starts + rng.integers(3, 9, 2)), 1)
        ids = np.concatenate([np.arange(start, end) for start, end in ends])
        saliency = np.tile([4, 3, 4], (len(ids), 1))
        queries.append(Query(qid, "q", f"v{qid}", 150.0, 2.0 * ends, ids, saliency, 2.0))
    return queries


def perfect(queries, clip_length=2.0, convert=lambda times, duration: times):
    rows = []
    for query in queries:
        windows = convert(query.windows, query.duration)
        saliency = np.zeros(round(query.duration / clip_length))
        for start, end in query.windows:
            saliency[round(start / clip_length) : round(end / clip_length)] = 1
        scored = [[*window, 1 - rank / 10] for rank, window in enumerate(windows.tolist())]
        rows.append({"qid": query.qid, "query": "q", "vid": query.vid, WINDOWS: scored, SALIENCY: saliency.tolist()})
    return rows


@pytest.fixture
def file(tmp_path):
    return tmp_path / "p.jsonl"


def read(file, rows, queries, dataset=PAPER, highlights=True):
    write_predictions(file, rows)
    notes = []
    return read_foreign_predictions(file, queries, dataset, highlights, notes.append), notes


def score(found, queries):
    return evaluate(found.rows, queries, highlights=True, clip_length=found.clip_length)


def test_finer_predictions_score_as_coarse_ones(file):
    queries = truth()
    coarse, _ = read(file, perfect(queries, 2.0), queries)
    fine, _ = read(file, perfect(queries, 1.0), queries, ONE_SECOND)
    assert (coarse.clip_length, fine.clip_length) == (2.0, 1.0)
    assert score(coarse, queries) == pytest.approx(score(fine, queries), abs=1e-12)
    assert score(fine, queries)["HD_mAP"] == pytest.approx(200 / 3)
    assert score(fine, queries)["HIT@1"] == 100


def test_predictions_in_the_labels_clips_are_scored_in_them(file):
    """Published files have one score per 2 s, whatever features the setting has."""
    queries = truth()
    found, (note,) = read(file, perfect(queries, 2.0), queries, ONE_SECOND)
    assert found.clip_length == 2.0
    assert "one per 2 s, as the labels" in note
    assert score(found, queries)["HD_mAP"] == pytest.approx(200 / 3)


@pytest.mark.parametrize("clip_length", [1.0, 0.5, 3.0])
def test_predictions_in_neither_unit_are_refused(file, clip_length):
    queries = truth()
    message = rf"line 1: {150 / clip_length:.0f} pred_saliency_scores .*clip_length: {clip_length:g}"
    with pytest.raises(DataError, match=message):
        read(file, perfect(queries, clip_length), queries)
    # Where no highlights are scored, and in files of one or two lines, it is a hint.
    for count, highlights in ((4, False), (2, True)):
        _, (note,) = read(file, perfect(queries[:count], clip_length), queries[:count], PAPER, highlights)
        assert "other numbers than clips in" in note


def test_features_a_clip_short_or_cut_are_no_other_unit(file):
    queries = truth(8)
    rows = perfect(queries)
    for row in rows[:4]:
        row[SALIENCY] = row[SALIENCY][:-1]
    assert read(file, rows, queries)[1] == []
    limited = ONE_SECOND.model_copy(update={"max_video_clips": 100})
    for row in rows:
        row[SALIENCY] = [0.0] * 100
    found, notes = read(file, rows, queries, limited)
    assert (found.clip_length, notes) == (1.0, [])


def test_a_few_lines_of_another_length_are_hinted_at(file):
    queries = truth(8)
    rows = perfect(queries)
    rows[5][SALIENCY] *= 2
    found, (note,) = read(file, rows, queries)
    assert found.clip_length == 2.0
    assert "line 6: 150 pred_saliency_scores" in note
    assert "1 of 8 lines" in note


CONVERSIONS = {
    "fractions of the video": lambda times, duration: times / duration,
    "percent of the video": lambda times, duration: 100 * times / duration,
    "minutes": lambda times, duration: times / 60,
    "milliseconds": lambda times, duration: 1000 * times,
    "indices of clips of 2 s": lambda times, duration: times / 2,
    "frames": lambda times, duration: 30 * times,
}


@pytest.mark.parametrize("unit", CONVERSIONS)
@pytest.mark.parametrize("count", [3, 40])
def test_windows_that_are_not_seconds_are_refused(file, unit, count):
    queries = truth(count)
    rows = perfect(queries, convert=CONVERSIONS[unit])
    with pytest.raises(DataError, match=r"p\.jsonl: line \d+: window \[.*seconds") as caught:
        read(file, rows, queries)
    assert unit in str(caught.value)
    # The same of a predictor that is wrong now and then.
    for row in rows[: count // 4]:
        row[WINDOWS] = [[*CONVERSIONS[unit](np.array([0.0, 4.0]), 150.0), 1.0]]
    with pytest.raises(DataError, match="seconds"):
        read(file, rows, queries)


@pytest.mark.parametrize("unit", CONVERSIONS)
def test_two_lines_are_not_refused_but_hinted_at(file, unit):
    queries = truth(2)
    found, (note,) = read(file, perfect(queries, convert=CONVERSIONS[unit]), queries)
    assert len(found.rows) == 2
    assert note.startswith(f"warning: {file}: line ")


def test_bad_windows_in_fractions_or_frames_are_refused_without_labels_too(file):
    queries = [Query(query.qid, "q", query.vid, 150.0, None, None, None) for query in truth(30)]
    rng = np.random.default_rng(1)
    for factor, message in ((1 / 150, "fractions of the video"), (25, r"starts after the video of 150 s, as in")):
        rows = perfect(truth(30))
        for row in rows:
            row[WINDOWS] = [[*(factor * np.sort(rng.uniform(0, 150, 2))).tolist(), 0.5] for _ in range(5)]
        with pytest.raises(DataError, match=message):
            read(file, rows, queries)


HONEST = {
    "always the same": lambda query, rng: [[0, 150, 1.0]],
    "beyond the video": lambda query, rng: [[query.duration - 10, query.duration + 20, 1.0]],
    "no length": lambda query, rng: [[0, 0, 1.0]],
    "the first half": lambda query, rng: [[0, query.duration / 2, 1.0]],
    "the first seconds": lambda query, rng: [[0, 10, 1.0]],
    "some behind the video": lambda query, rng: [[160, 170, 1.0] if query.qid % 5 == 0 else [50, 60, 1.0]],
    "whole seconds": lambda query, rng: [[*sorted(rng.integers(0, 150, 2).tolist()), 1.0]],
    "none for most": lambda query, rng: [] if query.qid else [[3, 4, 1.0]],
}


@pytest.mark.parametrize("kind", HONEST)
def test_honest_files_pass(file, kind):
    queries = truth(60)
    rng = np.random.default_rng(0)
    rows = perfect(queries)
    for row, query in zip(rows, queries, strict=True):
        row[WINDOWS] = HONEST[kind](query, rng)
    assert read(file, rows, queries)[1] == []


@pytest.mark.parametrize("count", [1, 2, 3, 60])
@pytest.mark.parametrize("name", BASELINES)
def test_trivial_baselines_pass(file, name, count):
    queries = truth(count)
    rows = baseline_rows(name, queries, training=truth(50, seed=9), clip_length=2.0, seed=0)
    assert read(file, rows, queries)[1] == []


@pytest.mark.parametrize("name", ["cg_detr_val", "moment_detr_sample_val", "qd_detr_val", "tr_detr_test"])
def test_published_files_pass_and_score_the_same_with_finer_features(shared, name):
    split = PAPER.annotations[name.rpartition("_")[2]]
    queries = read_annotations(shared("annotations", "qvhighlights", split), PAPER.annotation_rules)
    path, notes = shared("released_predictions", "qvhighlights", f"{name}.jsonl"), []
    found = read_foreign_predictions(path, queries, PAPER, True, notes.append)
    assert notes == []
    queries = read_annotations(path=shared("annotations", "qvhighlights", split), rules=ONE_SECOND.annotation_rules)
    other = read_foreign_predictions(path, queries, ONE_SECOND, True, notes.append)
    assert (found.clip_length, other.clip_length, len(notes)) == (2.0, 2.0, 1)
    assert score(found, queries) == score(other, queries)


@pytest.mark.parametrize(("predictions", "dataset"), [("perfect_2s", PAPER), ("perfect_1s", ONE_SECOND)])
def test_the_reported_case_scores_as_a_perfect_predictor(shared, tmp_path, predictions, dataset):
    annotations = shared("cases", "clip_ids_in_other_unit", "annotations.jsonl")
    path = shared("cases", "clip_ids_in_other_unit", f"{predictions}.jsonl")
    evaluate_command(dataset, annotations, path, out=tmp_path / "m.json")
    metrics = json.loads((tmp_path / "m.json").read_text())["metrics"]
    assert metrics["HD_mAP"] == pytest.approx(200 / 3)
    assert metrics["HIT@1"] == 100


def test_evaluate_names_the_file_with_other_units(tmp_path):
    queries = truth()
    write_annotations(tmp_path / "gt.jsonl", queries)
    write_predictions(tmp_path / "good.jsonl", perfect(queries))
    write_predictions(tmp_path / "bad.jsonl", perfect(queries, convert=CONVERSIONS["fractions of the video"]))
    for first, second in (("bad", None), ("good", "bad")):
        against = second and tmp_path / f"{second}.jsonl"
        with pytest.raises(DataError, match=r"bad\.jsonl: line 1: window .*multiply start and end by the duration"):
            evaluate_command(PAPER, tmp_path / "gt.jsonl", tmp_path / f"{first}.jsonl", against=against)


def test_others_data_sets_with_rounded_durations_can_be_scored(tmp_path, capsys):
    queries = [Query(qid, "q", f"v{qid}", 20.0, np.array([[4.0, 20.0 + 0.4 * qid]]), None, None) for qid in range(2)]
    write_annotations(tmp_path / "gt.jsonl", queries)
    plain = PAPER.model_copy(update={"highlights": False, "saliency": "window"})
    with pytest.raises(DataError, match=r"gt\.jsonl: line 2: .*window_overrun"):
        evaluate_command(plain, tmp_path / "gt.jsonl", baseline="whole_video")
    clamping = plain.model_copy(update={"window_overrun": WindowOverrun(rule="clamp", tolerance=0.5)})
    evaluate_command(clamping, tmp_path / "gt.jsonl", baseline="whole_video", out=tmp_path / "m.json")
    assert f"{tmp_path / 'gt.jsonl'}: line 2: a window ends after its video, by 0.4 s" in capsys.readouterr().err
    assert json.loads((tmp_path / "m.json").read_text())["metrics"]["mIoU"] == pytest.approx(80)


def test_a_submission_has_one_score_per_clip_of_the_labels(file):
    queries = truth()
    windows = [[10.0 * rank, 10.0 * rank + 4, 1 - rank / 10] for rank in range(10)]
    rows = [row | {WINDOWS: windows} for row in perfect(queries)]
    write_predictions(file, rows)
    validate_submission(file, queries, ONE_SECOND.label_clip_length)
    write_annotations(file.with_name("gt.jsonl"), queries)
    gt = file.with_name("gt.jsonl")
    submit_command(ONE_SECOND, file, file, gt, gt, file.with_name("s.zip"))
    write_predictions(file, [row | {WINDOWS: windows} for row in perfect(queries, 1.0)])
    with pytest.raises(DataError, match=r"line 1: 150 saliency scores for 75 clips of 2 s; .* their mean"):
        submit_command(ONE_SECOND, file, file, gt, gt, file.with_name("t.zip"))
    write_predictions(file, perfect(queries, convert=CONVERSIONS["fractions of the video"]))
    with pytest.raises(DataError, match=r"line 1: .*fractions of the video"):
        submit_command(PAPER, file, file, gt, gt, file.with_name("t.zip"))
