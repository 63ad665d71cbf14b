"""Clip labels and the length of the clips that they count (docs/data.md, "Units").

``relevant_clip_ids`` count clips of the labels' own length, which need not be that of the features. Windows say which:
they are unions of labelled clips.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.clips import clips_per_label, misfit
from sadetr.data.query import Query
from sadetr.errors import DataError

TOLERANCE = 1e-6
"""Share of a clip that counts as a whole one: rounding."""
GRID_SLACK = 0.01
"""Share of a clip by which a window's end may miss the border of a clip and still lie on it: a clip length of 1/6 s is
written as 0.166666, which adds up over a video."""
MOST_CLIPS = 2**31
"""No video has as many; bounds what is computed with clips of a length that is far too small."""

NO_FAULT = (0, 0)

IntArray = NDArray[np.int64]


@dataclass(frozen=True)
class Fault:
    """The first thing that is wrong with the clip ids of one query, under some clip length."""

    index: int
    """Which of the queries it is."""
    text: str
    certain: bool
    """False where clips of a window merely lack labels."""


def clip_count(duration: float, clip_length: float) -> int:
    """Whole clips of ``clip_length`` seconds in a video of ``duration`` seconds."""
    return int(duration / clip_length + TOLERANCE)


def clip_labels(query: Query, clip_length: float) -> tuple[IntArray, IntArray]:
    """Labelled clips (m,) of ``clip_length`` seconds, ascending, and their scores (m, 3).

    Where a label holds for several such clips, each of them gets its scores. Clips that the video does not hold whole
    have none.

    Raises:
        DataError: the clips do not divide those that the labels count.
    """
    own = query.label_clip_length
    if own is None or own == clip_length:
        return query.relevant_clip_ids, query.saliency
    clips = clips_per_label(own, clip_length)
    if clips is None:
        raise DataError(f"annotations: qid {query.qid!r}: {misfit(own, clip_length)}")
    ids = (query.relevant_clip_ids[:, None] * clips + np.arange(clips)).ravel()
    inside = ids < clip_count(query.duration, clip_length)
    return ids[inside], np.repeat(query.saliency, clips, axis=0)[inside]


def find_clip_length(queries: Sequence[Query], clip_length: float) -> float:
    """The clip length that ids and windows agree on.

    ``clip_length`` itself if nothing contradicts it, else the length under which the fewest queries are at fault, of
    those that the windows' length per labelled clip suggests.
    """
    best, fewest = clip_length, _count(faults(queries, clip_length))
    for candidate in _candidates(queries, clip_length) if fewest > NO_FAULT else ():
        count = _count(faults(queries, candidate))
        if count < fewest:
            best, fewest = candidate, count
    return best


def _count(found: Sequence[Fault]) -> tuple[int, int]:
    """Queries that are certainly at fault, and all that are."""
    return sum(fault.certain for fault in found), len(found)


def fitting_clip_length(queries: Sequence[Query], clip_length: float) -> float | None:
    """Another clip length than ``clip_length`` under which no query is at fault; None where there is none."""
    found = find_clip_length(queries, clip_length)
    return None if found == clip_length or faults(queries, found) else found


def faults(queries: Sequence[Query], clip_length: float) -> list[Fault]:
    """What contradicts ``relevant_clip_ids`` that count clips of ``clip_length`` seconds, query by query.

    Every id is a whole clip of the video; every labelled clip touches a window; and, not certainly a fault, every whole
    clip inside a window is labelled. Where a window covers its first or last clip in part only, both are right.
    """
    rows = [index for index, query in enumerate(queries) if query.relevant_clip_ids is not None]
    if not rows:
        return []
    owners = np.repeat(np.arange(len(rows)), [len(queries[row].relevant_clip_ids) for row in rows])
    ids = np.concatenate([queries[row].relevant_clip_ids for row in rows])
    counts = np.array([queries[row].duration for row in rows]) / clip_length + TOLERANCE
    counts = np.minimum(counts, MOST_CLIPS).astype(np.int64)
    wrong = np.full(len(rows), False)
    wrong[owners[ids >= counts[owners]]] = True
    _compare_with_windows([queries[row] for row in rows], owners, ids, counts, clip_length, wrong)
    return [
        Fault(rows[place], *_explain(queries[rows[place]], int(counts[place]), clip_length))
        for place in np.flatnonzero(wrong)
    ]


def _compare_with_windows(
    queries: Sequence[Query],
    owners: IntArray,
    ids: IntArray,
    counts: IntArray,
    clip_length: float,
    wrong: NDArray[np.bool_],
) -> None:
    """Mark in ``wrong`` the queries whose labelled clips (``owners``, ``ids``) and windows disagree."""
    with_windows = [place for place, query in enumerate(queries) if query.windows is not None]
    if not with_windows:
        return
    places = np.repeat(with_windows, [len(queries[place].windows) for place in with_windows])
    windows = np.concatenate([queries[place].windows for place in with_windows])
    inside, touched = _inside(windows, counts[places], clip_length), _touched(windows, clip_length)
    # One number per query and clip, ascending: what a range of clips holds is the distance of two places in it.
    base = max(int(ids.max(initial=0)), int(touched.max())) + 2
    keys = owners * base + ids
    whole = inside[:, 1] > inside[:, 0]
    found = np.searchsorted(keys, places * base + inside[:, 1]) - np.searchsorted(keys, places * base + inside[:, 0])
    wrong[places[whole & (found < inside[:, 1] - inside[:, 0])]] = True
    steps = np.zeros(len(keys) + 1, dtype=np.int64)
    np.add.at(steps, np.searchsorted(keys, places * base + touched[:, 0]), 1)
    np.add.at(steps, np.searchsorted(keys, places * base + touched[:, 1]), -1)
    outside = owners[np.cumsum(steps[:-1]) == 0]
    wrong[outside[np.isin(outside, with_windows)]] = True


def _inside(windows: NDArray[np.float64], counts: IntArray, clip_length: float) -> IntArray:
    """(n, 2) first and last + 1 of the whole clips inside each window and its video."""
    first = np.ceil(windows[:, 0] / clip_length - GRID_SLACK)
    last = np.minimum(np.floor(windows[:, 1] / clip_length + GRID_SLACK), counts)
    return np.clip(np.stack((first, last), 1), 0, MOST_CLIPS).astype(np.int64)


def _touched(windows: NDArray[np.float64], clip_length: float) -> IntArray:
    """(n, 2) first and last + 1 of the clips that share at least a border with each window."""
    first = np.ceil(windows[:, 0] / clip_length - 1 - GRID_SLACK)
    last = np.floor(windows[:, 1] / clip_length + GRID_SLACK) + 1
    return np.clip(np.stack((first, last), 1), 0, MOST_CLIPS).astype(np.int64)


def _explain(query: Query, count: int, clip_length: float) -> tuple[str, bool]:
    """Text of the first fault, and whether it is certain."""
    ids = set(query.relevant_clip_ids.tolist())
    if beyond := [clip for clip in sorted(ids) if clip >= count]:
        return f"relevant clip {beyond[0]} is not one of the video's {count} clips of {clip_length:g} s", True
    touched = _touched(query.windows, clip_length).tolist()
    for clip in sorted(ids):
        if not any(first <= clip < stop for first, stop in touched):
            return f"relevant clip {clip}, {_seconds(clip, clip_length)}, touches none of relevant_windows", True
    inside = _inside(query.windows, np.full(len(query.windows), count), clip_length).tolist()
    window, clip = next(
        (window, clip)
        for window, (first, stop) in zip(query.windows.tolist(), inside, strict=True)
        for clip in range(first, stop)
        if clip not in ids
    )
    what = f"clip {clip}, {_seconds(clip, clip_length)}"
    return f"window [{window[0]:g}, {window[1]:g}] holds {what}, which relevant_clip_ids leave out", False


def _seconds(clip: int, clip_length: float) -> str:
    return f"which lasts from {clip * clip_length:g} to {(clip + 1) * clip_length:g} s by clips of {clip_length:g} s"


def _candidates(queries: Sequence[Query], clip_length: float) -> list[float]:
    """Lengths that the windows suggest: their length per labelled clip, as it is and rounded to likely ones."""
    shares = [
        _covered_seconds(query.windows) / len(query.relevant_clip_ids)
        for query in queries
        if query.windows is not None and query.relevant_clip_ids is not None and len(query.relevant_clip_ids)
    ]
    if not shares:
        return []
    middle = float(np.median(shares))
    most = Counter(round(share, 4) for share in shares).most_common(1)[0][0]
    common = float(np.median([share for share in shares if round(share, 4) == most]))
    rounded = [float(round(middle)), round(2 * middle) / 2, clip_length * round(middle / clip_length)]
    rounded.append(clip_length / max(1, round(clip_length / middle)))
    return [value for value in dict.fromkeys([common, *rounded, middle]) if value > 0]


def _covered_seconds(windows: NDArray[np.float64]) -> float:
    """Length of the union of the windows (n, 2)."""
    starts, ends = windows[windows[:, 0].argsort()].T
    reached = np.maximum.accumulate(ends)
    begun = np.concatenate(([-np.inf], reached[:-1]))
    return float(np.maximum(ends - np.maximum(starts, begun), 0).sum())
