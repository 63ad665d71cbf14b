"""How close feature files are to others of the same videos or sentences, row by row; free of torch."""

import itertools
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data.arrays import DAMAGE
from sadetr.disguise import NPZ, disguise, is_companion
from sadetr.errors import DataError

CLOSER = 1e-4
"""By how much the cosine with a neighbour must be larger: still pictures have equal rows."""


@dataclass(frozen=True)
class Kind:
    """A stream of the official layout."""

    directory: str
    key: str
    temporal: bool
    """Whether rows follow each other in time, with means to subtract and neighbours to be mistaken for."""
    parts: dict[str, slice] = field(default_factory=dict)
    """Channels that are compared by themselves."""


KINDS = {
    "clip": Kind("clip_features", "features", True),
    "slowfast": Kind(
        "slowfast_features", "features", True, {"slow pathway": slice(0, -256), "fast pathway": slice(-256, None)}
    ),
    "text": Kind("clip_text_features", "last_hidden_state", False),
}


@dataclass
class Measured:
    """What two folders of one stream have in common, and how they differ.

    Attributes:
        files: that were compared.
        missing: official files that have no counterpart.
        extra: own files that have none.
        row_differences: own rows less official ones -> number of files.
        dtypes: official and own type of numbers -> number of files.
        cosines: of every common row, (rows,).
        centred: the same after subtracting the official mean, (rows,).
        norm_ratios: own norm by official norm, (rows,).
        shifted: share of rows that are nearer to the row before or after.
        parts: name of some channels -> cosines of their rows.
        per_file: file -> median cosine.
    """

    files: int
    missing: int
    extra: int
    row_differences: Counter[int] = field(default_factory=Counter)
    dtypes: Counter[str] = field(default_factory=Counter)
    cosines: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    centred: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    norm_ratios: NDArray[np.float64] = field(default_factory=lambda: np.empty(0))
    shifted: float = 0.0
    parts: dict[str, NDArray[np.float64]] = field(default_factory=dict)
    per_file: dict[str, float] = field(default_factory=dict)


def folders_of(official: Path, own: Path, names: Sequence[str]) -> dict[str, tuple[Path, Path]]:
    """Stream -> its official folder and ours.

    Args:
        official: ``features/<setting>/`` of official files; or, for one stream, the folder of its files.
        own: likewise.
        names: of streams; none: all that both have.

    Raises:
        DataError: a folder is not there.
    """
    found = {}
    for name in names or KINDS:
        pair = [folder / KINDS[name].directory for folder in (official, own)]
        if len(names) == 1:
            pair = [inner if inner.is_dir() else inner.parent for inner in pair]
        absent = [folder for folder in pair if not folder.is_dir()]
        if absent and names:
            raise DataError(f"{absent[0]}: the folder of stream {name!r} is not there; correct --official or --own.")
        if not absent:
            found[name] = (pair[0], pair[1])
    if not found:
        directories = ", ".join(kind.directory for kind in KINDS.values())
        raise DataError(f"{official} and {own} have none of {directories} in common; correct --official or --own.")
    return found


