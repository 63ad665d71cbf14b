"""Reading Parquet files that other steps wrote, with errors that say what to do."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sadetr.disguise import PARQUET, disguise
from sadetr.errors import ResultsError


def read_parquet(path: Path, remedy: str) -> pa.Table:
    """The whole file.

    Args:
        path: of the file.
        remedy: a sentence that says what to do.

    Raises:
        ResultsError: the file is missing, truncated or something else.
    """
    try:
        # Not pq.read_table: it reads columns out of folder names such as "seed=0", and imports pandas.
        with pq.ParquetFile(path) as file:
            return file.read()
    except FileNotFoundError:
        raise ResultsError(f"{path}: no such file. {remedy}") from None
    except (pa.ArrowException, OSError) as error:
        found = disguise(path, PARQUET)
        reason = f"it {found.fault}" if found else error
        raise ResultsError(f"{path}: cannot be read as Parquet ({reason}). {remedy}") from error
