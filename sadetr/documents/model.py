"""Documents as values: tables, titles, paragraphs and lists, before any markup.

Nothing here knows a file format; :mod:`sadetr.documents.rendering` turns a document into Markdown, LaTeX and HTML, and
its records into CSV.
"""

import itertools
import re
from dataclasses import dataclass
from typing import ClassVar, Literal

ABSENT = "\N{EN DASH}"
"""What stands where there is no number."""
LONG = 40
"""Characters beyond which a column is set in lines."""
GAP = 2
"""Characters between two columns."""
DENSE, SIDEWAYS = 100, 150
"""Characters beyond which a table is set in small type, or turned on paper."""
UPRIGHT_ROWS, SIDEWAYS_ROWS = 55, 35
"""Rows of a sheet of paper."""
_SYMBOL = re.compile(r"([A-Za-zαδλσ])_([^\W_]+)")

Tone = Literal["", "good", "bad"]
Attributes = tuple[tuple[str, str], ...]


@dataclass(frozen=True)
class Cell:
    """What stands in one place of a table.

    ``role`` says whose number it is ("ours", "rescored", "paper"), "" for anything else; ``mark`` refers to a footnote,
    "" = none. ``data`` are for the script of a page: ``("metric", "mAP")`` becomes the attribute ``data-metric``. On a
    page the text leads to the place named ``link``, unless that is empty.
    """

    text: str
    role: str = ""
    strong: bool = False
    mark: str = ""
    tone: Tone = ""
    data: Attributes = ()
    link: str = ""


@dataclass(frozen=True)
class Row:
    """A line of a table: one cell per side of every column; ``data`` as in a cell."""

    cells: tuple[Cell, ...]
    data: Attributes = ()


@dataclass(frozen=True)
class Column:
    """A column, or several with one heading: as many as it has ``sides``, which have names if there are several.

    Neighbours with the same ``group``, if it is not empty, share a heading above theirs. Columns of words are ``left``,
    the others are centred.
    """

    heading: str
    left: bool = False
    group: str = ""
    sides: tuple[str, ...] = ("",)


@dataclass(frozen=True)
class Heading:
    """A heading over ``columns`` columns from ``start`` on, from header row ``top`` to header row ``bottom``."""

    text: str
    start: int
    columns: int
    top: int
    bottom: int
    side: bool = False
    left: bool = False

    @property
    def symbol(self) -> tuple[str, str] | None:
        """Letter and subscript of a heading such as ``λ_A``; None for words."""
        found = _SYMBOL.fullmatch(self.text)
        return None if found is None else (found[1], found[2])


@dataclass(frozen=True)
class Table:
    """A table; ``number`` is the paper's, None for one of our own.

    ``remarks`` say how it is to be read, ``footnotes`` are pairs of mark and text.
    """

    kind: ClassVar[str] = "table"
    name: str
    """Unique among all tables that may stand on one page."""
    title: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    number: int | None = None
    remarks: tuple[str, ...] = ()
    footnotes: tuple[tuple[str, str], ...] = ()

    @property
    def caption(self) -> str:
        """Number, if it is one of the paper's, and title."""
        return self.title if self.number is None else f"Table {self.number}: {self.title}"

    @property
    def sides(self) -> tuple[str, ...]:
        """Names of the sides of the columns that have several; () if none has."""
        return max((column.sides for column in self.columns), key=len) if self._sided else ()

    @property
    def _sided(self) -> bool:
        return any(len(column.sides) > 1 for column in self.columns)

    def by_column(self, row: Row) -> list[tuple[Cell, ...]]:
        """The cells of a row, those of one column together."""
        cells = iter(row.cells)
        return [tuple(itertools.islice(cells, len(column.sides))) for column in self.columns]

    @property
    def header(self) -> list[list[Heading]]:
        """For each header row the headings that it holds or continues, from left to right."""
        grouped = any(column.group for column in self.columns)
        last = grouped + self._sided
        headings, start = [], 0
        for group, columns in itertools.groupby(self.columns, key=lambda column: column.group):
            below = int(bool(group))
            first = start
            for column in columns:
                sided = len(column.sides) > 1
                headings.append(
                    Heading(column.heading, start, len(column.sides), below, last - sided, left=column.left)
                )
                if sided:
                    sides = enumerate(column.sides)
                    headings += [Heading(side, start + place, 1, last, last, side=True) for place, side in sides]
                start += len(column.sides)
            if group:
                headings.append(Heading(group, first, start - first, 0, 0))
        rows = ([each for each in headings if each.top <= row <= each.bottom] for row in range(last + 1))
        return [sorted(row, key=lambda heading: heading.start) for row in rows]

    @property
    def places(self) -> list[tuple[Column, bool]]:
        """For every place of a row its column, and whether it is set in lines because some text is long."""
        columns = [column for column in self.columns for _ in column.sides]
        return [(column, length > LONG) for column, length in zip(columns, self._lengths, strict=True)]

    @property
    def dense(self) -> bool:
        """Whether it fits a page in small type only."""
        return self._width > DENSE

    @property
    def sideways(self) -> bool:
        """Whether it fits a sheet of paper only when it is turned."""
        return self._width > SIDEWAYS

    @property
    def sheets(self) -> list[tuple[Row, ...]]:
        """The rows, in portions that fit a sheet of paper each; at least one."""
        size = SIDEWAYS_ROWS if self.sideways else UPRIGHT_ROWS
        return [self.rows[start : start + size] for start in range(0, max(len(self.rows), 1), size)]

    @property
    def _width(self) -> int:
        """Characters of a line, roughly."""
        return sum(min(length, LONG) + GAP for length in self._lengths)

    @property
    def _lengths(self) -> list[int]:
        """Characters of the longest text of every place."""
        header = [side or column.heading for column in self.columns for side in column.sides]
        lines = [[cell.text + cell.mark for cell in row.cells] for row in self.rows]
        return [max(map(len, texts)) for texts in zip(header, *lines, strict=True)]


@dataclass(frozen=True)
class Title:
    """The title of a part of a document, of what follows it or, with a ``level`` of 2, of a part of that."""

    kind: ClassVar[str] = "title"
    text: str
    level: int = 1
    tone: Tone = ""


@dataclass(frozen=True)
class Paragraph:
    """A paragraph."""

    kind: ClassVar[str] = "paragraph"
    text: str
    tone: Tone = ""


@dataclass(frozen=True)
class Listing:
    """A list; on a page it is folded under ``summary``, unless that is empty or the list ``open``."""

    kind: ClassVar[str] = "listing"
    items: tuple[str, ...]
    summary: str = ""
    open: bool = True


Part = Table | Title | Paragraph | Listing
"""What a document is made of; the ``kind`` of each is the name of its templates."""


@dataclass(frozen=True)
class Document:
    """A page, or a part of one: ``banner`` is a warning over numbers that are not comparable, "" where there is none.

    A table whose caption is the title is the document's own and has no title beside it. ``records`` are the same
    numbers for programs: a header and one line per row.
    """

    name: str
    title: str
    banner: str
    parts: tuple[Part, ...]
    records: tuple[tuple[str, ...], ...] = ()

    @property
    def titled(self) -> bool:
        """Whether one of its tables bears the title."""
        return any(isinstance(part, Table) and part.caption == self.title for part in self.parts)
