"""Recorded lines of the benchmarks: ``benchmarks/results/*.jsonl`` and what others measured on their machines."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr.errors import ResultsError
from sadetr.installation import ROOT

RECORDED = ROOT / "benchmarks" / "results"


@dataclass(frozen=True)
class Line:
    """One line of JSON that a benchmark printed."""

    file: str
    number: int
    """In the file, 1-based."""
    values: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.file}:{self.number}"

    def __getitem__(self, key: str) -> Any:
        try:
            return self.values[key]
        except KeyError:
            raise ResultsError(f"{self}: has no {key!r}; let the benchmark print the line again") from None


class Recorded:
    """Lines in the order of their files' names. Of two lines about the same thing the later one counts."""

    def __init__(self, lines: Iterable[Line]) -> None:
        self._lines = tuple(lines)

    @classmethod
    def read(cls, *folders: Path) -> "Recorded":
        """Read every ``*.jsonl`` of the folders; lines of a later folder count before those of an earlier one.

        Raises:
            ResultsError: a folder is not there, or a line is no JSON object.
        """
        return cls(line for folder in folders for path in _files(folder) for line in _lines(path))

    def with_lines(self, lines: Iterable[Line]) -> "Recorded":
        """These lines and others, which count before them."""
        return Recorded([*self._lines, *lines])

    def find(self, benchmark: str, **wanted: Any) -> Line | None:
        """The last line of a benchmark whose values are those ``wanted``; None where there is none."""
        return next((line for line in reversed(self._lines) if _fits(line, {"benchmark": benchmark, **wanted})), None)

    def values(self, key: str, benchmark: str, **wanted: Any) -> tuple[str, ...]:
        """Distinct values of ``key`` among the lines that :meth:`find` looks through, in their order."""
        fitting = (line for line in self._lines if _fits(line, {"benchmark": benchmark, **wanted}))
        return tuple(dict.fromkeys(line[key] for line in fitting))


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        raise ResultsError(f"{folder}: no such folder; it should hold the *.jsonl that benchmarks printed")
    return sorted(folder.glob("*.jsonl"))


def _lines(path: Path) -> Iterable[Line]:
    for number, text in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
        try:
            values = json.loads(text)
        except ValueError as error:
            raise ResultsError(f"{path}: line {number}: is not valid JSON ({error}); take the line out") from error
        if not isinstance(values, dict):
            raise ResultsError(f"{path}: line {number}: is not a JSON object; take the line out")
        yield Line(path.name, number, values)


def _fits(line: Line, wanted: dict[str, Any]) -> bool:
    return all(line.values.get(key) == value for key, value in wanted.items())
