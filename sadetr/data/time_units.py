"""Whether the windows and durations of a whole file can be seconds (docs/data.md, "Units").

One row never tells; a rule here speaks of all rows of a file, and only of what no file in seconds looks like. With too
few rows, or where a file in seconds is merely unlikely, it is a hint.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

FEWEST = 3
"""Rows, or videos, from which on a rule is certain."""
FRACTION = 1 + 1e-6
"""Where windows end at the latest that are fractions of their video."""
SHORTEST_VIDEO = 4.0
"""Median duration in seconds from which on videos are too long for all windows to lie in their first second."""
MILLISECONDS = 1 / 500
"""Share of their videos within which all windows end where durations count milliseconds, and more."""
FRAMES = 1 / 20
"""Share of their videos within which all windows end where durations may count frames."""
LONGEST_VIDEO = 10_800.0
"""Median duration in seconds from which on durations are doubtful."""


@dataclass(frozen=True)
class Doubt:
    """What a file's numbers say about their unit."""

    certain: bool
    """Whether no file in seconds looks like this; else a hint."""
    index: int
    """Row that shows it, from 0."""
    fault: str
    remedy: str


def doubt_annotations(
    windows: Sequence[NDArray[np.float64] | None], durations: Sequence[float], vids: Sequence[str]
) -> Doubt | None:
    """Compare the windows (n, 2) of all queries with the durations of their videos; None where nothing is wrong."""
    rows = [index for index, found in enumerate(windows) if found is not None and len(found)]
    lengths = np.array(durations, dtype=np.float64)
    if rows:
        first, ends, videos = rows[0], np.array([windows[row].max() for row in rows]), {vids[row] for row in rows}
        shown = f"window {_shown(windows[first][0])} of a video of {durations[first]:g} s"
        # A video of its own: queries about one opening scene are no evidence.
        certain = len(videos) >= FEWEST
        if fractions(ends, lengths[rows]):
            what = f"{shown}; no window of the file ends after 1, as with fractions of the video"
            return Doubt(certain, first, what, "multiply relevant_windows by the duration: they are seconds")
        latest = float((ends / lengths[rows]).max())
        if latest <= FRAMES:
            what = f"{shown}; all windows of the file end within the first {latest:.2%} of their videos"
            remedy = "write duration in seconds, not in milliseconds or frames"
            return Doubt(certain and latest <= MILLISECONDS, first, what, remedy)
    if len(lengths) and (middle := float(np.median(lengths))) > LONGEST_VIDEO:
        what = f"duration {durations[0]:g} s; half of the file's videos last longer than {middle / 3600:.1f} hours"
        remedy = "write durations and windows in seconds, if these are milliseconds or frames"
        return Doubt(False, 0, what, remedy)
    return None


def fractions(ends: NDArray[np.float64], durations: NDArray[np.float64]) -> bool:
    """Whether the last ends (n,) of n rows look like fractions of videos of these durations (n,) in seconds."""
    return bool((ends <= FRACTION).all() and (ends > 0).any() and np.median(durations) >= SHORTEST_VIDEO)


def _shown(window: NDArray[np.float64]) -> str:
    return f"[{window[0]:g}, {window[1]:g}]"
