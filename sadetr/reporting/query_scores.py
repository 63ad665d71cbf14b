"""What every query adds to every metric of a run: the scores whose means its metrics are, for tests over queries.

One row per checkpoint, split and query, one column per metric over all lengths, in percent; null where a query does not
count. Small enough to lie beside every run: float32, compressed.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from sadetr.data.annotations import Query
from sadetr.errors import ResultsError
from sadetr.evaluation.significance import Contributions
from sadetr.files import atomic_path
from sadetr.reporting.parquet import read_parquet

KEYS = ("checkpoint", "split", "qid")
_KEY_FIELDS = [pa.field(name, pa.string(), nullable=False) for name in KEYS]


def write_query_scores(
    scored: Mapping[tuple[str, str], tuple[Sequence[Query], Contributions]], path: Path | str
) -> None:
    """Write the contributions of one run, sorted by checkpoint, split and qid; equal inputs give equal bytes.

    Args:
        scored: (checkpoint, split) -> the queries and their contributions, in the same order; metrics of a length
            range are left out.
        path: of the file.

    Raises:
        ResultsError: the file cannot be written.
    """
    tables = [_table(*key, queries, contributions) for key, (queries, contributions) in scored.items()]
    table = pa.concat_tables(tables).sort_by([(name, "ascending") for name in KEYS])
    with atomic_path(path) as temporary:
        pq.write_table(table, temporary, compression="zstd")


def _table(checkpoint: str, split: str, queries: Sequence[Query], contributions: Contributions) -> pa.Table:
    keys = ([checkpoint] * len(queries), [split] * len(queries), [str(query.qid) for query in queries])
    columns = [pa.array(key, pa.string()) for key in keys]
    fields = list(_KEY_FIELDS)
    for index, name in enumerate(contributions.names):
        if "/" not in name:
            values = contributions.values[:, index].astype(np.float32)
            columns.append(pa.array(values, mask=~contributions.counted[:, index]))
            fields.append(pa.field(name, pa.float32()))
    return pa.table(columns, schema=pa.schema(fields))


def read_query_scores(path: Path | str) -> pa.Table:
    """Read what :func:`write_query_scores` wrote.

    Raises:
        ResultsError: the file is missing, truncated or of another schema.
    """
    path = Path(path)
    remedy = "Run 'python -m sadetr evaluate' for that run."
    table = read_parquet(path, remedy)
    fields = list(table.schema)
    if fields[: len(KEYS)] != _KEY_FIELDS or any(field.type != pa.float32() for field in fields[len(KEYS) :]):
        raise ResultsError(f"{path}: columns differ from this version's. Delete the file. {remedy}")
    return table


def query_scores_by_split(table: pa.Table) -> dict[tuple[str, str], pa.Table]:
    """(checkpoint, split) -> the columns ``qid``, in sorted order, and one per metric."""
    keys = set(zip(table["checkpoint"].to_pylist(), table["split"].to_pylist(), strict=True))
    return {
        (checkpoint, split): table.filter(
            (pc.field("checkpoint") == checkpoint) & (pc.field("split") == split)
        ).drop_columns(["checkpoint", "split"])
        for checkpoint, split in keys
    }
