"""Metrics in long format: one row per run, split, checkpoint and metric, with what the run was made of and on.

A run has its own ``metrics.parquet`` and ``history.parquet``, and the published predictions of a benchmark setting have
a file like the former; :func:`gather` joins these into one. Of published predictions no more is known than their
method, split and bytes: the columns about a training are null.
"""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sadetr.errors import ResultsError
from sadetr.files import atomic_path
from sadetr.reporting.parquet import read_parquet

KEY_COLUMNS = ("scale", "setting", "method", "variant", "seed", "split", "checkpoint", "metric")
SYSTEM_COLUMNS = (
    "commit",
    "code_fingerprint",
    "config_fingerprint",
    "device",
    "python",
    "torch",
    "numpy",
    "train_seconds",
)
TRAINING_COLUMNS = ("variant", "seed", "checkpoint", "epoch", *SYSTEM_COLUMNS)
"""Null in every row of published predictions and in no other."""
TRAINED, RELEASED = "trained", "released predictions"


def _column(name: str, kind: pa.DataType) -> pa.Field:
    return pa.field(name, kind, nullable=name == "value" or name in TRAINING_COLUMNS)


SCHEMA = pa.schema(
    [
        _column("scale", pa.string()),
        _column("setting", pa.string()),
        _column("method", pa.string()),
        _column("variant", pa.string()),
        _column("seed", pa.int64()),
        _column("split", pa.string()),
        _column("checkpoint", pa.string()),  # best | clean | last: DatasetSettings.checkpoints
        _column("epoch", pa.int64()),  # of that checkpoint, 1-based
        _column("metric", pa.string()),
        _column("value", pa.float64()),  # percent, unrounded; null = no query to score: no labels, say
        _column("origin", pa.string()),  # trained | released predictions
        _column("data", pa.string()),  # generated | simulated | official
        _column("predictions_sha256", pa.string()),  # of the file that was scored
        *(_column(name, pa.float64() if name == "train_seconds" else pa.string()) for name in SYSTEM_COLUMNS),
    ]
)
_VOCABULARY = {
    "checkpoint": {"best", "clean", "last"},
    "origin": {TRAINED, RELEASED},
    "data": {"generated", "simulated", "official"},
}


def write_run_metrics(rows: Sequence[Mapping[str, Any]], path: Path | str) -> None:
    """Write the metrics of one run, or of published predictions.

    Each row maps every column of :data:`SCHEMA` to its value.

    Raises:
        ResultsError: a row misses or adds a column, holds a value of the wrong type, or repeats another row's key.
    """
    path = Path(path)
    for number, row in enumerate(rows, start=1):
        _check_row(row, f"{path}: row {number}")
    try:
        table = pa.Table.from_pylist([dict(row) for row in rows], schema=SCHEMA)
    except (pa.ArrowInvalid, pa.ArrowTypeError) as error:
        raise ResultsError(f"{path}: a value does not fit its column: {error}") from error
    _write(table, path, {})


def _check_row(row: Mapping[str, Any], place: str) -> None:
    for faults, what in ((set(SCHEMA.names) - row.keys(), "missing"), (row.keys() - set(SCHEMA.names), "unknown")):
        if faults:
            raise ResultsError(f"{place}: {what} column {', '.join(sorted(faults))}; known: {', '.join(SCHEMA.names)}")
    for name in SCHEMA.names:
        unknown = row["origin"] == RELEASED and name in TRAINING_COLUMNS
        if row[name] is None and not unknown and name != "value":
            raise ResultsError(f"{place}: column {name!r} must not be empty")
        if row[name] is not None and unknown:
            raise ResultsError(f"{place}: column {name!r} must be empty for {RELEASED}, found {row[name]!r}")
    for name, words in _VOCABULARY.items():
        if row[name] is not None and row[name] not in words:
            raise ResultsError(f"{place}: column {name!r} holds {row[name]!r}; valid: {', '.join(sorted(words))}")
    if row["value"] is not None and not 0 <= row["value"] <= 100:  # also refuses NaN
        raise ResultsError(
            f"{place}: column 'value' holds {row['value']!r}; metrics are percentages, null = no queries"
        )


