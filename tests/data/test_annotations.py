import gzip
import json

import numpy as np
import pytest

from sadetr.data.annotations import clip_count, read_annotations, write_annotations
from sadetr.errors import DataError
from sadetr.settings import AnnotationRules
from tests.samples import SHARED


def row(number=1, **fields):
    values = {
        "query": "a person",
        "vid": "v",
        "duration": 20,
        "relevant_windows": [[2, 6]],
        "relevant_clip_ids": [1, 2],
        "saliency_scores": [[0, 4, 2], [1, 1, 1]],
    }
    return {"qid": number} | values | fields


def without(*names, **fields):
    return {name: value for name, value in row(**fields).items() if name not in names}


def write(path, *rows):
    path.write_text("\n".join(json.dumps(row) for row in rows))
    return path


@pytest.fixture
def file(tmp_path):
    return tmp_path / "annotations.jsonl"


def test_fields_become_arrays(file):
    write(file, row(extra="ignored"))
    (query,) = read_annotations(file)
    assert (query.qid, query.query, query.vid, query.duration) == (1, "a person", "v", 20.0)
    assert isinstance(query.duration, float)
    for array, values, dtype in (
        (query.windows, [[2, 6]], np.float64),
        (query.relevant_clip_ids, [1, 2], np.int64),
        (query.saliency, [[0, 4, 2], [1, 1, 1]], np.int64),
    ):
        assert array.tolist() == values
        assert array.dtype == dtype


def test_labels_may_be_absent(file):
    write(file, without("relevant_windows", "relevant_clip_ids", "saliency_scores", qid="v_0"))
    (query,) = read_annotations(file)
    assert query.qid == "v_0"
    assert query.windows is query.relevant_clip_ids is query.saliency is None


def test_what_was_written_is_read_back(file):
    write(file, row(1, query="café"), without("relevant_windows", "relevant_clip_ids", "saliency_scores", qid=2))
    copy = file.with_name("copy.jsonl")
    write_annotations(copy, read_annotations(file))
    assert [json.loads(line) for line in copy.read_text().splitlines()] == [
        json.loads(line) for line in file.read_text().splitlines()
    ]


@pytest.mark.parametrize("name", ["qid", "query", "vid", "duration", "relevant_clip_ids"])
def test_a_missing_field_is_named(file, name):
    write(file, row(), without(name, qid=2))
    with pytest.raises(DataError, match=f"line 2: field '{name}' is missing"):
        read_annotations(file)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        (row(1), "qid 1 was already used in line 1"),
        (row(2, qid=2.5), "field 'qid' is 2.5; expected int or str"),
        (row(2, query=None), "field 'query' is None"),
        (row(2, duration="20"), "field 'duration' is '20'"),
        (row(2, duration=True), "field 'duration' is True"),
        (row(2, duration=float("nan")), "field 'duration' is nan"),
        (row(2, duration=0), "duration 0.0 is not positive"),
        (row(2, relevant_windows=[]), "'relevant_windows' is empty"),
        (row(2, relevant_windows={}), "'relevant_windows' is {}; expected list"),
        (row(2, relevant_windows=[[2]]), r"relevant_windows\[0\] is \[2\]; expected a list of 2 numbers"),
        (row(2, relevant_windows=[[2, 6], [1, None]]), r"relevant_windows\[1\]"),
        (row(2, relevant_windows=[[2, float("nan")]]), r"relevant_windows\[0\]"),
        (row(2, relevant_windows=[[6, 2]]), r"window \[6, 2\] does not end after its start"),
        (row(2, relevant_windows=[[6, 6]]), r"window \[6, 6\] does not end after its start"),
        (row(2, relevant_windows=[[6, 20.1]]), r"window \[6, 20.1\] leaves the video of 20 s"),
        (row(2, relevant_windows=[[-1, 6]]), r"window \[-1, 6\] leaves the video"),
        (row(2, relevant_clip_ids=[1]), "1 relevant_clip_ids but 2 saliency_scores"),
        (row(2, relevant_clip_ids=[1, 10]), "relevant clip 10 is not one of the video's 10 clips"),
        (row(2, relevant_clip_ids=[-1, 2]), "relevant clip -1 is not one of"),
        (row(2, relevant_clip_ids=[1, 2.0]), r"relevant_clip_ids\[1\] is 2.0; expected a finite int"),
        (row(2, relevant_clip_ids=[2, 1]), "not ascending"),
        (row(2, relevant_clip_ids=[2, 2]), "repeat a clip"),
        (row(2, saliency_scores=[[0, 4, 2], [1, 1, 5]]), r"saliency_scores\[1\] is \[1, 1, 5\], outside 0 to 4"),
        (row(2, saliency_scores=[[0, 4, -1], [1, 1, 1]]), r"saliency_scores\[0\] is \[0, 4, -1\], outside 0 to 4"),
        (row(2, saliency_scores=[[0, 4], [1, 1, 1]]), r"saliency_scores\[0\] is \[0, 4\]; expected a list of 3"),
        (row(2, saliency_scores=[[0, 4, 2.5], [1, 1, 1]]), r"saliency_scores\[0\]"),
        ("text", "is not a JSON object"),
    ],
)
def test_a_bad_line_is_named(file, bad, message):
    write(file, row(), bad)
    with pytest.raises(DataError, match=f"line 2: .*{message}") as caught:
        read_annotations(file)
    assert str(file) in str(caught.value)


