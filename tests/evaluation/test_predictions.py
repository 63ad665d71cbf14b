import gzip
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sadetr.data.annotations import Query
from sadetr.errors import DataError
from sadetr.evaluation.predictions import read_predictions, write_predictions


def row(qid, **fields):
    values = {"query": "q", "vid": "v", "pred_relevant_windows": [[0, 2.0, 0.5]], "pred_saliency_scores": [0.5, -1]}
    return {"qid": qid} | values | fields


def queries(*qids):
    return [Query(qid, "q", "v", 4.0, np.array([[0.0, 2.0]]), None, None) for qid in qids]


def write(path, *rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "predictions.jsonl"


NUMBERS = st.floats(0, 500) | st.integers(0, 500)
WINDOWS = st.lists(st.tuples(NUMBERS, NUMBERS, NUMBERS).map(lambda w: [*sorted(w[:2]), w[2]]), max_size=3)


@given(st.lists(WINDOWS, min_size=1, max_size=4))
def test_what_was_written_is_read_back(tmp_path_factory, predicted):
    path = tmp_path_factory.mktemp("predictions") / "p.jsonl"
    rows = [row(f"é{index}", pred_relevant_windows=windows) for index, windows in enumerate(predicted)]
    write_predictions(path, rows)
    assert read_predictions(path) == rows


def test_what_published_files_contain_is_accepted(file):
    windows = [[4, 4, 0.9], [0.0, 900.0, 0.5], [0.0, 900.0, 0.5], [1, 2, 0.7]]
    write(file, row(1, pred_relevant_windows=windows, pred_saliency_scores=[0] * 9), row(2, pred_relevant_windows=[]))
    assert [read["qid"] for read in read_predictions(file, queries(2, 1))] == [1, 2]


def test_saliency_and_texts_may_be_absent_where_they_are_not_needed(file):
    write(file, {"qid": 1, "pred_relevant_windows": []})
    assert read_predictions(file, highlights=False) == [{"qid": 1, "pred_relevant_windows": []}]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(1), r"line 2: qid 1 was already used in line 1"),
        (row(9), r"line 2: qid 9 is not in the annotations"),
        (row("2"), r"line 2: qid '2' is not in the annotations; it is text in the predictions but a number"),
        (row(2.0), r"line 2: field 'qid' is 2.0; expected int or str"),
        (row(True), r"line 2: field 'qid' is True"),
        (row(2, vid=7), r"line 2: field 'vid' is 7"),
        ([1, 2], r"line 2: is not a JSON object"),
        ({"qid": 2}, r"line 2: field 'pred_relevant_windows' is missing; fields found: qid"),
        (row(2, pred_relevant_windows=None), r"line 2: field 'pred_relevant_windows' is None; expected list"),
        (
            row(2, pred_relevant_windows=[[0, 1]]),
            r"line 2: pred_relevant_windows\[0\] is \[0, 1\]; .* 3 numbers",
        ),
        (row(2, pred_relevant_windows=[[0, 1, "a"]]), r"line 2: pred_relevant_windows\[0\]"),
        (row(2, pred_relevant_windows=[[0, 1, True]]), r"line 2: pred_relevant_windows\[0\]"),
        (row(2, pred_relevant_windows=[[0, 1, 1], [0, float("nan"), 1]]), r"line 2: pred_relevant_windows\[1\]"),
        (row(2, pred_relevant_windows=[[0, 10**400, 1]]), r"line 2: pred_relevant_windows\[0\]"),
        (row(2, pred_relevant_windows=[[-0.5, 1, 1]]), r"line 2: window \[-0.5, 1\] starts before the video"),
        (row(2, pred_relevant_windows=[[3, 1, 1]]), r"line 2: window \[3, 1\] ends before its start"),
        (row(2, pred_saliency_scores=[0.1, None]), r"line 2: pred_saliency_scores\[1\] is None"),
        (row(2, pred_saliency_scores=[float("inf")]), r"line 2: pred_saliency_scores\[0\] is inf"),
        (row(2, pred_saliency_scores=[]), r"line 2: pred_saliency_scores is empty"),
        (row(2, pred_saliency_scores="none"), r"line 2: field 'pred_saliency_scores' is 'none'"),
    ],
)
def test_a_bad_line_is_named(file, bad, message):
    write(file, row(1), bad)
    with pytest.raises(DataError, match=message) as caught:
        read_predictions(file, queries(1, 2))
    assert str(file) in str(caught.value)


def test_a_missing_query_is_named_with_the_last_line(file):
    write(file, row(2))
    with pytest.raises(DataError, match=r"line 1: the file ends without a prediction for qid 1 and 1 more"):
        read_predictions(file, queries(1, 2, 3))


@pytest.mark.parametrize("cut", [1, 10, 60])
def test_a_truncated_last_line_is_named(file, cut):
    write(file, row(1), row(2))
    file.write_bytes(file.read_bytes()[: -1 - cut])
    with pytest.raises(DataError, match=r"line 2: .*cut off"):
        read_predictions(file, queries(1, 2))


def test_a_broken_line_in_the_middle_is_named(file):
    file.write_text(f'{json.dumps(row(1))}\n{{"qid": 2,\n{json.dumps(row(3))}\n')
    with pytest.raises(DataError, match=r"line 2: is not valid JSON"):
        read_predictions(file)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (gzip.compress(b'{"qid": 1}\n', mtime=0), "line 1: is gzip-compressed"),
        (b"", "line 1: the file is empty"),
        (b"\n \n", "line 1: the file is empty"),
        (b'{"qid": 1}\n\xff\xfe\n', "line 2: is not UTF-8"),
        (b'{"qid": 1, "vid": "v", "qid": 2}\n{}\n', "line 1: field 'qid' occurs twice"),
        (b"[" * 100_000 + b"\n{}\n", "line 1: is not valid JSON"),
    ],
)
def test_a_wrong_kind_of_file_is_named(file, content, message):
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_predictions(file)


def test_an_absent_file_is_named(file):
    with pytest.raises(DataError, match="no such file"):
        read_predictions(file)
    with pytest.raises(DataError, match="is a folder, not the JSON Lines file"):
        read_predictions(file.parent)


def test_a_diverged_model_writes_no_file(file):
    with pytest.raises(ValueError, match="JSON compliant"):
        write_predictions(file, [row(1, pred_saliency_scores=[float("nan")])])
    assert not list(file.parent.iterdir())
