"""Features that a video and a text backbone might give: noisy, differently projected views of the attributes."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from sadetr.data.corpus.sentences import END, FUNCTION_WORDS, START, Token
from sadetr.data.corpus.timeline import Event, Timeline
from sadetr.data.corpus.vocabulary import ATTRIBUTES, OBJECTS, PEOPLE, PLACES, VERBS
from sadetr.settings import CorpusSettings, DatasetSettings

EMBEDDING_WIDTH = 16
"""Dimension of the attribute values' common space, from which each backbone has its own projection."""

WEAK_VIEW = 0.7
"""Strength with which a stream sees the attributes that are another stream's domain."""

BORDER_MIX = 0.2
"""Share of each neighbouring clip that leaks into a clip."""

BORDER_VISIBILITY = 0.75
"""Factor on how clearly the first and last clip of an event show it."""

POSITION_SCALE = 0.2
"""Size of the vector that a token's position adds, relative to that of its word."""

MAX_POSITIONS = 64

WORD_NOISE = 0.1
"""What is particular to a word in a table of word vectors, relative to its meaning."""


class FeatureModel:
    """The imaginary backbones: fixed random projections drawn from the corpus seed.

    All vectors have about unit variance per channel, so that noise levels are relative to the signal.
    """

    def __init__(self, rng: np.random.Generator, corpus: CorpusSettings, dataset: DatasetSettings):
        attributes, values, width = len(ATTRIBUTES), corpus.values_per_attribute, dataset.text_stream.width
        self._corpus = corpus
        embeddings = rng.standard_normal((attributes, values, EMBEDDING_WIDTH))
        self._clip_vectors: dict[str, NDArray] = {}
        for number, stream in enumerate(dataset.video_streams):
            domain = np.arange(attributes) % len(dataset.video_streams) == number
            strength = np.where(domain, 1.0, WEAK_VIEW)
            strength /= np.sqrt((strength**2).sum())
            self._clip_vectors[stream.name] = strength[:, None, None] * _project(rng, embeddings, stream.width)
        self._word_vectors = _project(rng, embeddings, width)
        self._function_vectors = rng.standard_normal((len(FUNCTION_WORDS), width))
        self._position_vectors = rng.standard_normal((MAX_POSITIONS, width))

    def clip_features(
        self, rng: np.random.Generator, timeline: Timeline, visibility: NDArray
    ) -> dict[str, NDArray[np.float32]]:
        """Stream name -> (clips, width); ``visibility`` (clips,) scales the attributes' signal."""
        corpus, features = self._corpus, {}
        for name, vectors in self._clip_vectors.items():
            width = vectors.shape[-1]
            shown, lengths = [], []
            for event in timeline.events:
                signal = sum(vectors[attribute, value] for attribute, value in enumerate(event.attributes))
                shown.append(signal + corpus.appearance_noise * rng.standard_normal(width))
                lengths.append(event.end - event.start)
            clips = _leak(visibility[:, None] * np.repeat(shown, lengths, axis=0))
            clips += corpus.background * rng.standard_normal(width)
            clips += corpus.video_noise * rng.standard_normal(clips.shape)
            features[name] = clips.astype(np.float32)
        return features

    def token_features(self, rng: np.random.Generator, tokens: list[Token]) -> NDArray[np.float32]:
        """(tokens, width): each token's word and position, without context."""
        words = [
            self._word_vectors[token.meaning] if token.meaning else self._function_vectors[_FUNCTION_INDEX[token.word]]
            for token in tokens
        ]
        features = np.stack(words) + POSITION_SCALE * self._position_vectors[: len(tokens)]
        return (features + self._corpus.text_noise * rng.standard_normal(features.shape)).astype(np.float32)

    def word_vectors(self) -> dict[str, NDArray[np.float64]]:
        """Word -> (width,) vector of every word that a sentence may hold, without position and noise."""
        vectors = {word: self._function_vectors[index] for word, index in _FUNCTION_INDEX.items()}
        del vectors[START], vectors[END]
        for attribute, words in enumerate((PEOPLE, VERBS, OBJECTS, PLACES)):
            for value, named in enumerate(words[: self._corpus.values_per_attribute]):
                for word in named if isinstance(named, tuple) else (named,):
                    vectors[word] = self._word_vectors[attribute, value]
        return vectors


def word_lines(rng: np.random.Generator, model: FeatureModel, width: int) -> Iterator[str]:
    """Lines of a table of word vectors, as GloVe's text files have them: all words of all sentences, and unused ones.

    The forms of a verb resemble each other; words of values beyond the corpus's are like any unrelated word.
    """
    known = model.word_vectors()
    forms = [form for verb in VERBS for form in verb]
    for word in dict.fromkeys([*known, *PEOPLE, *forms, *OBJECTS, *PLACES]):
        vector = known[word] if word in known else rng.standard_normal(width)
        vector = vector + WORD_NOISE * rng.standard_normal(width)
        yield " ".join([word, *(f"{value:.5f}" for value in vector)]) + "\n"


def visibility(rng: np.random.Generator, events: list[Event]) -> NDArray[np.float64]:
    """How clearly each clip shows its event, (clips,), about 0.5-1.2: what annotators' saliency follows."""
    clips = np.empty(events[-1].end)
    for event in events:
        clips[event.start : event.end] = rng.uniform(0.75, 1.15)
        clips[[event.start, event.end - 1]] *= BORDER_VISIBILITY
    return clips * rng.uniform(0.9, 1.1, size=len(clips))


def _project(rng: np.random.Generator, embeddings: NDArray, width: int) -> NDArray:
    """(attributes, values, width): a separate random projection of every attribute's embeddings."""
    projections = rng.standard_normal((len(embeddings), EMBEDDING_WIDTH, width)) / np.sqrt(EMBEDDING_WIDTH)
    # Not a BLAS product: its rounding depends on the machine, and the corpus should not.
    return np.einsum("ave,aew->avw", embeddings, projections, optimize=False)


def _leak(clips: NDArray) -> NDArray:
    padded = np.concatenate([clips[:1], clips, clips[-1:]])
    return BORDER_MIX * padded[:-2] + (1 - 2 * BORDER_MIX) * clips + BORDER_MIX * padded[2:]


_FUNCTION_INDEX = {word: index for index, word in enumerate(FUNCTION_WORDS)}