def test_a_window_may_exceed_the_video_by_rounding(file):
    write(file, row(relevant_windows=[[2, 20.0000001]]))
    assert len(read_annotations(file)) == 1


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "line 1: the file is empty"),
        (json.dumps(row()).encode() + b'\n{"qid": 2, "que', "line 2: .*cut off"),
        (b'{"qid": 1,}\n' + json.dumps(row()).encode(), "line 1: is not valid JSON"),
        (gzip.compress(json.dumps(row()).encode(), mtime=0), "gzip-compressed under a plain name"),
        (json.dumps(row()).encode() + b"\n\xff", "line 2: is not UTF-8"),
        (b"\xef\xbb\xbf" + json.dumps(row()).encode(), "line 1: begins with a byte order mark"),
    ],
)
def test_a_wrong_kind_of_file_is_named(file, content, message):
    file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        read_annotations(file)


def test_an_absent_file_is_named(file):
    with pytest.raises(DataError, match="no such file"):
        read_annotations(file)


def test_clips_are_counted_whole_and_without_rounding_errors():
    assert clip_count(150, 2.0) == 75
    assert clip_count(33.67, 1.0) == 33
    assert clip_count(0.3, 0.1) == 3
    assert clip_count(1.5, 2.0) == 0


def test_a_number_and_its_text_are_different_qids(file):
    write(file, row(1), row("1"))
    assert [query.qid for query in read_annotations(file)] == [1, "1"]


@pytest.mark.parametrize(
    ("parts", "clip_length", "queries", "windows"),
    [
        ("qvhighlights/highlight_train_release.jsonl", 2.0, 7218, 12803),
        ("qvhighlights/highlight_val_release.jsonl", 2.0, 1550, 2803),
        ("qvhighlights/highlight_test_with_gt.jsonl", 2.0, 1542, 2761),
        ("qvhighlights/highlight_test_release.jsonl", 2.0, 1542, 0),
        ("charades_sta/charades_sta_train_tvr_format.jsonl", 1.0, 12404, 12404),
        ("charades_sta/charades_sta_test_tvr_format.jsonl", 1.0, 3720, 3720),
        ("tacos/train.jsonl", 2.0, 9790, 9790),
        ("tacos/val.jsonl", 2.0, 4436, 4436),
        ("tacos/test.jsonl", 2.0, 4001, 4001),
    ],
)
def test_the_official_files_are_valid(parts, clip_length, queries, windows):
    path = SHARED / "annotations" / parts
    if not path.exists():
        pytest.skip(f"{path} is absent; set SADETR_SHARED to the folder with the official data")
    read = read_annotations(path, AnnotationRules(clip_length=clip_length))
    assert len(read) == queries
    assert sum(len(query.windows) for query in read if query.windows is not None) == windows