def _write(table: pa.Table, path: Path, metadata: dict[str, str]) -> None:
    """Sort by key, refuse repeated keys, write in one step."""
    table = table.sort_by([(name, "ascending") for name in KEY_COLUMNS])
    keys = list(zip(*(table[name].to_pylist() for name in KEY_COLUMNS), strict=True))
    for key, following in itertools.pairwise(keys):
        if key == following:
            named = ", ".join(f"{name}={value}" for name, value in zip(KEY_COLUMNS, key, strict=True))
            raise ResultsError(f"{path}: two rows for {named}; each run, split, checkpoint and metric is scored once")
    with atomic_path(path) as temporary:
        pq.write_table(table.replace_schema_metadata(metadata or None), temporary)


EVALUATE = "Delete it and run 'python -m sadetr evaluate' for that run."


def read_metrics(path: Path | str, remedy: str = EVALUATE) -> pa.Table:
    """Read metrics written by :func:`write_run_metrics` or :func:`gather`, or by another program in the same columns.

    Raises:
        ResultsError: the file is missing, truncated or of another schema; it ends with ``remedy``.
    """
    path = Path(path)
    table = read_parquet(path, remedy)
    types = {field.name: field.type for field in table.schema}
    expected = {field.name: field.type for field in SCHEMA}
    differing = set(types.keys() ^ expected.keys())
    differing |= {name for name in types.keys() & expected.keys() if not _fits(types[name], expected[name])}
    if differing or len(types) < len(table.schema):
        words = ", ".join(f"{name} ({types.get(name, 'missing')})" for name in sorted(differing)) or "one twice"
        raise ResultsError(f"{path}: columns differ from this version's: {words}. {remedy}")
    for field in SCHEMA:
        if not field.nullable and table[field.name].null_count:
            raise ResultsError(f"{path}: column {field.name!r} must not have empty cells. {remedy}")
    return table.select(SCHEMA.names).cast(SCHEMA.with_metadata(table.schema.metadata))


def _fits(found: pa.DataType, expected: pa.DataType) -> bool:
    """Whether a column is what was written, apart from how another program packs text or an empty column."""
    text = pa.types.is_string(expected) and (
        pa.types.is_large_string(found) or (pa.types.is_dictionary(found) and pa.types.is_string(found.value_type))
    )
    return found == expected or text or pa.types.is_null(found)


def gather(paths: Iterable[Path | str], out: Path | str, seeds: str = "paper") -> None:
    """Join the metrics of many runs, and of published predictions, into one file, sorted by key.

    The file's metadata name the scale, the number of runs, the commits and ``seeds``, the choice that was made for the
    rows of tables. Equal inputs give equal bytes, whatever the order of ``paths``.

    Raises:
        ResultsError: nothing to join, an unreadable input, several scales, or one run twice.
    """
    out = Path(out)
    tables = [read_metrics(path) for path in paths]
    if not any(map(len, tables)):
        raise ResultsError(f"{out}: there is no run to gather. Train and evaluate one first: 'snakemake --cores 1 all'")
    table = pa.concat_tables(tables)
    scales = sorted(set(table["scale"].to_pylist()))
    if len(scales) != 1:
        raise ResultsError(f"{out}: runs of different scales ({', '.join(scales)}) do not belong in one file")
    columns = ("commit", "origin", "setting", "method", "variant", "seed")
    runs = {run for run in zip(*(table[name].to_pylist() for name in columns), strict=True) if run[1] == TRAINED}
    commits = " ".join(sorted({commit for commit, *_ in runs}))
    facts = {"sadetr.scale": scales[0], "sadetr.runs": str(len(runs)), "sadetr.commits": commits, "sadetr.seeds": seeds}
    _write(table, out, facts)


def read_history(path: Path | str, columns: Sequence[str] | None = None) -> pa.Table:
    """Read ``columns`` of a run's ``history.parquet`` (None = all): one row per epoch; null: not validated.

    Raises:
        ResultsError: the file is missing or truncated, or lacks a column.
    """
    path = Path(path)
    table = read_parquet(path, "Delete it and run 'python -m sadetr train' for that run.")
    wanted = table.schema.names if columns is None else columns
    for column in wanted:
        if column not in table.schema.names:
            raise ResultsError(f"{path}: no column {column!r}; there are {', '.join(table.schema.names)}")
    return table.select(list(wanted))
