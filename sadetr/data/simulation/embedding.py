"""A space of word meanings: a fixed vector for every word, and the meaning of a sentence as their weighted sum.

All randomness of the simulation comes from :func:`generator`, keyed by a seed and names, so that nothing depends on the
order of work or on what else is simulated.
"""

import functools
import hashlib
import string
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = NDArray[np.float64]

WIDTH = 128
"""Dimension of the space: small enough that every stream and the text show it without loss."""

SPELLING_SHARE = 0.6
"""Share of a word's vector that comes from its spelling, so that "cook" and "cooking" are related."""

SPELLING_LENGTH = 3
"""Letters per piece of spelling, word borders included."""

FUNCTION_WORD_WEIGHT = 0.1
"""Weight in the sentence of words that show nothing; all others weigh 1."""

_FUNCTION_WORDS = """
a an the this that these those some any each other another and or but as than then while when where who which what of in
on at to from for with without by into onto out off up down over under through about around is are was were be been
being am do does did has have had having it its he she they him his her hers them their there here i me my you your we
us our one not no so very
"""
FUNCTION_WORDS = frozenset(_FUNCTION_WORDS.split())

STATIC_WEIGHT = 0.3
"""Weight in a sentence's motion of words that do not look like verbs."""

VERB_ENDINGS = ("ing", "ed", "s")
"""What marks a verb in the queries: crude (it takes plurals for verbs), but the same for everyone."""


CACHED_WORDS = 1 << 16
"""Bound on the memory for word vectors."""


@dataclass(frozen=True)
class Meaning:
    """What a sentence means: (2, WIDTH), how things look and how they move, each of norm 1 (0 without words)."""

    views: Vector


def generator(seed: int, *names: str) -> np.random.Generator:
    """The generator of one purpose: a function of the seed and the names alone."""
    key = hashlib.blake2b("\x1f".join((str(seed), *names)).encode(), digest_size=16).digest()
    return np.random.default_rng(int.from_bytes(key, "little"))


def unit(rows: Vector) -> Vector:
    """Vectors (..., WIDTH) of norm 1; zero vectors stay zero."""
    norms = np.sqrt((rows * rows).sum(-1, keepdims=True))
    return np.divide(rows, norms, out=np.zeros_like(rows), where=norms > 0)


def bare(token: str) -> str:
    """A token in lower case without the punctuation around it; the token itself if it is nothing else."""
    return token.lower().strip(string.punctuation) or token


class WordSpace:
    """The word vectors of one seed; each is made when first asked for."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self.word = functools.lru_cache(CACHED_WORDS)(self._word)
        self._piece = functools.cache(functools.partial(self._random, "piece"))

    def named(self, name: str) -> Vector:
        """The vector, (WIDTH,) of norm 1, of something that is not a word: a special token, a position."""
        return self._random("named", name)

    def weight(self, word: str) -> float:
        """How much a word says about what is to be seen."""
        return FUNCTION_WORD_WEIGHT if word in FUNCTION_WORDS else 1.0

    def meaning(self, words: Sequence[str]) -> Meaning:
        """The meaning of a sentence, given its words as :func:`bare` leaves them."""
        views = np.zeros((2, WIDTH))
        for word in words:
            vector = self.weight(word) * self.word(word)
            views[0] += vector
            views[1] += vector if word.endswith(VERB_ENDINGS) else STATIC_WEIGHT * vector
        return Meaning(unit(views))

    def _word(self, word: str) -> Vector:
        """(WIDTH,) of norm 1: partly the word's own, partly that of its spelling."""
        framed = f"<{word}>"
        pieces = [framed[start : start + SPELLING_LENGTH] for start in range(max(1, len(framed) - SPELLING_LENGTH + 1))]
        spelling = unit(np.sum([self._piece(piece) for piece in pieces], axis=0))
        own = self._random("word", word)
        return unit(np.sqrt(1 - SPELLING_SHARE) * own + np.sqrt(SPELLING_SHARE) * spelling)

    def _random(self, kind: str, name: str) -> Vector:
        return unit(generator(self._seed, kind, name).standard_normal(WIDTH))
