"""The feature store: the features of all videos and queries in a few memory-mapped arrays.

A store is a folder::

    manifest.json        format version, where the features come from, and shape, bytes and SHA-256 of every file
    video_<stream>.npy   (total_clips, width): the clips of all videos, one video after the other
    video_offsets.npy    (videos + 1,) int64: video i owns rows offsets[i]:offsets[i + 1] of every stream
    video_names.txt      one vid per line
    text.npy, text_offsets.npy, text_names.txt: the same for the tokens of all queries, named by qid
    characters.npy       (total_tokens, longest word) uint16, where the setting's tokens are words with characters

Rows are stored as training needs them (cut, l2-normalised), so that a batch is a handful of slices. A batch has the
precision of the store: halves are made single on the device (:meth:`sadetr.models.interface.Batch.to`), for half the
memory traffic on the way.
"""

import contextlib
import hashlib
import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from sadetr.data.array_writer import ArrayWriter
from sadetr.errors import DataError, StoreError
from sadetr.files import atomic_folder
from sadetr.shapes import CHARACTER_PADDING, TEMPORAL_FEATURES

FORMAT_VERSION = 1
MANIFEST = "manifest.json"

Features = NDArray[np.float16] | NDArray[np.float32]
Batch = tuple[Features, NDArray[np.int64]]


class FeatureStore:
    """Read access to a prepared store; opened in milliseconds, nothing is loaded before it is gathered.

    Attributes:
        path: the folder.
        manifest: content of ``manifest.json``.
        video_names, text_names: vid and qid (as text) of every row index.
        video_lengths, text_lengths: (videos,) clips and (queries,) tokens, int64.
        video_width: channels of one clip as stored, all streams, without the temporal endpoint features.
        text_width: channels of one token.
        longest_word: characters of a token at most; 0 where tokens have no characters.
        dtype: of the features.
    """

    def __init__(self, path: Path, manifest: dict[str, Any], arrays: dict[str, NDArray], names: dict[str, list[str]]):
        self.path = path
        self.manifest = manifest
        self.video_names = names["video_names.txt"]
        self.text_names = names["text_names.txt"]
        self._arrays = arrays
        self._video = [arrays[f"video_{stream}.npy"] for stream in manifest["video_streams"]]
        self._text = [arrays["text.npy"]]
        self._characters = arrays.get("characters.npy")
        # The offsets are small: in memory they cost no page fault per batch.
        self._video_offsets = np.array(arrays["video_offsets.npy"])
        self._text_offsets = np.array(arrays["text_offsets.npy"])
        self.video_lengths = np.diff(self._video_offsets)
        self.text_lengths = np.diff(self._text_offsets)
        self.video_width = sum(array.shape[1] for array in self._video)
        self.text_width = self._text[0].shape[1]
        self.longest_word = 0 if self._characters is None else self._characters.shape[1]
        self.dtype: np.dtype[Any] = self._video[0].dtype
        self._video_index = {name: row for row, name in enumerate(self.video_names)}
        self._text_index = {name: row for row, name in enumerate(self.text_names)}

    @classmethod
    def open(cls, path: Path | str, verify: bool = False) -> Self:
        """Memory-map the store at ``path``; ``verify`` also recomputes the checksum of every file.

        Raises:
            StoreError: a file is missing, truncated, of the wrong shape or (``verify``) changed.
        """
        path = Path(path)
        manifest = _read_manifest(path)
        arrays, names = {}, {}
        for name, record in manifest["files"].items():
            _check_size(path / name, record)
            if name.endswith(".npy"):
                arrays[name] = _map_array(path / name, record)
            else:
                names[name] = (path / name).read_text(encoding="utf-8").splitlines()
        store = cls(path, manifest, arrays, names)
        if verify:
            store.verify()
        return store

    @property
    def digest(self) -> str:
        """Hash of the checksums of all files: equal where the features are, whatever code prepared them."""
        files = {name: record["sha256"] for name, record in self.manifest["files"].items()}
        return hashlib.sha256(json.dumps(files, sort_keys=True).encode()).hexdigest()[:16]

    def verify(self) -> None:
        """Recompute the SHA-256 of every file's content.

        Raises:
            StoreError: a checksum differs from the manifest's.
        """
        for name, record in self.manifest["files"].items():
            content = self._arrays[name].data if name in self._arrays else (self.path / name).read_bytes()
            if hashlib.sha256(content).hexdigest() != record["sha256"]:
                raise _broken(self.path / name, "its content does not match the checksum in the manifest")

    def video_rows(self, vids: Iterable[str]) -> NDArray[np.int64]:
        """Row indices of videos, for :meth:`gather_video`.

        Raises:
            StoreError: a video is not in the store.
        """
        return self._rows(self._video_index, vids, "video")

    def text_rows(self, qids: Iterable[int | str]) -> NDArray[np.int64]:
        """Row indices of queries, for :meth:`gather_text`.

        Raises:
            StoreError: a query is not in the store.
        """
        return self._rows(self._text_index, (str(qid) for qid in qids), "query")

    def gather_video(self, rows: ArrayLike, out: Features | None = None) -> Batch:
        """Clip features of a batch of videos, zero-padded to the longest.

        Args:
            rows: (B,) row indices from :meth:`video_rows`.
            out: C-contiguous memory of the store's type and at least B * L * (width + 2) elements to write into; the
                result is a view of its start and is overwritten by the next call that gets the same ``out``.

        Returns:
            features (B, L, width + 2) of the store's type and lengths (B,) int64. The last two columns are the temporal
            endpoint features i / L_b and (i + 1) / L_b of clip i in a video of L_b clips.
        """
        batch, lengths = _gather(self._video, self._video_offsets, rows, TEMPORAL_FEATURES, out)
        clips = np.arange(batch.shape[1] + 1, dtype=np.float32)
        for features, length in zip(batch, lengths, strict=True):
            bounds = clips[: length + 1] / np.float32(length)
            features[:length, -2] = bounds[:-1]
            features[:length, -1] = bounds[1:]
        return batch, lengths

    def gather_text(self, rows: ArrayLike, out: Features | None = None) -> Batch:
        """Token features of a batch of queries: (B, T, width), zero-padded, and lengths (B,) int64.

        ``rows`` come from :meth:`text_rows`; ``out`` is as in :meth:`gather_video`, with B * T * width elements.
        """
        return _gather(self._text, self._text_offsets, rows, 0, out)

    def gather_characters(self, rows: ArrayLike) -> NDArray[np.int64]:
        """Characters of the tokens of a batch of queries: (B, T, C) as numbers, C of them in the longest word.

        ``rows`` come from :meth:`text_rows`. C is 0 where the setting's tokens have no characters.
        """
        if self._characters is None:
            return np.zeros((len(rows), int(self.text_lengths[rows].max()), 0), np.int64)
        numbers, _ = _gather([self._characters], self._text_offsets, rows, 0, None)
        longest = int((numbers != CHARACTER_PADDING).sum(-1).max())
        return numbers[..., :longest].astype(np.int64)

    def _rows(self, index: dict[str, int], names: Iterable[str], kind: str) -> NDArray[np.int64]:
        try:
            return np.fromiter((index[name] for name in names), dtype=np.int64)
        except KeyError as error:
            raise StoreError(
                f"{self.path}: {kind} {error.args[0]!r} is not in this feature store, which holds "
                f"{len(index)} of them. It was prepared from other annotations: run `prepare` again."
            ) from None


