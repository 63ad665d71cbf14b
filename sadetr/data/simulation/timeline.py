"""What a video shows in each of its clips: the described events in their windows, other events everywhere else."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.data.clip_labels import clip_labels
from sadetr.data.simulation.embedding import WIDTH, Vector, WordSpace, bare, generator, unit
from sadetr.data.simulation.vocabulary import other_sentence, similar_sentence
from sadetr.settings import SimulationSettings

MOST_SALIENT = 12
"""Sum of three annotators' best scores."""

OTHER_SALIENCY = (5.0, 11.0)
"""Range of the mean of that sum over an event that no query describes; about that of the described ones."""

SALIENCY_SPREAD = 1.2
"""Standard deviation of the sum from clip to clip of such an event."""

LENGTH_SPREAD = 0.8
"""Standard deviation of an undescribed event's log length."""

MOST_MOVED = 1 / 3
"""Part of a window by which one of its ends moves at most."""


@dataclass(frozen=True)
class Video:
    """An annotated video: its clips of ``clip_length`` seconds and all its queries."""

    vid: str
    duration: float
    """Seconds."""
    clips: int
    clip_length: float
    queries: Sequence[Query]


@dataclass(frozen=True)
class _Event:
    start: float
    end: float
    """Seconds."""
    shown: Vector
    """(2, WIDTH), each view of norm 1."""
    level: NDArray[np.float64]
    """(clips,) how clearly each clip shows it."""


def shown_meaning(video: Video, space: WordSpace, settings: SimulationSettings) -> Vector:
    """What is shown, (2, clips, WIDTH): how things look and how they move, each clip of norm 1 or less.

    A clip that lies partly in a window shows that much of it. Where windows of several queries overlap, the clip shows
    all of them, no more clearly than one alone.
    """
    rng = generator(settings.seed, "timeline", video.vid)
    described = list(_described(rng, video, space, settings))
    others = list(_others(rng, video, space, settings, _gaps(described, video.duration)))
    total, clearest = _add_up(described, video)
    return unit(total) * clearest[:, None] + _add_up(others, video)[0]


def _described(
    rng: np.random.Generator, video: Video, space: WordSpace, settings: SimulationSettings
) -> Iterator[_Event]:
    for query in video.queries:
        meaning = space.meaning([bare(token) for token in query.query.split()])
        level = _described_level(query, video, settings.saliency_contrast)
        for start, end in query.windows:
            most = MOST_MOVED * (end - start)
            moves = np.clip(settings.boundary_jitter * rng.standard_normal(2), -most, most)
            first, last = np.clip([start + moves[0], end + moves[1]], 0, video.duration)
            yield _Event(first, last, _appearance(rng, meaning.views, settings), level)


def _described_level(query: Query, video: Video, contrast: float) -> NDArray[np.float64]:
    """1 without saliency annotations, else 1 for the most salient clips down to 1 - ``contrast``."""
    if query.saliency is None or len(query.saliency) == 0:
        return np.ones(video.clips)
    labelled, scores = clip_labels(query, video.clip_length)
    # A clip that only the moved ends reach is as salient as the nearest annotated one.
    places = np.arange(video.clips)
    following = np.searchsorted(labelled, places)
    earlier = np.maximum(following - 1, 0)
    later = np.minimum(following, len(labelled) - 1)
    nearest = np.where(abs(labelled[later] - places) <= abs(places - labelled[earlier]), later, earlier)
    return 1 - contrast * (1 - scores.sum(1)[nearest] / MOST_SALIENT)


def _others(
    rng: np.random.Generator,
    video: Video,
    space: WordSpace,
    settings: SimulationSettings,
    gaps: list[tuple[float, float]],
) -> Iterator[_Event]:
    """Undescribed events, one after the other, in the gaps between the described ones."""
    rated = any(query.saliency is not None for query in video.queries)
    for gap_start, gap_end in gaps:
        start = gap_start
        while start < gap_end:
            length = max(settings.segment_seconds * np.exp(LENGTH_SPREAD * rng.standard_normal()), video.clip_length)
            end = min(start + length, gap_end)
            if rng.random() < settings.distractor_rate:
                like = video.queries[rng.integers(len(video.queries))].query
                words = similar_sentence(rng, [bare(token) for token in like.split()], settings.shared_words)
            else:
                words = other_sentence(rng)
            level = _other_level(rng, video.clips, settings.saliency_contrast) if rated else np.ones(video.clips)
            yield _Event(start, end, _appearance(rng, space.meaning(words).views, settings), level)
            start = end


def _other_level(rng: np.random.Generator, clips: int, contrast: float) -> NDArray[np.float64]:
    """Levels (clips,) as clear as those of described events, so that clearness does not give the windows away."""
    sums = rng.uniform(*OTHER_SALIENCY) + SALIENCY_SPREAD * rng.standard_normal(clips)
    return 1 - contrast * (1 - np.clip(sums, 0, MOST_SALIENT) / MOST_SALIENT)


def _appearance(rng: np.random.Generator, views: Vector, settings: SimulationSettings) -> Vector:
    """One occurrence of an event: no two look alike."""
    return unit(views + settings.appearance * unit(rng.standard_normal(views.shape)))


def _gaps(events: Sequence[_Event], duration: float) -> list[tuple[float, float]]:
    """The parts of the video that no event covers, in order."""
    gaps, covered = [], 0.0
    for event in sorted(events, key=lambda event: event.start):
        if event.start > covered:
            gaps.append((covered, event.start))
        covered = max(covered, event.end)
    return gaps + ([(covered, duration)] if covered < duration else [])


def _add_up(events: Sequence[_Event], video: Video) -> tuple[Vector, NDArray[np.float64]]:
    """Sum of the events, (2, clips, WIDTH), and how clearly each clip shows the clearest of them, (clips,)."""
    total, clearest = np.zeros((2, video.clips, WIDTH)), np.zeros(video.clips)
    for event in events:
        first = int(event.start / video.clip_length)
        part = slice(first, min(int(np.ceil(event.end / video.clip_length)), video.clips))
        edges = np.arange(part.start, part.stop + 1) * video.clip_length
        covered = np.minimum(edges[1:], event.end) - np.maximum(edges[:-1], event.start)
        weights = event.level[part] * np.clip(covered / video.clip_length, 0, 1)
        total[:, part] += weights[:, None] * event.shown[:, None]
        clearest[part] = np.maximum(clearest[part], weights)
    return total, clearest
