"""What the paper says about its tables and figures, as data: ``config/paper/claims.yaml``, one entry per statement.

A claim is a conjunction of contrasts: in this metric, the scores of these rows together exceed those of those rows.
:mod:`sadetr.reporting.judgement` judges it.
"""

import difflib
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, model_validator

from sadetr.errors import SettingsError
from sadetr.experiments import Experiment, Row, experiment_names
from sadetr.layering import CONFIG, find, load_yaml, validate
from sadetr.reporting.paper import PaperTable
from sadetr.settings import Record

OTHERS = ["others"]
"""Stands for every row that is not on the higher side and for which the paper prints a number in the metric."""

_PRINTED = re.compile(r"table([1-9]|1[0-2])|figure[1-6]")
"""What the paper has."""
Names = Annotated[list[str], Field(min_length=1)]


class ClaimFields(Record):
    """What all claims have in common."""

    section: str
    """Where the paper says it."""
    experiment: str
    """Table or figure: ``table4``."""
    text: str
    """What it says, in our words."""
    metrics: Names
    """It is said of each of them."""


class HigherClaim(ClaimFields):
    """Each row of one side lies above each row of the other."""

    kind: Literal["higher"]
    higher: Names
    lower: Names
    gain: Annotated[float, Field(gt=0)] | None = None
    """Difference that the text quotes, in percentage points."""

    @model_validator(mode="after")
    def _a_gain_is_of_one_pair(self) -> "HigherClaim":
        if self.gain is not None and (self.lower == OTHERS or len(self.higher + self.lower + self.metrics) != 3):
            raise ValueError("a quoted gain is of one row over one other in one metric: name one of each")
        return self


class InteractionClaim(ClaimFields):
    """Two parts together gain more than the sum of what each gains alone."""

    kind: Literal["interaction"]
    together: str
    """Row with both parts."""
    alone: Annotated[list[str], Field(min_length=2, max_length=2)]
    """Rows with one of them."""
    without: str
    """Row with neither."""


class ClaimsFile(Record):
    """``claims.yaml``."""

    claims: Annotated[
        dict[str, Annotated[HigherClaim | InteractionClaim, Field(discriminator="kind")]], Field(min_length=1)
    ]


@dataclass(frozen=True)
class Contrast:
    """One comparison of a claim: the scores of ``plus`` less those of ``minus`` are positive in ``metric``.

    ``gain`` is the size that is claimed, in percentage points; None where only the sign is.
    """

    metric: str
    plus: tuple[Row, ...]
    minus: tuple[Row, ...]
    gain: float | None = None

    @property
    def rows(self) -> tuple[Row, ...]:
        """All rows, those that are added first."""
        return (*self.plus, *self.minus)

    @property
    def label(self) -> str:
        """The comparison as text: ``j - i in mAP``."""
        keys = [" + ".join(row.key for row in side) for side in (self.plus, self.minus)]
        keys = [f"({key})" if len(side) > 1 else key for key, side in zip(keys, (self.plus, self.minus), strict=True)]
        return f"{' - '.join(keys)} in {self.metric}"


@dataclass(frozen=True)
class Claim:
    """A statement of the paper, with the contrasts that all have to be positive for it to hold."""

    name: str
    section: str
    experiment: Experiment
    table: PaperTable | None
    """The paper's numbers; None where it prints none."""
    text: str
    contrasts: tuple[Contrast, ...]

    @property
    def doubtful(self) -> bool:
        """Whether it rests on a number of the paper that may not be what it is called."""
        table = self.table
        return table is not None and any(
            table.of(row, contrast.metric).doubtful for contrast in self.contrasts for row in contrast.rows
        )


