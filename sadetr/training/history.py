"""The history of a training as a table: a row per epoch, a column per loss, monitor and metric."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import pyarrow as pa


def history_table(history: Sequence[dict[str, Any]]) -> pa.Table:
    """Wide table of numbers; an epoch without validation has nulls."""
    columns = dict.fromkeys(name for row in history for name in row)
    return pa.Table.from_arrays([_column([row.get(name) for row in history]) for name in columns], list(columns))


def _column(values: list[float | int | None]) -> pa.Array:
    """What ``pa.array`` makes of them, which imports pandas to look whether they are a series of its."""
    counted = np.array([value is not None for value in values])
    if not counted.any():
        return pa.nulls(len(values))
    numbers = np.array([value for value in values if value is not None])
    kind = pa.int64() if numbers.dtype.kind == "i" else pa.float64()
    filled = np.zeros(len(values), kind.to_pandas_dtype())
    filled[counted] = numbers
    valid = None if counted.all() else pa.py_buffer(np.packbits(counted, bitorder="little"))
    return pa.Array.from_buffers(kind, len(values), [valid, pa.py_buffer(filled)])
