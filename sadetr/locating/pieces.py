"""Videos that are longer than what a method was trained on: overlapping pieces, and how their results become one.

The rule is in docs/locating.md. A video that is no longer is one piece, and its results stay as they are.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.evaluation.moment_retrieval import pairwise_iou
from sadetr.settings import DatasetSettings

DUPLICATE_IOU = 0.5
"""Of two windows of different pieces that overlap by more, the worse one goes."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Piece:
    """Consecutive clips of a video."""

    first: int
    clips: int
    start: float
    """Seconds from the video's start."""
    duration: float
    """Seconds; the last piece ends with its video and not with its clip."""

    @property
    def rows(self) -> slice:
        """Of the video's features."""
        return slice(self.first, self.first + self.clips)


@dataclass(frozen=True)
class Found:
    """What a network finds in one piece, in seconds from the piece's start."""

    piece: Piece
    windows: Array
    """(n, 3) start, end and score, best first."""
    saliency: Array
    """One score per clip, or fewer where the setting averages clips."""


def longest_piece(dataset: DatasetSettings) -> int | None:
    """Clips of the longest video that a network of ``dataset`` can have been trained on; None: any length.

    That is ``max_video_clips``, or where ``postprocess.clamp`` ends windows, whichever comes first.
    """
    clamp = dataset.postprocess.clamp
    limits = [] if dataset.max_video_clips is None else [dataset.max_video_clips]
    limits += [] if clamp is None else [max(1, math.floor(clamp[1] / dataset.clip_length + 0.01))]
    return min(limits, default=None)


def cut(clips: int, most: int | None, clip_length: float, duration: float) -> list[Piece]:
    """A video of ``clips`` clips as pieces of at most ``most``; neighbours share at least half of their clips.

    All pieces of a longer video are equally long: the last one begins early enough to end with the video.
    """
    if most is None or clips <= most:
        return [Piece(0, clips, 0.0, duration)]
    step = max(1, most // 2)
    firsts = [*range(0, clips - most, step), clips - most]
    ends = [duration if first + most == clips else (first + most) * clip_length for first in firsts]
    return [
        Piece(first, most, first * clip_length, end - first * clip_length)
        for first, end in zip(firsts, ends, strict=True)
    ]


def merged_windows(parts: Sequence[Found]) -> Array:
    """(n, 3) windows of all pieces in seconds of the video, best first, without duplicates.

    Greedy: a window goes if a better one of another piece overlaps it by an IoU above :data:`DUPLICATE_IOU`. Windows
    of the same piece stay, for the method's own ranking has been there.
    """
    shifts = np.array([[part.piece.start, part.piece.start, 0.0] for part in parts])
    windows = np.concatenate([part.windows + shift for part, shift in zip(parts, shifts, strict=True)])
    owners = np.concatenate([np.full(len(part.windows), number) for number, part in enumerate(parts)])
    order = np.argsort(-windows[:, 2], kind="stable")
    windows, owners = windows[order], owners[order]
    left = np.ones(len(windows), dtype=bool)
    for place in range(len(windows)):
        if left[place]:
            later = (np.arange(len(windows)) > place) & (owners != owners[place])
            left &= ~(later & (pairwise_iou(windows[place], windows) > DUPLICATE_IOU))
    return windows[left]


def merged_saliency(parts: Sequence[Found], clips: int) -> Array:
    """(clips,) mean of the scores that each clip has in the pieces that hold it."""
    total, count = np.zeros(clips), np.zeros(clips)
    for part in parts:
        # An averaged score holds for all clips that it is the mean of.
        places = (2 * np.arange(part.piece.clips) + 1) * len(part.saliency) // (2 * part.piece.clips)
        total[part.piece.rows] += part.saliency[places]
        count[part.piece.rows] += 1
    return total / count
