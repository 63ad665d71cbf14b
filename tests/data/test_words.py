"""Word vectors: what is looked up, what is kept as it stands, and which faults are named."""

import re
from pathlib import Path

import numpy as np
import pytest

from sadetr.data.annotations import Query, read_annotations
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.data.words import look_up, read_word_vectors, split_words
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, FeatureSettings, WordVectors

LINES = "the 1 2 3\nshelf 0.5 -0.25 4e-1\n. 7 8 9\ncaf\u00e9 1 1 1\nthe 9 9 9\n"


def query(text: str) -> Query:
    return Query("v_0", text, "v", 10.0, None, None, None)


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "glove.6B.3d.txt"
    path.write_text(LINES, encoding="utf-8")
    return path


@pytest.mark.parametrize(
    ("text", "stripped", "kept"),
    [
        ("Person opens  the door.", "person opens the door", "person opens the door."),
        (' the person\'s "shelf," (left)', "the person's shelf left", 'the person\'s "shelf," (left)'),
        ("Enjoy.", "enjoy", "enjoy."),
        # What is nothing but punctuation stays: the official file has vectors for it.
        ("wait ... - no", "wait ... - no", "wait ... - no"),
    ],
)
def test_words_are_lower_case_and_split_at_blanks(text: str, stripped: str, kept: str) -> None:
    assert split_words(query(text), strip_punctuation=True) == stripped.split()
    assert split_words(query(text), strip_punctuation=False) == kept.split()


def test_a_blank_query_is_named() -> None:
    with pytest.raises(DataError, match=r"query v_0.*blank"):
        split_words(query("  "), strip_punctuation=True)


def test_vectors_are_those_of_the_file_and_zeros_for_unknown_words(table: Path) -> None:
    words = ["shelf", "unheard", "the", "."]
    vectors = read_word_vectors(table, words, 3)
    # The first of two lines with the same word counts.
    assert look_up(words, vectors, 3).tolist() == [[0.5, -0.25, np.float32(0.4)], [0, 0, 0], [1, 2, 3], [7, 8, 9]]
    assert look_up(words, vectors, 3).dtype == np.float32
    assert read_word_vectors(table, ["caf\u00e9"], 3).keys() == {"caf\u00e9"}


def test_words_with_blanks_are_passed_over_and_a_wider_table_is_not(tmp_path: Path) -> None:
    """GloVe's table of 840 billion tokens has such lines."""
    path = tmp_path / "table.txt"
    path.write_text(". . . 7 8 9\nat name@domain.com 4 5 6\nat 1 2 3\n")
    assert read_word_vectors(path, ["at", "."], 3)["at"].tolist() == [1, 2, 3]
    assert read_word_vectors(path, ["at", "."], 3).keys() == {"at"}
    path.write_text("at 1 2 3 4\n")
    with pytest.raises(DataError, match=r"line 1: 4 numbers .* says 3"):
        read_word_vectors(path, ["at"], 3)


FAULTS = {
    "missing": (None, r"word vectors missing"),
    "narrow line": ("the 1 2 3\nshelf 1 2\n", r"line 2: 2 numbers .* says 3"),
    "header": ("2 3\nthe 1 2 3\n", r"line 1: 1 numbers"),
    "blank line": ("the 1 2 3\n\nshelf 1 2 3\n", r"line 2: 0 numbers"),
    "no number": ("a 1 2 3\nthe 1 x 3\n", r"line 2: .*not a finite number"),
    "nan": ("the 1 nan 3\n", r"line 1: .*not a finite number"),
    "cut off": ("a 1 2 3\nthe 1", r"line 2: 1 numbers"),
    "other words": ("chat 1 2 3\n", r"holds none of the 1 words"),
    "empty": ("", r"is empty"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_faults_name_file_and_line(tmp_path: Path, fault: str) -> None:
    content, message = FAULTS[fault]
    path = tmp_path / "table.txt"
    if content is not None:
        path.write_text(content)
    with pytest.raises(DataError, match=rf"{re.escape(str(path))}: {message}"):
        read_word_vectors(path, ["the"], 3)


def test_preparation_stores_words_unnormalised(dataset: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    (data_root / "features/small/table.txt").write_text("the 3 4 0\nis 0 0 2\n")
    words = WordVectors(file="table.txt", width=3)
    ours = dataset.model_copy(update={"text_stream": words, "max_text_tokens": None})
    prepare(ours, FeatureSettings(), data_root, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    files = [data_root / "annotations/small" / file for file in dataset.annotations.values()]
    queries = [query for file in files for query in read_annotations(file)]
    assert store.text_names == [str(query.qid) for query in queries]
    known = {"the": [3, 4, 0], "is": [0, 0, 2]}
    for row, each in enumerate(queries):
        rows = [known.get(word, [0, 0, 0]) for word in split_words(each, strip_punctuation=True)]
        assert store.gather_text([row])[0][0].tolist() == rows
