"""The paper's numbers and the tolerances of the comparison: data under ``config/paper/``, nothing of it in code.

A number keeps its split, its spread, the number of seeds behind it and a note where the printed value is doubtful;
doubtful values stand as printed.
"""

import csv
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from sadetr.disguise import CSV, disguise
from sadetr.errors import SettingsError
from sadetr.experiments import Row
from sadetr.layering import CONFIG, extension_folders, find, load_yaml, validate
from sadetr.settings import Record

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


def load_paper_table(name: str, config: Path = CONFIG) -> PaperTable:
    """Read ``<config>/paper/<name>.csv`` with the columns row, metric, value, std, split, seeds and note.

    Raises:
        SettingsError: the file is missing, its header differs, a line is malformed or a cell appears twice.
    """
    path = find("paper", f"{name}.csv", config)
    columns = list(PaperValue.model_fields)
    values: dict[tuple[str, str], PaperValue] = {}
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != columns:
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
        raise SettingsError(f"{place}: expected {len(PaperValue.model_fields)} cells; quote notes that hold a comma")
    try:
        return PaperValue.model_validate(record)
    except ValidationError as error:
        fault = error.errors()[0]
        raise SettingsError(f"{place}: column {fault['loc'][0]!r}: {fault['msg']}, found {fault['input']!r}") from None


Tolerance = Annotated[float, Field(gt=0, le=100)]


class Tolerances(Record):
    """How far below the paper a cell may lie and still count as reproduced, in percentage points."""

    model_config = ConfigDict(extra="allow", strict=False)
    __pydantic_extra__: dict[str, Tolerance]

    rescored: Tolerance
    """Tolerance of published predictions, in either direction."""
    settings: dict[str, dict[str, Tolerance]] = Field(default_factory=dict)
    """Benchmark setting -> metric -> tolerance there."""

    def of(self, setting: str, metric: str) -> float | None:
        """Tolerance of a metric of trained runs; None where none is written down."""
        return self.settings.get(setting, {}).get(metric, self.__pydantic_extra__.get(metric))


def tolerance_files(folder: Path = PAPER) -> list[Path]:
    """``<folder>/tolerances.yaml``, and the file of this name of every extension that has one."""
    added = [base / PAPER.name / "tolerances.yaml" for base in extension_folders()]
    return [folder / "tolerances.yaml", *(path for path in added if path.exists())]


def load_tolerances(folder: Path = PAPER) -> Tolerances:
    """Read ``<folder>/tolerances.yaml``; the reason for each number stands there as a comment.

    Extensions add metrics and benchmark settings to it; what is written down already stays.

    Raises:
        SettingsError: the file is missing or a tolerance is not a positive number.
    """
    first, *added = tolerance_files(folder)
    tolerances = validate(Tolerances, load_yaml(first), first)
    for path in added:
        # How exactly published predictions must come out is not an extension's to say.
        more = validate(Tolerances, {"rescored": tolerances.rescored, **load_yaml(path)}, path)
        settings = {name: {**more.settings.get(name, {}), **own} for name, own in tolerances.settings.items()}
        metrics = {**more.__pydantic_extra__, **tolerances.__pydantic_extra__}
        tolerances = Tolerances(rescored=tolerances.rescored, settings={**more.settings, **settings}, **metrics)
    return tolerances
