"""Writing one large ``.npy`` file row by row."""

import contextlib
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray


class ArrayWriter:
    """One ``.npy`` file that grows by rows, hashed as it is written."""

    def __init__(self, path: Path, width: int | None, dtype: str):
        self.path = path
        self._width = width
        self._dtype = np.dtype(dtype).newbyteorder("<")
        self._rows = 0
        self._hash = hashlib.sha256()
        self._file = open(path, "wb")  # noqa: SIM115 (lives as long as the writer)
        self._write_header()

    def _shape(self) -> tuple[int, ...]:
        return (self._rows,) if self._width is None else (self._rows, self._width)

    def _write_header(self) -> None:
        # The .npy header leaves room for the first axis to grow, so it can be rewritten in place at the end.
        self._file.seek(0)
        header = {"descr": self._dtype.str, "fortran_order": False, "shape": self._shape()}
        np.lib.format.write_array_header_1_0(self._file, header)

    def append(self, rows: NDArray) -> None:
        data = np.ascontiguousarray(rows, dtype=self._dtype)
        if self._width is not None and data.shape[1:] != (self._width,):
            raise ValueError(f"{self.path.name}: rows of shape {data.shape[1:]}, expected ({self._width},)")
        self._file.write(data.data)
        self._hash.update(data.data)
        self._rows += len(data)

    def finish(self) -> dict[str, Any]:
        """Complete the file durably and return its manifest record; the checksum is of the data without header."""
        self._write_header()
        self._file.flush()
        os.fsync(self._file.fileno())
        self.close()
        return {
            "shape": list(self._shape()),
            "dtype": self._dtype.name,
            "bytes": self.path.stat().st_size,
            "sha256": self._hash.hexdigest(),
        }

    def close(self) -> None:
        # After a failed write (disk full) closing tries to flush again; the first error is the one to report.
        with contextlib.suppress(OSError):
            self._file.close()
