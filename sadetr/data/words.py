"""Word vectors: token features that are looked up in a text file such as ``glove.6B.300d.txt``."""

import string
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.disguise import TEXT, disguise
from sadetr.errors import DataError

Vectors = dict[str, NDArray[np.float32]]


def split_words(query: Query, strip_punctuation: bool) -> list[str]:
    """Lower-cased words between blanks; punctuation around a word is cut off, unless nothing else would be left.

    Raises:
        DataError: the query has no words.
    """
    words = query.query.lower().split()
    if not words:
        raise DataError(f"query {query.qid}: its text is blank, so no word can be looked up; correct the annotation")
    return [bare_word(word) for word in words] if strip_punctuation else words


def bare_word(word: str) -> str:
    """``word`` without the punctuation around it, unless nothing else would be left."""
    return word.strip(string.punctuation) or word


def read_word_vectors(file: Path, words: Iterable[str], width: int) -> Vectors:
    """Vectors of those of ``words`` that the file knows; other lines are only checked for their number of columns.

    Args:
        file: one word per line, then ``width`` numbers, separated by single blanks; :func:`split_line` reads them.
        words: what is looked up, exactly as written.
        width: numbers per word.

    Raises:
        DataError: missing file, something else than text, a malformed line (named), or none of the words is known.
    """
    try:
        vectors = _look_through(file, {word.encode("utf-8"): word for word in words}, width)
    except (OSError, DataError) as error:
        if found := disguise(file, TEXT):
            raise DataError(f"{file}: {found}") from error
        if isinstance(error, FileNotFoundError):
            raise DataError(
                f"{file}: word vectors missing; download and unpack them there, or correct data_root"
            ) from None
        if isinstance(error, OSError):
            raise DataError(f"{file}: cannot be read ({error.strerror}); check the path and its permissions") from error
        raise
    return vectors


def _look_through(file: Path, wanted: dict[bytes, str], width: int) -> Vectors:
    vectors: Vectors = {}
    # The file holds a gigabyte: bytes, a line at a time, and only wanted lines are parsed.
    with open(file, "rb") as lines:
        for number, line in enumerate(lines, 1):
            found = split_line(line, width)
            if found is None:
                raise DataError(
                    f"{file}: line {number}: {count_numbers(line)} numbers behind the word, the setting says {width}; "
                    "use the file that the setting names, correct text_stream.width, or download the file again"
                )
            word, numbers = found
            if word in wanted:
                vectors.setdefault(wanted[word], parse_vector(file, number, numbers))
    if wanted and not vectors:
        raise DataError(
            f"{file}: holds none of the {len(wanted)} words of the queries; it must list lower-case English words"
        )
    return vectors


def look_up(words: list[str], vectors: Vectors, width: int) -> NDArray[np.float32]:
    """(T, width): one row per word as it stands in the file, zeros for unknown ones."""
    unknown = np.zeros(width, np.float32)
    return np.stack([vectors.get(word, unknown) for word in words])


def split_line(line: bytes, width: int) -> tuple[bytes, bytes] | None:
    """The word of a line and the ``width`` numbers behind it; None where there are not as many.

    The word itself holds blanks in some lines of GloVe's table of 840 billion tokens (". . ."): no query has such a
    word, and none of them ends with what could be a number of a table that is too wide.
    """
    columns = count_numbers(line)
    if columns == width:
        word, _, numbers = line.partition(b" ")
        return word, numbers
    if columns < width:
        return None
    word, *numbers = line.rstrip().rsplit(b" ", width)
    return None if _is_number(word.rpartition(b" ")[2]) else (word, b" ".join(numbers))


def _is_number(text: bytes) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def count_numbers(line: bytes) -> int:
    """Columns behind the word; blanks at the end of the line do not count."""
    return line.rstrip().count(b" ")


def parse_vector(file: Path, number: int, numbers: bytes) -> NDArray[np.float32]:
    """What stands behind the word in line ``number``.

    Raises:
        DataError: something there is not a finite number.
    """
    try:
        vector = np.array(numbers.split(), dtype=np.float32)
    except ValueError:
        vector = np.array([np.nan])
    if not np.isfinite(vector).all():
        raise DataError(f"{file}: line {number}: something behind the word is not a finite number; download it again")
    return vector