def load_claims(
    experiments: Sequence[tuple[Experiment, PaperTable | None]], config: Path = CONFIG
) -> tuple[Claim, ...]:
    """The claims about ``experiments``, in the order of ``<config>/paper/claims.yaml``.

    Args:
        experiments: tables and figures with the paper's numbers, None where it prints none.
        config: folder of the configuration.

    Raises:
        SettingsError: the file is missing or malformed, or a claim names an unknown table, row or metric, the same row
            on both sides, or rows that cannot be compared.
    """
    path = find("paper", "claims.yaml", config)
    file = validate(ClaimsFile, load_yaml(path), path)
    names, given = experiment_names(config), {experiment.name: (experiment, table) for experiment, table in experiments}
    claims = []
    for name, fields in file.claims.items():
        place = f"{path}: claim {name!r}"
        # A configuration may have left out tables of the paper.
        if not _PRINTED.fullmatch(fields.experiment):
            _known(fields.experiment, names, f"{place}: unknown table or figure")
        if fields.experiment in given:
            experiment, table = given[fields.experiment]
            contrasts = tuple(_contrasts(fields, experiment, table, place))
            claims.append(Claim(name, fields.section, experiment, table, fields.text, contrasts))
    return tuple(claims)


def _known(name: str, known: Sequence[str], fault: str) -> None:
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.0)
        nearest = f"; the nearest is {near[0]!r}" if near else ""
        raise SettingsError(f"{fault} {name!r}{nearest}. Known: {', '.join(known) or 'none'}")


def _contrasts(
    fields: HigherClaim | InteractionClaim, experiment: Experiment, table: PaperTable | None, place: str
) -> Iterator[Contrast]:
    for metric in fields.metrics:
        _known(metric, experiment.metrics, f"{place}: {experiment.name} has no metric")
    rows = _named_rows(fields, experiment, place)
    for metric in fields.metrics:
        if fields.kind == "interaction":
            alone = tuple(rows[key] for key in fields.alone)
            sides = [((rows[fields.together], rows[fields.without]), alone)]
        else:
            others = fields.lower == OTHERS
            lower = _others(experiment, table, metric) if others else [rows[key] for key in fields.lower]
            lower = [row for row in lower if row.key not in fields.higher]
            if not lower:
                raise SettingsError(f"{place}: {experiment.name} has no other row with {metric}; name the lower rows")
            sides = [((rows[key],), (row,)) for key, row in itertools.product(fields.higher, lower)]
        for plus, minus in sides:
            _check_queries(plus + minus, place)
            yield Contrast(metric, plus, minus, fields.gain if fields.kind == "higher" else None)


def _named_rows(fields: HigherClaim | InteractionClaim, experiment: Experiment, place: str) -> dict[str, Row]:
    """The rows that a claim names, all of which are there, each once."""
    rows = {row.key: row for row in experiment.rows}
    if fields.kind == "interaction":
        named = [fields.together, *fields.alone, fields.without]
    else:
        named = [*fields.higher, *([] if fields.lower == OTHERS else fields.lower)]
    for key in named:
        _known(key, list(rows), f"{place}: {experiment.name} has no row")
        if named.count(key) > 1:
            raise SettingsError(f"{place}: row {key!r} is named twice; name every row once, on one side")
    return {key: rows[key] for key in named}


def _others(experiment: Experiment, table: PaperTable | None, metric: str) -> list[Row]:
    """Rows for which the paper prints a number; of a figure, whose numbers are not printed, all rows with runs.

    Rows that are ours alone (another epoch of the same network, say) are nothing that the paper speaks about.
    """
    if table is None:
        return [row for row in experiment.rows if row.runs]
    return [row for row in experiment.rows if table.of(row, metric).value is not None]


def _check_queries(rows: Sequence[Row], place: str) -> None:
    settings = sorted({run.setting for row in rows for run in row.runs})
    if len(settings) > 1:
        keys = ", ".join(row.key for row in rows)
        raise SettingsError(
            f"{place}: rows {keys} are of different settings ({', '.join(settings)}), whose queries are not the same; "
            "compare rows of one setting"
        )
