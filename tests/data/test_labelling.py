"""What follows from rows and splits without labels, before anything is computed."""

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from sadetr.configuration import load_scale
from sadetr.data.annotations import Query, read_annotations, write_annotations
from sadetr.data.labelling import left_out_of_scores, left_out_of_training, refuse_unlabelled, trainable
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, Selection
from sadetr.verification.checks import check_data
from sadetr.verification.findings import Finding


def query(qid: int, windows: bool = True, saliency: bool = True) -> Query:
    rated = (np.array([0, 1]), np.array([[4, 4, 4], [1, 2, 3]])) if saliency else (None, None)
    return Query(qid, "q", f"v{qid}", 20.0, np.array([[0.0, 4.0]]) if windows else None, *rated)


def write(folder: Path, dataset: DatasetSettings, **splits: list[Query]) -> dict[str, Path]:
    files = {split: folder / name for split, name in dataset.annotations.items()}
    for split, path in files.items():
        write_annotations(path, splits.get(split, [query(1)]))
    return files


@pytest.mark.parametrize(
    ("change", "split", "rows", "words"),
    [
        ({}, "train", [query(1, windows=False)], "train.jsonl: no row has relevant_windows and saliency_scores"),
        ({}, "train", [query(1, saliency=False)], "or choose the setting's saliency rule 'window'"),
        ({}, "val", [query(1, windows=False)], "checkpoint 'best' cannot be selected by mAP on 'val'"),
        ({"selection": Selection(metrics=["HIT@1"])}, "val", [query(1, saliency=False)], "no row has saliency_scores"),
        ({"clean_selection": Selection(split="test")}, "test", [query(1, windows=False)], "under clean_selection"),
    ],
)
def test_what_cannot_be_trained_or_selected_on_is_refused(tmp_path, dataset, change, split, rows, words):
    dataset = dataset.model_copy(update=change)
    refuse_unlabelled(dataset, write(tmp_path, dataset))
    with pytest.raises(DataError) as caught:
        refuse_unlabelled(dataset, write(tmp_path, dataset, **{split: rows}))
    assert words in str(caught.value)
    assert str(tmp_path / dataset.annotations[split]) in str(caught.value)


@pytest.mark.parametrize("change", [{"saliency": "window"}, {"highlights": False}])
def test_what_the_setting_does_not_use_is_not_asked_for(tmp_path, dataset, change):
    dataset = dataset.model_copy(update=change)
    unrated = [query(1, saliency=change.get("saliency") != "window")]
    refuse_unlabelled(dataset, write(tmp_path, dataset, train=unrated, test=[query(1, windows=False)]))


def test_one_labelled_row_is_enough_and_ends_the_reading(tmp_path, dataset):
    files = write(tmp_path, dataset, val=[query(1, windows=False), query(2)])
    with open(files["val"], "ab") as file:
        file.write(b"\xff not even text\n")
    refuse_unlabelled(dataset, files)


@pytest.mark.parametrize("content", [None, b"", b"[1]\n", b"{\n", b"\x1f\x8b"], ids=str)
def test_what_cannot_be_read_is_left_to_whoever_reads_it(tmp_path, dataset, content):
    files = write(tmp_path, dataset)
    files["val"].unlink() if content is None else files["val"].write_bytes(content)
    refuse_unlabelled(dataset, files)


def test_null_and_clip_ids_without_scores_are_no_labels(tmp_path):
    row = {"qid": 1, "query": "q", "vid": "v", "duration": 20, "relevant_windows": None, "relevant_clip_ids": [1]}
    path = tmp_path / "a.jsonl"
    path.write_text(json.dumps(row | {"saliency_scores": None}) + "\n")
    (found,) = read_annotations(path)
    assert (found.windows, found.relevant_clip_ids, found.saliency) == (None, None, None)
    row["relevant_windows"] = [[0, 4]]
    path.write_text(json.dumps(row) + "\n")
    (found,) = read_annotations(path)
    assert found.windows.tolist() == [[0, 4]]
    assert found.saliency is None


