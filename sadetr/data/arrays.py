"""Reading one feature file far enough to say everything that is wrong with it."""

import os
import struct
import tokenize
import zipfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

from sadetr.disguise import AGAIN, NPY, NPZ, disguise

DAMAGE: tuple[type[Exception], ...] = (
    *(OSError, ValueError, EOFError, KeyError, NotImplementedError, RuntimeError, SyntaxError, MemoryError),
    *(tokenize.TokenError, zipfile.BadZipFile, zlib.error, struct.error),
)
"""What numpy and zipfile raise on damaged files, as found by flipping bytes and truncating."""


@dataclass(frozen=True, slots=True)
class ArrayCheck:
    """One array (rows, width). ``fault`` is a kind of fault shared by many files, ``detail`` says it for this one."""

    rows: int | None = None
    width: int | None = None
    fault: str = ""
    detail: str = ""
    bad_row: int | None = None
    """First row, from 0, that holds NaN or infinity."""
    all_zero: bool = False
    remedy: str = ""
    """Where it is another than for the other faults of this kind."""


UNREADABLE = "unreadable"
NO_KEY = "no key"
NOT_FLOAT = "not float"
NOT_2D = "not 2d"
NOT_FINITE = "not finite"
EMPTY = "empty"


def check_array(file: Path, key: str, headers_only: bool) -> ArrayCheck:
    """Check the array under ``key`` of an ``.npz`` archive, or the ``.npy`` file itself.

    With ``headers_only`` the data are not read: only their kind, shape and the file's length are checked.
    """
    try:
        with open(file, "rb") as content:
            if file.suffix == ".npz":
                check = _check_archive(content, key, headers_only)
                return (_disguised(file) or check) if check.fault == NO_KEY else check
            return _check_npy(content, headers_only, os.fstat(content.fileno()).st_size)
    except DAMAGE as error:
        return _disguised(file) or ArrayCheck(fault=UNREADABLE, detail=f"{type(error).__name__}: {error}")


def _disguised(file: Path) -> ArrayCheck | None:
    found = disguise(file, NPZ if file.suffix == ".npz" else NPY)
    if found is None:
        return None
    return ArrayCheck(fault=UNREADABLE, detail=found.fault, remedy="" if found.remedy == AGAIN else found.remedy)


def _check_archive(content: IO[bytes], key: str, headers_only: bool) -> ArrayCheck:
    with zipfile.ZipFile(content) as archive:
        names = [name.removesuffix(".npy") for name in archive.namelist()]
        if key not in names:
            return ArrayCheck(fault=NO_KEY, detail=f"has {', '.join(names) or 'no keys'}")
        member = archive.getinfo(archive.namelist()[names.index(key)])
        with archive.open(member) as array:
            return _check_npy(array, headers_only, member.file_size)


def _check_npy(content: IO[bytes], headers_only: bool, size: int) -> ArrayCheck:
    """Check a stream of ``size`` bytes in .npy format."""
    version = npy.read_magic(content)
    shape, fortran, dtype = (npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0)(content)
    if dtype.kind != "f":
        return ArrayCheck(fault=NOT_FLOAT, detail=f"{dtype} of shape {shape}")
    if len(shape) != 2:
        return ArrayCheck(fault=NOT_2D, detail=f"shape {shape}")
    rows, width = shape
    held = size - content.tell()
    if held < rows * width * dtype.itemsize:
        whole = held // (width * dtype.itemsize)
        return ArrayCheck(fault=UNREADABLE, detail=f"holds {whole:,} of {rows:,} rows: cut off")
    if rows == 0:
        return ArrayCheck(rows, width, EMPTY)
    if headers_only:
        return ArrayCheck(rows, width)
    # Reading to the end also verifies the checksum that an archive keeps.
    array = np.frombuffer(content.read(), dtype, count=rows * width).reshape(shape, order="F" if fortran else "C")
    return _check_values(array)


def _check_values(array: NDArray) -> ArrayCheck:
    rows, width = array.shape
    with np.errstate(over="ignore"):
        # What training stores: a float64 beyond its range is as bad as infinity.
        finite = np.isfinite(array.astype(np.float32, copy=False)).all(axis=1)
    if not finite.all():
        bad = np.flatnonzero(~finite)
        return ArrayCheck(rows, width, NOT_FINITE, f"{len(bad)} of {rows} rows hold NaN or infinity", int(bad[0]))
    return ArrayCheck(rows, width, all_zero=not array.any())