class StoreWriter:
    """Streams features to a store on disk; only the names and offsets are kept in memory. See :meth:`create`."""

    def __init__(
        self, folder: Path, streams: dict[str, int], text_width: int, dtype: str, longest_word: int | None = None
    ):
        self._folder = folder
        self._video = {name: ArrayWriter(folder / f"video_{name}.npy", width, dtype) for name, width in streams.items()}
        self._text = ArrayWriter(folder / "text.npy", text_width, dtype)
        self._characters = (
            None if longest_word is None else ArrayWriter(folder / "characters.npy", longest_word, "uint16")
        )
        self._lengths: dict[str, dict[str, int]] = {"video": {}, "text": {}}

    @classmethod
    @contextlib.contextmanager
    def create(
        cls,
        path: Path | str,
        streams: dict[str, int],
        text_width: int,
        dtype: str,
        origin: dict[str, Any],
        longest_word: int | None = None,
    ) -> Iterator[Self]:
        """Yield a writer; the store appears at ``path`` when the block ends well, and not at all otherwise.

        Args:
            path: the store's folder; a store that is already there is replaced.
            streams: name -> channels of each video stream, in the order of concatenation.
            text_width: channels of one token.
            dtype: "float16" or "float32".
            origin: JSON-serialisable record of where the features come from, kept in the manifest.
            longest_word: characters of a token at most; None: tokens have no characters.

        Raises:
            ResultsError: the folder cannot be written.
        """
        with atomic_folder(path, marker=MANIFEST) as folder:
            writer = cls(folder, streams, text_width, dtype, longest_word)
            try:
                yield writer
                writer._finish(origin)
            finally:
                writer._close()

    def add_video(self, vid: str, streams: dict[str, NDArray[np.float32]]) -> None:
        """Append one video: per stream an array (clips, width), all of the same length."""
        (length,) = {len(features) for features in streams.values()}
        self._add_name("video", vid, length)
        for name, writer in self._video.items():
            writer.append(streams[name])

    def add_text(
        self, qid: int | str, tokens: NDArray[np.float32], characters: NDArray[np.uint16] | None = None
    ) -> None:
        """Append the tokens of one query, (tokens, width), and their characters, (tokens, longest word), if any."""
        self._add_name("text", str(qid), len(tokens))
        self._text.append(tokens)
        if self._characters is not None:
            self._characters.append(characters)

    def attach(self, name: str, text: str) -> None:
        """Put a text file into the folder that is not part of what the store is read or verified from."""
        (self._folder / name).write_text(text, encoding="utf-8")

    def _add_name(self, kind: str, name: str, length: int) -> None:
        if name in self._lengths[kind]:
            raise ValueError(f"{kind} {name!r} was already added")
        if not name or len(name.splitlines()) != 1:
            raise DataError(f"{kind} name {name!r} is empty or spans lines; such names cannot be stored. Rename it.")
        self._lengths[kind][name] = length

    def _finish(self, origin: dict[str, Any]) -> None:
        files = {}
        for kind, lengths in self._lengths.items():
            offsets = np.concatenate([[0], np.cumsum(list(lengths.values()), dtype=np.int64)]).astype(np.int64)
            writer = ArrayWriter(self._folder / f"{kind}_offsets.npy", None, "int64")
            writer.append(offsets)
            files[writer.path.name] = writer.finish()
            names = "".join(f"{name}\n" for name in lengths).encode("utf-8")
            (self._folder / f"{kind}_names.txt").write_bytes(names)
            files[f"{kind}_names.txt"] = {"bytes": len(names), "sha256": hashlib.sha256(names).hexdigest()}
        for writer in self._arrays():
            files[writer.path.name] = writer.finish()
        manifest = {"format_version": FORMAT_VERSION, "video_streams": list(self._video), **origin, "files": files}
        (self._folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")

    def _close(self) -> None:
        for writer in self._arrays():
            writer.close()

    def _arrays(self) -> list[ArrayWriter]:
        return [*self._video.values(), self._text, *([] if self._characters is None else [self._characters])]


def _gather(
    arrays: Sequence[Features], offsets: NDArray[np.int64], rows: ArrayLike, spare: int, out: Features | None
) -> Batch:
    """Rows of all ``arrays`` side by side, (B, L, sum of widths + spare); the spare columns are not set."""
    rows = np.asarray(rows, dtype=np.int64)
    starts, lengths = offsets[rows], np.diff(offsets)[rows]
    shape = (len(rows), int(lengths.max()), sum(array.shape[1] for array in arrays) + spare)
    memory = np.empty(np.prod(shape), dtype=arrays[0].dtype) if out is None else out.reshape(-1)
    batch = memory[: np.prod(shape)].reshape(shape)
    for features, start, length in zip(batch, starts.tolist(), lengths.tolist(), strict=True):
        column = 0
        for array in arrays:
            width = array.shape[1]
            np.copyto(features[:length, column : column + width], array[start : start + length])
            column += width
        features[length:] = 0
    return batch, lengths


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        manifest = json.loads((path / MANIFEST).read_text(encoding="utf-8"))
        version, complete = manifest["format_version"], manifest.keys() >= {"files", "video_streams"}
    except FileNotFoundError:
        raise StoreError(f"{path / MANIFEST}: no feature store here. Run `prepare` to make it.") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise _broken(path / MANIFEST, f"it cannot be read ({error})") from error
    if version != FORMAT_VERSION:
        raise _broken(path / MANIFEST, f"it has format version {version}, this program reads {FORMAT_VERSION}")
    if not complete:
        raise _broken(path / MANIFEST, "it does not list the store's files")
    return manifest


def _check_size(file: Path, record: dict[str, Any]) -> None:
    try:
        size = file.stat().st_size
    except OSError as error:
        raise _broken(file, f"it is missing or unreadable ({error.strerror})") from error
    if size != record["bytes"]:
        raise _broken(file, f"it has {size} bytes, the manifest says {record['bytes']}")


def _map_array(file: Path, record: dict[str, Any]) -> NDArray:
    try:
        # A plain view of the mapping: slices of np.memmap itself cost several microseconds each.
        array = np.asarray(np.load(file, mmap_mode="r", allow_pickle=False))
    except (OSError, ValueError) as error:
        raise _broken(file, f"it is not a readable .npy file ({error})") from error
    if list(array.shape) != record["shape"] or array.dtype.name != record["dtype"]:
        found = f"{array.dtype.name} {list(array.shape)}"
        raise _broken(file, f"it holds {found}, the manifest says {record['dtype']} {record['shape']}")
    return array


def _broken(file: Path, reason: str) -> StoreError:
    return StoreError(f"{file}: damaged feature store, {reason}. Delete the folder {file.parent} and `prepare` again.")
