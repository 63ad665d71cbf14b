"""Which events a video shows, when, and which of them are described by queries."""

import itertools
from dataclasses import dataclass

import numpy as np

from sadetr.data.corpus.vocabulary import ATTRIBUTES, Attributes, is_held_out
from sadetr.errors import SettingsError
from sadetr.settings import CorpusSettings

MAX_DESCRIBED = 0.8
"""Fraction of a video that described events may cover together."""

ATTEMPTS = 10_000
"""Tries to fit the described events into a video."""


@dataclass(frozen=True, slots=True)
class Event:
    """Clips ``start`` to ``end`` (exclusive) showing one combination of attributes."""

    attributes: Attributes
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Timeline:
    """The events of a video, covering all its clips in order, and the combinations that queries describe."""

    events: list[Event]
    described: list[Attributes]

    @property
    def clips(self) -> int:
        return self.events[-1].end

    def windows(self, attributes: Attributes) -> list[tuple[int, int]]:
        """(start, end) in clips of every event with exactly these attributes."""
        return [(event.start, event.end) for event in self.events if event.attributes == attributes]


def compose(rng: np.random.Generator, corpus: CorpusSettings, clips: int, queries: int, training: bool) -> Timeline:
    """A video of ``clips`` clips with ``queries`` described combinations, each in one or more separate windows.

    Training videos never show a held-out combination; elsewhere every described one is held out.

    Raises:
        SettingsError: the described events do not fit into a video.
    """
    described = _described(rng, corpus.values_per_attribute, queries, training)
    weights = corpus.window_counts
    counts = rng.choice(len(weights), size=queries, p=np.divide(weights, sum(weights))) + 1
    for _ in range(ATTEMPTS):
        shown = [attributes for attributes, count in zip(described, counts, strict=True) for _ in range(count)]
        lengths = _lengths(rng, corpus, clips, len(shown))
        if sum(lengths) > MAX_DESCRIBED * clips:
            continue
        fillers = _split(rng, corpus, clips, clips - sum(lengths))
        shown += [_undescribed(rng, corpus, described, training) for _ in fillers]
        lengths += fillers
        order = rng.permutation(len(shown))
        if all(shown[i] != shown[j] for i, j in itertools.pairwise(order)):
            bounds = np.cumsum([0, *(lengths[i] for i in order)]).tolist()
            events = [Event(shown[i], bounds[k], bounds[k + 1]) for k, i in enumerate(order)]
            return Timeline(events, described)
    raise SettingsError(
        f"corpus: {queries} described combinations do not fit into a generated video of {clips} clips; lower "
        "queries_per_video, median_event or event_spread"
    )


def differences(first: Attributes, second: Attributes) -> list[int]:
    """Indices of the attributes in which two combinations differ."""
    return [index for index, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]


def _described(rng: np.random.Generator, values: int, queries: int, training: bool) -> list[Attributes]:
    described: list[Attributes] = []
    while len(described) < queries:
        attributes = _random_attributes(rng, values)
        if is_held_out(attributes, values) != training and attributes not in described:
            described.append(attributes)
    return described


def _undescribed(
    rng: np.random.Generator, corpus: CorpusSettings, described: list[Attributes], training: bool
) -> Attributes:
    values = corpus.values_per_attribute
    distractor = rng.random() < corpus.distractor_rate
    while True:
        if distractor:
            base = described[rng.integers(len(described))]
            changed = rng.integers(len(ATTRIBUTES))
            shift = int(rng.integers(1, values))
            attributes = (*base[:changed], (base[changed] + shift) % values, *base[changed + 1 :])
        else:
            attributes = _random_attributes(rng, values)
        if attributes not in described and not (training and is_held_out(attributes, values)):
            return attributes


def _random_attributes(rng: np.random.Generator, values: int) -> Attributes:
    return tuple(rng.integers(values, size=len(ATTRIBUTES)).tolist())


def _lengths(rng: np.random.Generator, corpus: CorpusSettings, clips: int, events: int) -> list[int]:
    lengths = rng.lognormal(np.log(corpus.median_event * clips), corpus.event_spread, size=events)
    return np.clip(np.round(lengths), 1, clips).astype(int).tolist()


def _split(rng: np.random.Generator, corpus: CorpusSettings, clips: int, remaining: int) -> list[int]:
    """Event lengths that add up to ``remaining``, of the same distribution as the described events'."""
    lengths: list[int] = []
    while remaining:
        lengths.append(min(_lengths(rng, corpus, clips, 1)[0], remaining))
        remaining -= lengths[-1]
    return lengths
