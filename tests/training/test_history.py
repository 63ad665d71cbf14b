"""The table of a history is the one that pyarrow itself makes of the same values."""

import io
import math

import pyarrow as pa
import pyarrow.parquet as pq

from sadetr.training.history import history_table

HISTORY = [
    {"epoch": 1, "loss": 0.1, "val/mAP": None, "whole": 1, "unknown": None},
    {"epoch": 2, "loss": math.pi, "val/mAP": 12.5, "whole": 2.5, "unknown": None, "late": 3},
    *({"epoch": epoch, "loss": 1 / epoch, "val/mAP": 100 / epoch if epoch % 3 else None} for epoch in range(3, 20)),
]


def test_a_history_is_written_as_pyarrow_writes_it():
    columns = dict.fromkeys(name for row in HISTORY for name in row)
    expected = pa.table({name: [row.get(name) for row in HISTORY] for name in columns})
    found = history_table(HISTORY)
    assert found.schema == expected.schema
    assert found.equals(expected)
    files = io.BytesIO(), io.BytesIO()
    for table, file in zip((found, expected), files, strict=True):
        pq.write_table(table, file)
    assert files[0].getvalue() == files[1].getvalue()