def measure(kind: Kind, official: Path, own: Path, limit: int | None = None) -> Measured:
    """Compare the files of one stream.

    Args:
        kind: of the stream.
        official: folder of the files to compare with.
        own: folder of ours.
        limit: files that are compared at most, spread evenly; None: all.

    Raises:
        DataError: a file cannot be read, has no such array or another width, or there are no common files.
    """
    theirs, ours = _listed(official), _listed(own)
    common = sorted(theirs.keys() & ours.keys())
    if not common:
        raise DataError(
            f"{official} and {own} have no file in common: those of the same videos or queries are compared."
        )
    chosen = common if limit is None else [common[place] for place in _spread(len(common), limit)]
    found = Measured(len(chosen), len(theirs.keys() - ours.keys()), len(ours.keys() - theirs.keys()))
    mean = _mean(_rows(theirs[name], kind.key)[0] for name in chosen) if kind.temporal else None
    rows: dict[str, list[NDArray[np.float64]]] = {name: [] for name in ("cosines", "centred", "ratios", *kind.parts)}
    shifted, counted = 0, 0
    for name in chosen:
        (one, dtype), (two, own_dtype) = _rows(theirs[name], kind.key), _rows(ours[name], kind.key)
        if one.shape[1] != two.shape[1]:
            raise DataError(f"{ours[name]}: is {two.shape[1]} wide, {theirs[name]} is {one.shape[1]}: other streams.")
        found.row_differences[len(two) - len(one)] += 1
        found.dtypes[f"{dtype} / {own_dtype}"] += 1
        one, two = one[: len(two)], two[: len(one)]
        rows["cosines"].append(cosines(one, two))
        found.per_file[name] = float(np.median(rows["cosines"][-1]))
        norms = np.linalg.norm(one, axis=1)
        rows["ratios"].append(np.linalg.norm(two, axis=1)[norms > 0] / norms[norms > 0])
        if mean is not None:
            rows["centred"].append(cosines(one - mean, two - mean))
            shifted += _nearer_to_neighbours(one - mean, two - mean)
            counted += len(one)
        for part, channels in kind.parts.items():
            rows[part].append(cosines(one[:, channels], two[:, channels]))
    joined = {name: np.concatenate(parts) if parts else np.empty(0) for name, parts in rows.items()}
    found.cosines, found.centred, found.norm_ratios = joined["cosines"], joined["centred"], joined["ratios"]
    found.parts = {part: joined[part] for part in kind.parts}
    found.shifted = shifted / max(1, counted)
    return found


def cosines(one: NDArray[np.float64], two: NDArray[np.float64]) -> NDArray[np.float64]:
    """Of corresponding rows, (rows,); two zero rows agree, a single one agrees with nothing."""
    norms = np.linalg.norm(one, axis=1) * np.linalg.norm(two, axis=1)
    both_zero = ~one.any(axis=1) & ~two.any(axis=1)
    products = np.einsum("rc,rc->r", one, two)
    return np.where(both_zero, 1.0, np.divide(products, norms, out=np.zeros_like(norms), where=norms > 0))


def _nearer_to_neighbours(one: NDArray[np.float64], two: NDArray[np.float64]) -> int:
    """Rows of ``two`` whose cosine with the row before or after in ``one`` is larger than with their own."""
    own = cosines(one, two)
    before, after = np.full(len(one), -1.0), np.full(len(one), -1.0)
    before[1:], after[:-1] = cosines(one[:-1], two[1:]), cosines(one[1:], two[:-1])
    return int((np.maximum(before, after) > own + CLOSER).sum())


def _mean(arrays: Iterator[NDArray[np.float64]]) -> NDArray[np.float64]:
    total, count = 0.0, 0
    for array in arrays:
        total, count = total + array.sum(axis=0), count + len(array)
    return np.asarray(total / max(1, count))


def _spread(count: int, limit: int) -> list[int]:
    return sorted({place * count // min(limit, count) for place in range(min(limit, count))})


def _listed(folder: Path) -> dict[str, Path]:
    """Name of a video or query -> its file. Official text files come with and without the prefix ``qid``."""
    files = [
        file for file in sorted(folder.rglob("*.npz")) if not any(map(is_companion, file.relative_to(folder).parts))
    ]
    return {str(file.relative_to(folder).with_name(file.name.removeprefix("qid"))): file for file in files}


def _rows(file: Path, key: str) -> tuple[NDArray[np.float64], str]:
    """(rows, width) and the type that they are stored in."""
    try:
        with np.load(file, allow_pickle=False) as content:
            names = content.files
            array = content[key] if key in names else None
    except (*DAMAGE, AttributeError, TypeError) as error:
        raise DataError(f"{file}: {disguise(file, NPZ) or f'cannot be read ({error})'}") from error
    if array is None:
        raise DataError(f"{file}: has no key {key!r}; it has {', '.join(names) or 'none'}.")
    if array.ndim != 2 or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise DataError(f"{file}: {key!r} is no table of finite numbers ({array.dtype} of shape {array.shape}).")
    return array.astype(np.float64), str(array.dtype)


def outliers(found: Measured, count: int) -> list[tuple[str, float]]:
    """The files that differ most, with their median cosine."""
    return list(itertools.islice(sorted(found.per_file.items(), key=lambda item: item[1]), count))
