"""Sentences of a file, one a line or one a row of JSON Lines."""

from pathlib import Path

from sadetr.data.jsonl import read_lines, read_rows

JSON_LINES = ".jsonl"


def read_sentences(path: Path) -> list[str]:
    """Sentences of a text file, one a line, or of a ``.jsonl`` file, in the field ``query`` as annotations have it.

    Lines without any words are left out of a text file.

    Raises:
        DataError: missing, empty, something else than text, or a row without a sentence.
    """
    if path.suffix != JSON_LINES:
        return [line.strip() for line in read_lines(path).values()]
    sentences = []
    for row in read_rows(path):
        sentence = row.get("query", (str,))
        if not sentence.strip():
            row.fail("field 'query' is blank", "say what is to be found")
        sentences.append(sentence)
    return sentences
