import zipfile

import pytest

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.predictions import write_predictions
from sadetr.evaluation.submission import validate_submission, write_submission

QUERIES = [Query(qid, "q", f"v{qid}", 20.0, None, None, None) for qid in (1, 2)]


def row(qid, **fields):
    windows = [[0.0, 20.0, 1 - 0.1 * rank] for rank in range(10)]
    values = {"query": "q", "vid": f"v{qid}", "pred_relevant_windows": windows, "pred_saliency_scores": [0.5] * 10}
    return {"qid": qid} | values | fields


@pytest.fixture
def file(tmp_path):
    return tmp_path / "p.jsonl"


def test_a_valid_file_passes_also_with_features_one_clip_short(file):
    write_predictions(file, [row(2), row(1, pred_saliency_scores=[0.0] * 9)])
    checked = validate_submission(file, QUERIES, 2.0)
    assert (checked.count, checked.notes) == (2, [])


WINDOWS = row(1)["pred_relevant_windows"]


@pytest.mark.parametrize("count", [1, 2, 9])
def test_the_format_fixes_no_number_of_windows(file, count):
    write_predictions(file, [row(2), row(1, pred_relevant_windows=WINDOWS[:count])])
    assert validate_submission(file, QUERIES, 2.0).notes == []


@pytest.mark.parametrize(
    ("windows", "note"),
    [
        ([*WINDOWS, [0.0, 4.0, 0.0]], "more than 10 windows, of which mAP counts the first 10"),
        (WINDOWS[::-1], "not ordered by descending score"),
        ([[0.0, 22.0, 2.0], *WINDOWS], "end after their video"),
    ],
)
def test_what_the_format_allows_but_is_unusual_is_noted(file, windows, note):
    write_predictions(file, [row(2), row(1, pred_relevant_windows=windows)])
    notes = validate_submission(file, QUERIES, 2.0).notes
    assert any(note in each and each.endswith(": 1 of 2 lines (first: line 2)") for each in notes), notes


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(2), "line 2: qid 2 was already used"),
        (row(3), "line 2: qid 3 is not in the annotations"),
        (row(1, vid="v2"), "line 2: vid is 'v2' but qid 1 belongs to 'v1'"),
        (row(1, pred_relevant_windows=[]), "line 2: pred_relevant_windows is empty; .* at least one"),
        (row(1, pred_relevant_windows=[[8, 4, 0.5]]), "line 2: window .* ends before its start"),
        (row(1, pred_saliency_scores=[0.0] * 8), "line 2: 8 saliency scores for 10 clips"),
        (row(1, pred_saliency_scores=[0.0] * 11), "line 2: 11 saliency scores for 10 clips"),
    ],
)
def test_the_first_line_at_fault_is_named(file, bad, message):
    write_predictions(file, [row(2), bad, {"qid": None}])
    with pytest.raises(DataError, match=message):
        validate_submission(file, QUERIES, 2.0)


def test_texts_are_required(file):
    bad = row(1)
    del bad["vid"]
    write_predictions(file, [bad])
    with pytest.raises(DataError, match="line 1: field 'vid' is missing"):
        validate_submission(file, QUERIES, 2.0)


def test_every_query_is_required(file):
    write_predictions(file, [row(1)])
    with pytest.raises(DataError, match="without a prediction for qid 2"):
        validate_submission(file, QUERIES, 2.0)


def test_the_zip_holds_both_files_and_is_reproducible(tmp_path):
    val, test = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    write_predictions(val, [row(1)])
    write_predictions(test, [row(2)])
    for name in ("one.zip", "two.zip"):
        write_submission(tmp_path / name, val, test)
    assert (tmp_path / "one.zip").read_bytes() == (tmp_path / "two.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "one.zip") as archive:
        assert archive.namelist() == ["hl_val_submission.jsonl", "hl_test_submission.jsonl"]
        assert archive.read("hl_test_submission.jsonl") == test.read_bytes()
