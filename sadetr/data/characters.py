"""The characters that a setting's queries are spelled with, as numbers."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.query import Query
from sadetr.data.words import split_words
from sadetr.settings import DatasetSettings, Vocabulary
from sadetr.shapes import CHARACTER_PADDING

UNKNOWN = 1
"""A character that is too rare to be told from other rare ones."""


@dataclass(frozen=True)
class Characters:
    """Which characters are told apart, and in which words they are looked for."""

    stream: Vocabulary
    known: str
    """The most frequent one first; it has the number 2."""
    longest: int
    """Characters of the longest word."""

    @classmethod
    def of(cls, stream: Vocabulary, queries: Sequence[Query]) -> "Characters":
        """Count the characters of all words of ``queries``.

        Raises:
            DataError: a query has no words.
        """
        words = Counter(word for query in queries for word in split_words(query, stream.strip_punctuation))
        counts: Counter[str] = Counter()
        for word, times in words.items():
            for character in word:
                counts[character] += times
        # Equally frequent ones by their code: the order of queries does not matter.
        ordered = sorted(counts, key=lambda character: (-counts[character], character))
        known = [character for character in ordered if counts[character] >= stream.character_occurrences]
        return cls(stream, "".join(known[: stream.characters]), max(map(len, words)))

    def numbers(self, query: Query) -> NDArray[np.uint16]:
        """(T, longest): the number of each character of each word, 0 behind the last one."""
        places = {character: number for number, character in enumerate(self.known, UNKNOWN + 1)}
        words = split_words(query, self.stream.strip_punctuation)
        spelled = np.full((len(words), self.longest), CHARACTER_PADDING, np.uint16)
        for row, word in zip(spelled, words, strict=True):
            row[: len(word)] = [places.get(character, UNKNOWN) for character in word]
        return spelled


def characters_of(dataset: DatasetSettings, queries: Sequence[Query]) -> Characters | None:
    """The characters of a setting's queries; None where its text stream has none.

    Raises:
        DataError: a query has no words.
    """
    stream = dataset.text_stream
    return Characters.of(stream, queries) if isinstance(stream, Vocabulary) else None
