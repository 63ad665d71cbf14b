"""Simulated features of settings that spell words or average clips are those of all others, spelled and averaged."""

import numpy as np

from sadetr.data.packing import averaged, normalise_rows
from sadetr.data.words import split_words
from sadetr.settings import DatasetSettings, Vocabulary
from tests.data.simulation.conftest import Build, invented_queries

TRAIN, VAL = invented_queries(8), invented_queries(3, first=8)


def test_words_have_their_characters(build: Build, dataset: DatasetSettings) -> None:
    stream = Vocabulary(width=24, character_occurrences=1)
    store = build(TRAIN, VAL, dataset=dataset.model_copy(update={"text_stream": stream}))
    for query in [*TRAIN, *VAL]:
        (numbers,) = store.gather_characters(store.text_rows([query.qid]))
        words = split_words(query, stream.strip_punctuation)[: dataset.max_text_tokens]
        assert (numbers != 0).sum(1).tolist() == [len(word) for word in words]


def test_averaged_videos_are_averages_of_the_whole_ones(build: Build, dataset: DatasetSettings) -> None:
    plain = dataset.model_copy(update={"saliency": "window", "highlights": False})
    whole, short = (
        build(TRAIN, VAL, dataset=plain),
        build(TRAIN, VAL, dataset=plain.model_copy(update={"max_positions": 6})),
    )
    width = dataset.video_streams[0].width
    for vid in whole.video_names:
        (long,), (mean,) = (store.gather_video(store.video_rows([vid]))[0] for store in (whole, short))
        assert len(mean) == min(6, len(long))
        np.testing.assert_allclose(mean[:, :width], normalise_rows(averaged(long[:, :width], 6)), rtol=1e-4, atol=1e-6)
