"""Finding a query by its qid. Free of torch."""

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NoReturn

from sadetr.data.annotations import Query, read_annotations
from sadetr.errors import SettingsError
from sadetr.settings import AnnotationRules


def find_query(qid: str, files: Mapping[str, Path], rules: AnnotationRules) -> tuple[str, Query]:
    """Split and query of ``qid``; arguments and errors as of :func:`find_in_split`."""
    split, queries, row = find_in_split(qid, files, rules)
    return split, queries[row]


def find_in_split(qid: str, files: Mapping[str, Path], rules: AnnotationRules) -> tuple[str, list[Query], int]:
    """Split of ``qid``, its queries and the row there. As a user types it: a number and its text are the same.

    Args:
        qid: what to look for.
        files: split -> annotation file; the first split that has the qid wins.
        rules: of the setting, for the reader.

    Raises:
        SettingsError: no split has it; the message names the nearest qid and what there is.
        DataError: an annotation file is missing or malformed.
    """
    seen: dict[str, list[Query]] = {}
    for split, path in files.items():
        seen[split] = read_annotations(path, rules)
        for row, query in enumerate(seen[split]):
            if str(query.qid) == qid:
                return split, seen[split], row
    _fail(qid, seen)


def _fail(qid: str, queries: Mapping[str, Sequence[Query]]) -> NoReturn:
    known = {str(query.qid): query.qid for rows in queries.values() for query in rows}
    numbers = [value for value in known.values() if isinstance(value, int)]
    if qid.isdecimal() and numbers:
        nearest = str(min(numbers, key=lambda value: abs(value - int(qid))))
    else:
        nearest = difflib.get_close_matches(qid, known, n=1, cutoff=0.0)[0]
    ranges = "; ".join(f"{split}: {_range([query.qid for query in rows])}" for split, rows in queries.items())
    raise SettingsError(f"no query {qid!r}; the nearest qid is {nearest}. Valid qids: {ranges}")


def _range(qids: Sequence[int | str]) -> str:
    numbers = [qid for qid in qids if isinstance(qid, int)]
    ends = (min(numbers), max(numbers)) if len(numbers) == len(qids) else (qids[0], qids[-1])
    return f"{ends[0]} to {ends[1]} ({len(qids)})"
