"""Features of videos that were seen before: one file per video content and everything that decides on its features."""

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.arrays import DAMAGE
from sadetr.files import atomic_path


@dataclass(frozen=True)
class VideoFeatures:
    """Streams of one video, as they are extracted."""

    streams: dict[str, NDArray[np.float16]]
    """Name -> (clips, width)."""
    duration: float
    """Seconds."""
    warnings: tuple[str, ...] = ()
    """What may make them differ from the official ones."""


@dataclass(frozen=True)
class FeatureCache:
    """A folder of features; files appear whole, and several processes may share it."""

    folder: Path

    def get(self, key: dict[str, Any], make: Callable[[], VideoFeatures]) -> VideoFeatures:
        """What is kept under ``key``, JSON-serialisable; otherwise what ``make`` makes, kept from now on.

        Raises:
            ResultsError: the folder cannot be written.
        """
        name = hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()
        path = self.folder / f"{name}.npz"
        features = _read(path)
        if features is None:
            features = make()
            self._keep(path, features)
        return features

    def _keep(self, path: Path, features: VideoFeatures) -> None:
        rows = {f"stream.{name}": rows for name, rows in features.streams.items()}
        with atomic_path(path) as temporary, open(temporary, "wb") as content:
            np.savez(content, duration=features.duration, warnings=np.array(features.warnings, dtype=str), **rows)


def _read(path: Path) -> VideoFeatures | None:
    """None where the file is not there or damaged: features can be made again."""
    try:
        with open(path, "rb") as content, np.load(content, allow_pickle=False) as kept:
            streams = {name.removeprefix("stream."): kept[name] for name in kept.files if name.startswith("stream.")}
            return VideoFeatures(streams, float(kept["duration"]), tuple(kept["warnings"].tolist()))
    except DAMAGE:
        return None
