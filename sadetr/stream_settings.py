"""Where a benchmark setting's features come from: streams of its videos, and the one of its texts.

:mod:`sadetr.settings` puts them together. This module stays free of torch.
"""

from typing import Literal

from sadetr.records import PositiveInt, Record

SENTENCES = "text"
"""Name of the stream of sentences, beside those of videos."""


class VideoStream(Record):
    """One backbone's clip features: ``<directory>/<vid><suffix>``, an array (clips, width).

    An ``.npz`` archive holds it under ``key``; an ``.npy`` file is the array itself.
    """

    name: str
    directory: str
    width: PositiveInt
    key: str = "features"
    suffix: Literal[".npz", ".npy"] = ".npz"


class TokenFiles(Record):
    """Token features of each query: ``<directory>/<prefix><qid>.npz`` with an array (tokens, width) under ``key``."""

    kind: Literal["files"] = "files"
    directory: str = "clip_text_features"
    width: PositiveInt = 512
    key: str = "last_hidden_state"
    prefix: str = "qid"

    @property
    def source(self) -> str:
        """What it is read from, below ``features/<setting>/``."""
        return self.directory


class WordVectors(Record):
    """Tokens looked up in a text file of word vectors, one line per word: the word, then ``width`` numbers.

    The query is lower-cased and split on white space; unknown words are zero vectors; rows are not normalised,
    as in CG-DETR.
    """

    kind: Literal["words"] = "words"
    file: str = "glove.6B.300d.txt"
    """Path below ``features/<setting>/``."""
    width: PositiveInt = 300
    strip_punctuation: bool = True
    """Without it every word that carries a punctuation mark is unknown, as in CG-DETR."""

    @property
    def source(self) -> str:
        """What it is read from, below ``features/<setting>/``."""
        return self.file


class Vocabulary(WordVectors):
    """Words as in :class:`WordVectors`, and the characters that they are spelled with, as VSLNet reads both.

    Characters are numbered by how often they occur in the queries of all splits; 0 is what follows a word's last
    character, 1 stands for all characters that are rarer or beyond the number of those that are told apart.
    """

    kind: Literal["vocabulary"] = "vocabulary"
    file: str = "glove.840B.300d.txt"
    characters: PositiveInt = 64
    """Characters that are told apart at most."""
    character_occurrences: PositiveInt = 5
    """How often a character occurs at least, not to be an unknown one."""

    @property
    def character_numbers(self) -> int:
        """Numbers of characters, of padding and of unknown ones included."""
        return self.characters + 2