def test_sentences_count_and_name(dataset):
    rows = [query(1), query(2, windows=False), *(query(qid, saliency=False) for qid in range(3, 10))]
    assert [row.qid for row in trainable(rows, dataset)] == [1]
    assert left_out_of_training(rows, dataset) == (
        "8 of 9 queries have no relevant_windows or saliency_scores and are left out of training "
        "(qid 2, 3, 4, 5, 6 and 3 more)"
    )
    by_window = dataset.model_copy(update={"saliency": "window"})
    assert left_out_of_training(rows, by_window) == (
        "1 of 9 queries has no relevant_windows and is left out of training (qid 2)"
    )
    assert left_out_of_training(rows[:1], dataset) == ""
    assert left_out_of_scores(rows[:1], True) == []
    assert left_out_of_scores(rows[:3], True) == [
        "1 of 3 queries has no relevant_windows and is left out of all moment metrics (qid 2)",
        "1 of 3 queries has no saliency_scores and is left out of all highlight metrics (qid 3)",
    ]
    assert left_out_of_scores(rows[2:], True) == ["no query has saliency_scores: highlight metrics have no value"]
    assert left_out_of_scores(rows[2:], False) == []


@pytest.fixture
def findings(dataset: DatasetSettings, data_root: Path) -> Callable[..., list[Finding]]:
    """What the check finds after ``fields`` were taken out of the rows ``chosen`` of a split."""

    def check(split: str, chosen: slice, *fields: str, scale: str = "paper") -> list[Finding]:
        path = data_root / f"annotations/small/{split}.jsonl"
        rows = [json.loads(line) for line in path.read_text().splitlines()]
        for row in rows[chosen]:
            for field in fields:
                del row[field]
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        report = check_data(dataset, load_scale(scale), data_root)
        return [found for found in report.findings if found.places[0].file.startswith("annotations/")]

    return check


SALIENCY = ("saliency_scores", "relevant_clip_ids")
ALL = slice(None)


@pytest.mark.parametrize(
    ("split", "chosen", "fields", "severity", "what"),
    [
        ("train", slice(4, 5), ["relevant_windows"], "warning", "or saliency_scores (1 of 60)"),
        ("train", slice(4, 5), SALIENCY, "warning", "training rows without relevant_windows or saliency_scores"),
        ("train", ALL, ["relevant_windows"], "error", "split 'train' has no relevant_windows and saliency_scores"),
        ("train", ALL, ["saliency_scores"], "error", "split 'train' has no relevant_windows and saliency_scores"),
        ("val", slice(3, 5), ["relevant_windows"], "warning", "rows of split 'val' without relevant_windows (2 of 21)"),
        ("val", ALL, ["relevant_windows"], "error", "split 'val' has no relevant_windows"),
        ("val", ALL, SALIENCY, "note", "split 'val' has no saliency_scores"),
        ("test", ALL, ["relevant_windows"], "note", "split 'test' has no relevant_windows"),
        ("test", slice(0, 1), SALIENCY, "warning", "rows of split 'test' without saliency_scores (1 of 10)"),
    ],
)
def test_the_data_check_says_what_training_and_scoring_will_do(findings, split, chosen, fields, severity, what):
    (finding,) = findings(split, chosen, *fields)
    assert finding.severity == severity
    assert what in finding.what
    if severity == "warning":
        assert [place.row for place in finding.places] == list(range(chosen.start + 1, chosen.stop + 1))
    assert all(place.file == f"annotations/small/{split}.jsonl" for place in finding.places)


def test_what_cannot_be_simulated_is_an_error_of_the_check(findings):
    found = findings("test", slice(0, 1), "relevant_windows", scale="simulated")
    assert [finding.severity for finding in found] == ["warning", "error"]
    assert "whose videos cannot be simulated" in found[1].what
