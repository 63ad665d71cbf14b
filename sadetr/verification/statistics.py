"""Statistics of annotations, measured, and compared with the known ones."""

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from sadetr.data.annotations import TOLERANCE, Query, clip_count
from sadetr.data.sources import ClipStatistics, Statistics
from sadetr.settings import Record

LENGTH_BORDERS = (10, 30, 150)
"""Seconds: short up to 10, middle up to 30, long up to 150, all inclusive, as in the evaluator."""

VERY_GOOD = 4


@dataclass(frozen=True)
class Comparison:
    """One statistic of one annotation file."""

    file: str
    split: str
    name: str
    title: str
    measured: Any
    known: Any = None

    @property
    def agrees(self) -> bool | None:
        """Whether both agree; None where nothing is known."""
        return None if self.known is None else agree(self.measured, self.known)


def measure(queries: Sequence[Query]) -> Statistics:
    """All statistics that do not depend on the clip length."""
    durations = np.array(list({query.vid: query.duration for query in queries}.values()))
    per_video = Counter(query.vid for query in queries)
    words = np.array([len(query.query.split()) for query in queries])
    return Statistics(
        queries=len(queries),
        videos=len(per_video),
        queries_per_video=[len(queries) / len(per_video), max(per_video.values())],
        qid_type="/".join(sorted({type(query.qid).__name__ for query in queries})),
        duration=_quantiles(durations, 0, 0.5, 1),
        duration_spread=[float(durations.mean()), float(durations.std())],
        hours=float(durations.sum() / 3600),
        words=[float(words.min()), float(np.median(words)), float(words.mean()), float(words.max())],
        non_ascii=sum(not query.query.isascii() for query in queries),
        double_blanks=sum("  " in query.query for query in queries),
        outer_blanks=sum(query.query != query.query.strip() for query in queries),
        **_windows([query for query in queries if query.windows is not None]),
        **_saliency([query for query in queries if query.saliency is not None]),
    )


def measure_clips(queries: Sequence[Query], clip_length: float) -> ClipStatistics:
    """Statistics in clips of ``clip_length`` seconds."""
    durations = {query.vid: query.duration for query in queries}
    ragged = {vid for vid, duration in durations.items() if not _is_multiple(duration, clip_length)}
    clips = np.array([clip_count(duration, clip_length) for duration in durations.values()])
    lengths = _lengths(query for query in queries if query.windows is not None)
    return ClipStatistics(
        clips=_quantiles(clips, 0, 0.5, 1),
        ragged=[sum(query.vid in ragged for query in queries), len(ragged)],
        shorter_than_clip=int((lengths < clip_length - TOLERANCE).sum()) if len(lengths) else None,
    )


def compare(file: str, split: str, measured: Record, known: Record | None) -> list[Comparison]:
    """Every statistic that was measured, beside the known one."""
    return [
        Comparison(file, split, name, field.description or name, value, getattr(known, name, None))
        for name, field in type(measured).model_fields.items()
        if (value := getattr(measured, name)) is not None
    ]


def agree(measured: Any, known: Any) -> bool:
    """Equal up to the digits that the known value is given with."""
    if isinstance(known, dict):
        return dict(measured) == dict(known)
    values, references = (value if isinstance(value, list) else [value] for value in (measured, known))
    if len(values) != len(references) or not all(isinstance(value, int | float) for value in references):
        return values == references
    precision = 0.5 * 10 ** -max(map(_decimals, references)) if any(isinstance(r, float) for r in references) else 0
    return all(abs(value - known) <= precision + 1e-9 for value, known in zip(values, references, strict=True))


def shown(value: Any, like: Any = None) -> str:
    """A statistic as text, with the digits of the known value ``like`` where there is one."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(count)}" for key, count in value.items())
    if isinstance(value, list):
        others = like if isinstance(like, list) and len(like) == len(value) else [None] * len(value)
        return " / ".join(map(shown, value, others))
    if isinstance(value, float):
        return f"{value:,.{_decimals(like) if isinstance(like, float) else _short(value)}f}"
    return f"{value:,}" if isinstance(value, int) else str(value)


def _windows(queries: Sequence[Query]) -> dict[str, Any]:
    if not queries:
        return {}
    lengths = _lengths(queries)
    durations = np.concatenate([np.full(len(query.windows), query.duration) for query in queries])
    ends = np.concatenate([query.windows[:, 1] for query in queries])
    bins = np.searchsorted(LENGTH_BORDERS, lengths, side="left")
    found = Counter((query.vid, query.query) for query in queries)
    exact = Counter((query.vid, query.query, query.windows.tobytes()) for query in queries)
    return {
        "windows": len(lengths),
        "window": _quantiles(lengths, 0, 0.05, 0.5, 0.95, 1),
        "window_spread": [float(lengths.mean()), float(lengths.std())],
        "window_share": float((lengths / durations).mean()),
        "windows_by_length": np.bincount(bins, minlength=len(LENGTH_BORDERS) + 1).tolist(),
        "queries_by_length": _queries_by_length(queries),
        "windows_per_query": dict(sorted(Counter(len(query.windows) for query in queries).items())),
        "whole_video": int((lengths >= durations - TOLERANCE).sum()),
        "touching_end": int((ends == durations).sum()),
        "repeated": [len(queries) - len(found), len(queries) - len(exact)],
    }


def _queries_by_length(queries: Sequence[Query]) -> list[int]:
    """Queries with at least one window in each range; a query may count in several."""
    counts = [0] * len(LENGTH_BORDERS)
    for query in queries:
        for index in set(np.searchsorted(LENGTH_BORDERS, np.diff(query.windows)[:, 0], side="left").tolist()):
            if index < len(counts):
                counts[index] += 1
    return counts


def _saliency(queries: Sequence[Query]) -> dict[str, Any]:
    if not queries:
        return {}
    scores = np.concatenate([query.saliency for query in queries])
    clips = np.array([len(query.relevant_clip_ids) for query in queries])
    columns = [column for query in queries for column in query.saliency.T]
    return {
        "saliency_values": np.bincount(scores.ravel(), minlength=5).tolist(),
        "relevant_clips": _quantiles(clips, 0, 0.5, 1),
        "unmarked_columns": [sum(VERY_GOOD not in column for column in columns), len(columns)],
    }


def _lengths(queries: Iterable[Query]) -> np.ndarray:
    """(windows,) seconds, the plain differences that the evaluator takes: 17.3 - 7.3 is a hair more than 10."""
    lengths = [np.diff(query.windows)[:, 0] for query in queries]
    return np.concatenate(lengths) if lengths else np.empty(0)


def _quantiles(values: np.ndarray, *shares: float) -> list[float]:
    return [float(value) for value in np.quantile(values, shares)]


def _is_multiple(duration: float, clip_length: float) -> bool:
    clips = duration / clip_length
    return math.isclose(clips, round(clips), abs_tol=TOLERANCE)


def _decimals(value: float) -> int:
    """Digits after the point that a number was written with."""
    return 0 if value == int(value) else len(repr(value).partition(".")[2])


def _short(value: float) -> int:
    """Decimals that show a value without trailing zeros, two at most."""
    return next(places for places in (0, 1, 2) if places == 2 or math.isclose(value, round(value, places)))
