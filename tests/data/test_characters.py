"""Characters of words: which are told apart, and that they reach a batch beside the word that they spell."""

from pathlib import Path

import numpy as np
import pytest
import torch

from sadetr.configuration import resolve_dataset
from sadetr.data.annotations import Query, read_annotations
from sadetr.data.batches import Split
from sadetr.data.characters import UNKNOWN, Characters
from sadetr.data.preparation import prepare
from sadetr.data.store import FeatureStore
from sadetr.data.words import split_words
from sadetr.settings import DatasetSettings, FeatureSettings, Vocabulary
from sadetr.shapes import CHARACTER_PADDING

EVERY = Vocabulary(character_occurrences=1)


def queries(*texts: str) -> list[Query]:
    return [Query(number, text, "v", 10.0, None, None, None) for number, text in enumerate(texts)]


def test_characters_are_numbered_by_how_often_they_occur() -> None:
    found = Characters.of(EVERY, queries("Bab bba", "ab c"))
    assert found.known == "bac"
    assert found.longest == 3
    assert found.numbers(queries("cab d")[0]).tolist() == [[4, 3, 2], [UNKNOWN, CHARACTER_PADDING, CHARACTER_PADDING]]


def test_the_order_of_queries_does_not_matter() -> None:
    texts = ("zyx", "xyz abc", "cab")
    assert Characters.of(EVERY, queries(*texts)) == Characters.of(EVERY, queries(*reversed(texts)))


@pytest.mark.parametrize(
    ("changes", "known"),
    [({"character_occurrences": 3}, "ab"), ({"character_occurrences": 4}, "a"), ({"characters": 2}, "ab")],
)
def test_rare_characters_and_those_beyond_the_number_are_one(changes: dict[str, int], known: str) -> None:
    found = Characters.of(
        EVERY.model_copy(update=changes), queries("aaaa bbb cc", "c." if "characters" in changes else "x")
    )
    assert found.known == known


def test_punctuation_is_spelled_where_words_keep_it() -> None:
    kept = EVERY.model_copy(update={"strip_punctuation": False})
    assert "." in Characters.of(kept, queries("stop.")).known
    assert "." not in Characters.of(EVERY, queries("stop.")).known


@pytest.fixture
def setting(dataset: DatasetSettings, data_root: Path) -> DatasetSettings:
    """The small setting with words from a table that knows half of them, cut to nine words."""
    files = [data_root / "annotations/small" / file for file in dataset.annotations.values()]
    words = {word for file in files for query in read_annotations(file) for word in split_words(query, True)}
    lines = [f"{word} {number} 1 0\n" for number, word in enumerate(sorted(words)) if number % 2]
    (data_root / "features/small/table.txt").write_text("".join(lines))
    stream = Vocabulary(file="table.txt", width=3, characters=14)
    return dataset.model_copy(update={"text_stream": stream})


def test_a_batch_spells_its_words(setting: DatasetSettings, data_root: Path, tmp_path: Path) -> None:
    prepare(setting, FeatureSettings(), data_root, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store", verify=True)
    known = store.manifest["characters"]
    assert len(known) == setting.text_stream.characters
    split = Split(read_annotations(data_root / "annotations/small/val.jsonl"), store, setting)
    batch = next(split.prediction_batches(len(split)))
    assert batch.characters.dtype == torch.int64
    assert int(batch.characters.max()) < setting.feature_shape.characters
    for row, query in enumerate(split.queries):
        words = split_words(query, strip_punctuation=True)[: setting.max_text_tokens]
        assert int(batch.text_mask[row].sum()) == len(words)
        for place, word in enumerate(words):
            numbers = batch.characters[row, place]
            spelling = "".join("?" if number == UNKNOWN else known[number - 2] for number in numbers[numbers != 0])
            assert spelling == "".join(character if character in known else "?" for character in word)
    assert not batch.characters[~batch.text_mask].any()
    longest = max(len(word) for query in split.queries for word in split_words(query, True)[: setting.max_text_tokens])
    assert batch.characters.shape[2] == longest, "room behind the longest word of the batch"


def test_tokens_without_words_have_no_characters(dataset: DatasetSettings, shared_root: Path, tmp_path: Path) -> None:
    prepare(dataset, FeatureSettings(), shared_root, tmp_path / "store")
    store = FeatureStore.open(tmp_path / "store")
    assert "characters.npy" not in store.manifest["files"]
    assert "characters" not in store.manifest
    split = Split(read_annotations(shared_root / "annotations/small/val.jsonl"), store, dataset)
    batch = next(split.prediction_batches(5))
    assert batch.characters.shape == (*batch.text_mask.shape, 0)
    assert dataset.feature_shape.characters == 0


def test_settings_that_neither_spell_nor_average_are_described_as_before() -> None:
    """Their runs are told apart by this description."""
    described = resolve_dataset("tacos", "paper").model_dump(mode="json")
    assert "max_positions" not in described
    assert not [key for key in described["text_stream"] if "character" in key]
    other = resolve_dataset("tacos_glove", "paper").model_dump(mode="json")
    assert other["max_positions"] == 128
    assert np.isin(["characters", "character_occurrences"], list(other["text_stream"])).all()
