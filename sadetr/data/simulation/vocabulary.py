"""What else a video may show: sentences about things that no query describes."""

import string
from collections.abc import Container, Sequence

import numpy as np

from sadetr.data.simulation.embedding import FUNCTION_WORDS


def _words(text: str) -> tuple[str, ...]:
    return tuple(text.split())


# The most frequent first: everyday words of captions, so that frequency does not give described events away.
PEOPLE = _words(
    "man woman person people girl boy guy lady couple child friends family kids group chef driver reporter vlogger "
    "player teacher dog cat baby crowd men women"
)
ACTIONS = _words(
    "talking talks walking sitting holding standing takes puts cutting eating opens driving looking cooking wearing "
    "playing washes closes gets showing dancing running drinking speaking smiling turns reading riding throws "
    "laughing filming dressed peels pouring swimming watching making trying stirring cleaning working waiting singing "
    "posing"
)
THINGS = _words(
    "camera car door food table phone water bag knife shirt book laptop bottle plate hair cup box bowl sandwich dress "
    "glass window chair hat pan drawer shoes clothes towel bike boat glasses cabinet vegetables picture pillow sink "
    "mirror computer blanket board carrot bread fish cake flowers screen map pot jacket snow tree"
)
PLACES = _words(
    "street kitchen room outside home restaurant store beach front road city park bed couch floor counter market "
    "studio building hotel garden mountain river stairs office airport"
)
_SLOTS = (PEOPLE, ACTIONS, THINGS, PLACES, THINGS)
_SLOT_CHANCES = (0.9, 1.0, 0.9, 0.6, 0.4)

RARE_WORD_RATE = 0.25
"""Share of words that are made up: real captions are full of words that occur once."""

RARE_WORD_LENGTH = 6


def other_sentence(rng: np.random.Generator) -> list[str]:
    """Content words of a sentence that has nothing to do with any query, 1 to 5."""
    return [_word(rng, slot) for slot, chance in zip(_SLOTS, _SLOT_CHANCES, strict=True) if rng.random() < chance]


def similar_sentence(rng: np.random.Generator, words: Sequence[str], shared: float) -> list[str]:
    """A sentence that keeps about the share ``shared`` of the content words of another, at least one and never all.

    A sentence of one content word has no similar one: an unrelated one takes its place.
    """
    content = [word for word in words if word not in FUNCTION_WORDS]
    if len(content) < 2:
        return other_sentence(rng)
    keep = rng.random(len(content)) < shared
    spared, changed = rng.permutation(len(content))[:2]
    keep[spared], keep[changed] = True, False
    slots = rng.integers(len(_SLOTS), size=len(content))
    return [
        word if kept else _word(rng, _SLOTS[slot], content)
        for word, kept, slot in zip(content, keep, slots, strict=True)
    ]


def _word(rng: np.random.Generator, words: Sequence[str], excluded: Container[str] = ()) -> str:
    """One of ``words``, the first ones most often, or a made-up one."""
    if rng.random() < RARE_WORD_RATE:
        return "".join(rng.choice(list(string.ascii_lowercase), RARE_WORD_LENGTH))
    allowed = [word for word in words if word not in excluded]
    # Frequencies fall as in language, with the rank.
    chances = 1 / np.arange(3, len(allowed) + 3)
    return allowed[np.searchsorted(np.cumsum(chances) / chances.sum(), rng.random())]
