"""The paper's numbers and the tolerances of the comparison: data under ``config/paper/``, nothing of it in code.

A number keeps its split, its spread, the number of seeds behind it and a note where the printed value is doubtful;
doubtful values stand as printed.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, RootModel, ValidationError, field_validator

from sadetr.configuration import CONFIG, find, load_yaml, validate
from sadetr.errors import SettingsError
from sadetr.experiments import Row

PAPER = CONFIG / "paper"


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
    note: str

    @field_validator("value", "std", "seeds", mode="before")
    @classmethod
    def _empty_is_none(cls, cell: str) -> str | None:
        return None if cell == "" else cell


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


def load_paper_table(name: str, folder: Path = PAPER) -> PaperTable:
    """Read ``<folder>/<name>.csv`` with the columns row, metric, value, std, split, seeds and note.

    Raises:
        SettingsError: the file is missing, its header differs, a line is malformed or a cell appears twice.
    """
    path = find(folder.name, f"{name}.csv", folder.parent)
    columns = list(PaperValue.model_fields)
    values: dict[tuple[str, str], PaperValue] = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != columns:
                raise SettingsError(f"{path}: the first line must be {','.join(columns)!r}")
            for record in reader:
                value = _parse(record, f"{path}, line {reader.line_num}")
                if values.setdefault((value.row, value.metric), value) is not value:
                    cell = f"{value.row},{value.metric}"
                    raise SettingsError(
                        f"{path}, line {reader.line_num}: {cell} appears twice; remove one of the lines"
                    )
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: cannot be read ({error}). Each table needs its paper numbers there.") from error
    return PaperTable(path, values)


def _parse(record: dict[str, str], place: str) -> PaperValue:
    if None in record or None in record.values():
        raise SettingsError(f"{place}: expected {len(PaperValue.model_fields)} cells; quote notes that hold a comma")
    try:
        return PaperValue.model_validate(record)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(f"{place}: column {fault['loc'][0]!r}: {fault['msg']}, found {fault['input']!r}") from None


class Tolerances(RootModel[dict[str, Annotated[float, Field(gt=0, le=100)]]]):
    """Metric -> how far below the paper a cell may lie and still count as reproduced, in percentage points."""

    model_config = ConfigDict(frozen=True)


def load_tolerances(folder: Path = PAPER) -> dict[str, float]:
    """Read ``<folder>/tolerances.yaml``; the reason for each number stands there as a comment.

    Raises:
        SettingsError: the file is missing or a tolerance is not a positive number.
    """
    path = folder / "tolerances.yaml"
    return validate(Tolerances, load_yaml(path), path).root
