"""What finished runs took, as lines beside those of the benchmarks: from metrics that were gathered at a scale."""

from pathlib import Path

import pyarrow.parquet as pq

from sadetr.forecast.lines import Line

FINISHED = "finished_run"
"""What these lines have as their ``benchmark``."""
COLUMNS = ["setting", "method", "variant", "seed", "device", "train_seconds"]


def finished_runs(path: Path) -> list[Line]:
    """A line per run in ``metrics.parquet``, with its ``device`` and ``seconds``; none if there is no such file."""
    if not path.is_file():
        return []
    rows = pq.read_table(path, columns=COLUMNS).group_by(COLUMNS).aggregate([]).to_pylist()
    rows.sort(key=lambda row: [str(row[name]) for name in COLUMNS])
    trained = [row for row in rows if row["train_seconds"] is not None]
    return [
        Line(str(path), number, {"benchmark": FINISHED, **row, "seconds": row["train_seconds"]})
        for number, row in enumerate(trained, 1)
    ]
