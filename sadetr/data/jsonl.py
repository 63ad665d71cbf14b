"""Reading JSON Lines so that every fault names its file and line."""

import codecs
import itertools
import json
import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from sadetr.disguise import HEAD, JSON_LINES, Wanted, disguise, of_content
from sadetr.errors import DataError

NUMBER = (int, float)
GZIP_MAGIC = b"\x1f\x8b"


class RowError(DataError):
    """What is wrong with one line of a file, in parts; the message holds all of them."""

    def __init__(self, path: Path, number: int, fault: str, remedy: str) -> None:
        super().__init__(f"{path}: line {number}: {fault}; {remedy}")
        self.number = number
        """Line in the file, 1-based."""
        self.fault = fault
        self.remedy = remedy


class Row:
    """The JSON object of one line, with type-checked access to its fields."""

    __slots__ = ("_fields", "number", "path")

    def __init__(self, path: Path, number: int, line: str, last: bool = False) -> None:
        self.path = path
        self.number = number
        """Line in the file, 1-based."""
        try:
            self._fields = json.loads(line, object_pairs_hook=self._object)
        except (ValueError, RecursionError) as error:
            # The parser counts lines within its text, which is one line here.
            reason = f"{error.msg}, column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
            fault = f"is not valid JSON ({reason})"
            if last:
                self.fail(f"{fault}; it is the last line, so the file may be cut off", "download or write it again")
            self.fail(fault, "every line must hold one JSON object")
        if not isinstance(self._fields, dict):
            self.fail("is not a JSON object", "every line must hold one object with named fields")

    def _object(self, pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        fields = dict(pairs)
        if len(fields) < len(pairs):
            names = [name for name, _ in pairs]
            self.fail(f"field {max(names, key=names.count)!r} occurs twice", "keep one of them")
        return fields

    def __contains__(self, name: str) -> bool:
        return name in self._fields

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self._fields.get(name) is not None

    def fail(self, fault: str, remedy: str) -> NoReturn:
        """Raise a RowError that points at this line."""
        raise RowError(self.path, self.number, fault, remedy)

    def get(self, name: str, kinds: tuple[type, ...]) -> Any:
        """Value of a field, of exactly one of the types ``kinds`` (a bool is no number)."""
        if name not in self._fields:
            self.fail(f"field {name!r} is missing", f"fields found: {', '.join(self._fields) or 'none'}")
        value = self._fields[name]
        if type(value) not in kinds:
            self.fail(f"field {name!r} is {_shown(value)}", f"expected {_names(kinds)}")
        return value

    def number_of(self, name: str) -> float:
        """A finite number."""
        value = self.get(name, NUMBER)
        if not _finite([value]):
            self.fail(f"field {name!r} is {_shown(value)}", "expected a finite number")
        return float(value)

    def numbers(self, name: str, kinds: tuple[type, ...] = NUMBER) -> list[Any]:
        """A list of finite numbers."""
        values = self.get(name, (list,))
        if not set(map(type, values)).issubset(kinds) or not _finite(values):
            index = next(i for i, value in enumerate(values) if type(value) not in kinds or not _finite([value]))
            self.fail(f"{name}[{index}] is {_shown(values[index])}", f"expected a finite {_names(kinds)}")
        return values

    def table(self, name: str, columns: int, kinds: tuple[type, ...] = NUMBER) -> list[list[Any]]:
        """A list of lists of ``columns`` finite numbers each."""
        rows = self.get(name, (list,))
        # The whole table is checked at once; a culprit is looked for only when there is one.
        regular = all(type(row) is list and len(row) == columns for row in rows)
        flat = list(itertools.chain.from_iterable(rows)) if regular else []
        if regular and set(map(type, flat)).issubset(kinds) and _finite(flat):
            return rows
        for index, row in enumerate(rows):
            if type(row) is not list or len(row) != columns:
                self.fail(f"{name}[{index}] is {_shown(row)}", f"expected a list of {columns} numbers")
            if not set(map(type, row)).issubset(kinds) or not _finite(row):
                self.fail(f"{name}[{index}] is {_shown(row)}", f"expected finite values of type {_names(kinds)}")
        raise AssertionError("unreachable: some row is at fault")


def read_rows(path: Path) -> Iterator[Row]:
    """Rows of all lines that are not blank.

    Raises:
        DataError: missing, empty, something else than text, not UTF-8, or not one JSON object per line.
    """
    lines = read_lines(path)
    last = max(lines)
    for number, line in lines.items():
        yield Row(path, number, line, last=number == last)


def read_lines(path: Path) -> dict[int, str]:
    """1-based number -> text of all lines that are not blank.

    Raises:
        DataError: missing, empty, something else than text, or not UTF-8.
    """
    lines = {number: line for number, line in enumerate(read_text(path).split("\n"), 1) if line.strip()}
    if not lines:
        raise DataError(f"{path}: line 1: the file is empty; download or write it again")
    return lines


def read_text(path: Path, wanted: Wanted = JSON_LINES) -> str:
    """Content of a text file; ``wanted`` is what messages call it.

    Raises:
        DataError: missing, unreadable, something else than text, or not UTF-8 without a byte order mark.
    """
    try:
        content = path.read_bytes()
    except OSError as error:
        if found := disguise(path, wanted):
            raise DataError(f"{path}: {found}") from None
        if isinstance(error, FileNotFoundError):
            raise DataError(f"{path}: no such file; check the path or the data root") from None
        raise DataError(f"{path}: cannot be read ({error.strerror}); check the path and its permissions") from error
    if content.startswith(GZIP_MAGIC):
        place = "" if path.suffix == ".gz" else " under a plain name"
        raise DataError(f"{path}: line 1: is gzip-compressed{place}; decompress it with gunzip first")
    if content and (found := of_content(content[:HEAD], wanted)):
        raise DataError(f"{path}: {found}")
    if content.startswith(codecs.BOM_UTF8):
        raise DataError(f"{path}: line 1: begins with a byte order mark; save the file as UTF-8 without one")
    try:
        return content.decode("utf-8")
    except UnicodeDecodeError as error:
        line = content.count(b"\n", 0, error.start) + 1
        raise DataError(f"{path}: line {line}: is not UTF-8 text; download or write the file again") from None


def _finite(values: list[Any]) -> bool:
    try:
        return all(map(math.isfinite, values))
    except OverflowError:  # an integer too large for a float
        return False


def _names(kinds: tuple[type, ...]) -> str:
    return " or ".join(kind.__name__ for kind in kinds)


def _shown(value: Any) -> str:
    text = repr(value) if not isinstance(value, int) or abs(value) < 10**20 else "a huge integer"
    return text if len(text) <= 80 else f"{text[:77]}..."
