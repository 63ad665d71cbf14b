"""The paper's numbers: data under ``config/paper/``, nothing of it in code.

A number keeps its split, its spread, the number of seeds behind it and a note; doubtful values stand as printed, are
marked, and are never required.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from sadetr.disguise import CSV, disguise
from sadetr.errors import SettingsError
from sadetr.experiments import Row
from sadetr.layering import CONFIG, find

PAPER = CONFIG / "paper"
ROUNDING = 0.005
"""Half a unit of the last digit that the paper prints, in percentage points."""


class PaperValue(BaseModel):
    """One printed number, in percent, with its spread and the number of seeds behind it.

    None means: ``value`` not reported, ``std`` no spread given, ``seeds`` unknown. ``split`` is the one that the
    number was measured on, which for one row of Table 1 is not the table's.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    row: Annotated[str, Field(min_length=1)]
    metric: Annotated[str, Field(min_length=1)]
    value: Annotated[float, Field(ge=0, le=100)] | None
    std: Annotated[float, Field(gt=0, le=100)] | None
    split: Annotated[str, Field(min_length=1)]
    seeds: Annotated[int, Field(gt=0)] | None
    doubtful: bool = False
    """Whether the printed value cannot be, or may not be, what it is called; ``note`` says why."""
    note: str

    @field_validator("value", "std", "seeds", mode="before")
    @classmethod
    def _empty_is_none(cls, cell: str) -> str | None:
        return None if cell == "" else cell

    @field_validator("doubtful", mode="before")
    @classmethod
    def _marked(cls, cell: str | bool) -> bool:
        if cell not in ("", "x", True, False):
            raise ValueError("must be 'x' or empty")
        return cell in ("x", True)

    @model_validator(mode="after")
    def _doubt_has_a_reason(self) -> "PaperValue":
        if self.doubtful and not self.note:
            raise ValueError("a doubtful value needs a note that says why")
        return self


@dataclass(frozen=True)
class PaperTable:
    """The numbers of one table, by row key and metric."""

    path: Path
    values: dict[tuple[str, str], PaperValue]

    def get(self, row: str, metric: str) -> PaperValue:
        """The number of one cell.

        Raises:
            SettingsError: the table has no such row or metric (a cell that the paper leaves empty has a row here too).
        """
        try:
            return self.values[row, metric]
        except KeyError:
            known = dict.fromkeys(key for key, _ in self.values)
            reason = f"row {row!r} has no metric {metric!r}" if row in known else f"no row {row!r}"
            raise SettingsError(
                f"{self.path}: {reason}. Add the line '{row},{metric},,,<split>,,' (an empty value: the paper does "
                f"not report it) or correct the experiment file; rows here: {', '.join(known)}"
            ) from None

    def of(self, row: Row, metric: str) -> PaperValue:
        """The number beside one cell of an experiment; an empty one where the row has none.

        Raises:
            SettingsError: as :meth:`get`.
        """
        if row.paper is None:
            return PaperValue(row=row.key, metric=metric, value=None, std=None, split="none", seeds=None, note="")
        return self.get(row.paper, metric)


def load_paper_table(name: str, config: Path = CONFIG) -> PaperTable:
    """Read ``<config>/paper/<name>.csv`` with the columns row, metric, value, std, split, seeds, doubtful and note.

    The column ``doubtful`` may be left out where no value is.

    Raises:
        SettingsError: the file is missing, its header differs, a line is malformed or a cell appears twice.
    """
    path = find("paper", f"{name}.csv", config)
    columns = list(PaperValue.model_fields)
    without_doubts = [column for column in columns if column != "doubtful"]
    values: dict[tuple[str, str], PaperValue] = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames not in (columns, without_doubts):
                found = disguise(path, CSV) or f"the first line must be {','.join(columns)!r}"
                raise SettingsError(f"{path}: {found}")
            for record in reader:
                value = _parse(record, f"{path}, line {reader.line_num}")
                if values.setdefault((value.row, value.metric), value) is not value:
                    cell = f"{value.row},{value.metric}"
                    raise SettingsError(
                        f"{path}, line {reader.line_num}: {cell} appears twice; remove one of the lines"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        found = disguise(path, CSV) or f"cannot be read ({error}). Each table needs its paper numbers there."
        raise SettingsError(f"{path}: {found}") from error
    return PaperTable(path, values)


def _parse(record: dict[str, str], place: str) -> PaperValue:
    if None in record or None in record.values():
        cells = sum(column is not None for column in record)
        raise SettingsError(f"{place}: expected {cells} cells; quote notes that hold a comma")
    try:
        return PaperValue.model_validate(record)
    except ValidationError as error:
        fault = error.errors()[0]
        # A fault of the line as a whole has no column.
        column = fault["loc"][0] if fault["loc"] else "doubtful"
        raise SettingsError(f"{place}: column {column!r}: {fault['msg']}, found {record[column]!r}") from None
