"""Token features of a query, as a text encoder or a table of word vectors might give them."""

import numpy as np
from numpy.typing import NDArray

from sadetr.data.packing import normalise_rows
from sadetr.data.simulation.embedding import WIDTH, WordSpace, bare, unit
from sadetr.data.simulation.projection import Projection
from sadetr.settings import DatasetSettings, WordVectors

CONTEXT = 0.7
"""Weight of a token's neighbourhood relative to its own word."""

CONTEXT_DECAY = 0.5
"""Factor per word of distance in the neighbourhood."""

POSITION = 0.3
"""Size of the vector that a token's position adds, relative to that of its word."""

END_TOKEN = 0.5
"""Size of the end token's own vector, relative to the meaning of the sentence, which it sums up."""

WORD_VECTOR_NORM = 5.0
"""About the norm of a GloVe vector; such rows are stored as they are."""


class TextModel:
    """The imaginary text backbone of a setting."""

    def __init__(self, seed: int, dataset: DatasetSettings, space: WordSpace) -> None:
        self._space = space
        self._stream = dataset.text_stream
        self._max_tokens = dataset.max_text_tokens
        self._project = Projection(seed, f"text {dataset.text_stream.kind}", dataset.text_stream.width)

    def features(self, query: str) -> NDArray[np.float32]:
        """(T, width) of one query: a row per token, cut to ``max_text_tokens``."""
        tokens = query.split()
        rows = self._looked_up(tokens) if isinstance(self._stream, WordVectors) else self._encoded(tokens)
        return rows[: self._max_tokens]

    def _looked_up(self, tokens: list[str]) -> NDArray[np.float32]:
        """The words' own vectors, whatever stands around them."""
        rows = np.zeros((len(tokens), WIDTH))
        for row, token in zip(rows, tokens, strict=True):
            word = bare(token)
            # As in a table of plain words: what carries punctuation is unknown, a zero vector.
            if self._stream.strip_punctuation or token.lower() == word:
                row[:] = self._space.word(word)
        return np.float32(WORD_VECTOR_NORM / np.sqrt(self._stream.width)) * self._project(rows)

    def _encoded(self, tokens: list[str]) -> NDArray[np.float32]:
        """Start token, one token per word that knows its neighbours and its place, end token."""
        space, words = self._space, [bare(token) for token in tokens]
        own = np.array([space.word(word) for word in words])
        weights = np.array([space.weight(word) for word in words])
        places = np.arange(len(words))
        kernel = CONTEXT_DECAY ** np.abs(places[:, None] - places)
        # Not a BLAS product, whose rounding may depend on the number of threads.
        context = unit(np.einsum("ij,j,jw->iw", kernel, weights, own, optimize=False))
        positions = np.array([space.named(f"position {place}") for place in places])
        rows = unit(own + CONTEXT * context) + POSITION * positions
        end = space.meaning(words).views[0] + END_TOKEN * space.named("end")
        return normalise_rows(self._project(np.vstack([space.named("start"), rows, end])))
