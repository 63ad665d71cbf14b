"""Tensors of foreign pickles, read without running code from them: Caffe2's dumps and TorchScript archives.

Each unpickler admits only what such files need: numpy's arrays, or storages of tensors and inert modules.
"""

import io
import math
import pickle
import zipfile
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sadetr.disguise import Wanted, disguise
from sadetr.errors import ResultsError

PICKLE = Wanted("the Caffe2 pickle", frozenset({"pickle"}))
SCRIPT = Wanted("the TorchScript archive", frozenset({"torch", "zip"}))
_STORAGES = {
    "HalfStorage": torch.float16,
    "FloatStorage": torch.float32,
    "DoubleStorage": torch.float64,
    "BFloat16Storage": torch.bfloat16,
    "LongStorage": torch.int64,
    "IntStorage": torch.int32,
    "BoolStorage": torch.bool,
}


def read_caffe2(path: Path) -> dict[str, Tensor]:
    """Blobs of a Caffe2 pickle by name: the arrays among them.

    Raises:
        ResultsError: it is none, is damaged, or asks for anything but arrays.
    """
    try:
        with open(path, "rb") as content:
            blobs = _Arrays(content, encoding="latin1").load()["blobs"]
        arrays = {name: value for name, value in blobs.items() if isinstance(value, np.ndarray)}
        return {name: torch.from_numpy(np.ascontiguousarray(array)) for name, array in arrays.items()}
    # A malformed pickle raises whatever its bytes lead to.
    except Exception as error:
        raise ResultsError(_why(path, PICKLE, error)) from error


def read_script(path: Path) -> dict[str, Tensor]:
    """Parameters and buffers of a TorchScript archive, by their dotted names.

    Raises:
        ResultsError: it is none, or is damaged.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            root = next(name for name in archive.namelist() if name.endswith("/data.pkl")).removesuffix("data.pkl")
            module = _Modules(io.BytesIO(archive.read(f"{root}data.pkl")), archive, root).load()
            if not isinstance(module, _Inert):
                raise pickle.UnpicklingError("holds no module")
            return dict(_named(module))
    except Exception as error:
        raise ResultsError(_why(path, SCRIPT, error)) from error


def _why(path: Path, wanted: Wanted, error: Exception) -> str:
    if found := disguise(path, wanted):
        return f"{path}: {found}"
    what = error.strerror if isinstance(error, OSError) and error.strerror else f"{type(error).__name__}: {error}"
    return f"{path}: cannot be read as {wanted.noun.removeprefix('the ')} ({what}); download the file again"


class _Arrays(pickle.Unpickler):
    """Numpy's arrays and numbers, under the names of numpy 1 and 2."""

    ADMITTED = frozenset(
        {
            *((f"numpy.{core}.multiarray", name) for core in ("core", "_core") for name in ("_reconstruct", "scalar")),
            *(("numpy", name) for name in ("ndarray", "dtype")),
            ("_codecs", "encode"),
        }
    )

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in self.ADMITTED:
            raise pickle.UnpicklingError(f"asks for {module}.{name}, which no file of arrays needs")
        return super().find_class(module.replace("numpy.core.", "numpy._core."), name)


class _Inert:
    """Stands for a module of TorchScript: attributes without behaviour."""


class _Modules(pickle.Unpickler):
    """Modules as bare attributes, tensors from the storages beside them."""

    def __init__(self, content: io.BytesIO, archive: zipfile.ZipFile, root: str):
        super().__init__(content)
        self._archive = archive
        self._root = root
        self._storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Inert
        if (module, name) == ("torch._utils", "_rebuild_tensor_v2"):
            return _rebuilt
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        if module == "torch.jit._pickle" and name.startswith("build_"):
            return list
        raise pickle.UnpicklingError(f"asks for {module}.{name}, which no module needs")

    def persistent_load(self, pid: tuple) -> Tensor:
        _, dtype, key, _, count = pid
        if key not in self._storages:
            data = bytearray(self._archive.read(f"{self._root}data/{key}"))
            self._storages[key] = torch.frombuffer(data, dtype=dtype) if count else torch.empty(0, dtype=dtype)
        return self._storages[key]


def _rebuilt(storage: Tensor, offset: int, size: tuple, stride: tuple, *_: object) -> Tensor:
    last = offset + sum((length - 1) * step for length, step in zip(size, stride, strict=True))
    if math.prod(size) and not 0 <= last < len(storage):
        raise pickle.UnpicklingError("a tensor reaches beyond its storage")
    return torch.as_strided(storage, size, stride, offset)


def _named(module: object, prefix: str = "") -> Iterator[tuple[str, Tensor]]:
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Inert):
            yield from _named(value, f"{prefix}{name}.")
