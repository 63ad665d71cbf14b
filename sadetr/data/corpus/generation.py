"""Writing the generated corpus in the official layout."""

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query, write_annotations
from sadetr.data.corpus import sentences, timeline
from sadetr.data.corpus.features import FeatureModel, visibility
from sadetr.errors import DataError
from sadetr.files import atomic_folder
from sadetr.settings import CorpusSettings, DatasetSettings

MARKER = "generated_corpus.json"
"""Lies beside generated annotations and features, so that nobody takes them for the benchmark's."""

MIN_LENGTH = 0.75
"""Shortest video as a fraction of the regular length."""

ANNOTATORS = 3


def generate(dataset: DatasetSettings, corpus: CorpusSettings, data_root: Path) -> None:
    """Write ``annotations/<name>/`` and ``features/<name>/`` below ``data_root``; an earlier corpus is replaced.

    The same settings give the same bytes. Each folder appears complete or not at all.

    Raises:
        DataError: the dataset has a split that the corpus settings give no size for.
        ResultsError: the folders cannot be written, or hold something other than a generated corpus.
    """
    sizes = {"train": corpus.train_queries, "val": corpus.val_queries, "test": corpus.test_queries}
    if dataset.annotations_in != dataset.name:
        raise DataError(
            f"setting {dataset.name}: a generated corpus is not shared. Set annotation_folder to null in the scale."
        )
    unknown = set(dataset.annotations) - set(sizes)
    if unknown:
        raise DataError(f"setting {dataset.name}: no generated corpus for split {min(unknown)!r}, only {list(sizes)}.")
    note = json.dumps({"note": "Generated data, see docs/generated_corpus.md", **corpus.model_dump()}, indent=1) + "\n"
    with (
        # Left in reverse order: where annotations are, the features are complete.
        atomic_folder(data_root / "annotations" / dataset.name, marker=MARKER) as annotations,
        atomic_folder(data_root / "features" / dataset.name, marker=MARKER) as features,
    ):
        (annotations / MARKER).write_text(note, encoding="utf-8")
        (features / MARKER).write_text(note, encoding="utf-8")
        writer = _CorpusWriter(dataset, corpus, features)
        for split, file in dataset.annotations.items():
            queries = writer.write_split(sizes[split], training=split == dataset.train_split)
            write_annotations(annotations / file, list(queries))


class _CorpusWriter:
    """Numbers videos and queries across splits and writes their feature files."""

    def __init__(self, dataset: DatasetSettings, corpus: CorpusSettings, folder: Path):
        self._dataset = dataset
        self._corpus = corpus
        self._model = FeatureModel(np.random.default_rng([corpus.seed, 0]), corpus, dataset)
        self._stream_folders = {stream.name: folder / stream.directory for stream in dataset.video_streams}
        self._text_folder = folder / dataset.text_stream.directory
        for directory in [*self._stream_folders.values(), self._text_folder]:
            directory.mkdir(parents=True, exist_ok=True)
        self._videos = 0
        self._queries = 0

    def write_split(self, queries: int, training: bool) -> Iterator[Query]:
        """Write the features of new videos until they have ``queries`` queries; yields the annotations."""
        while queries:
            described = min(queries, self._corpus.queries_per_video)
            yield from self._write_video(described, training)
            queries -= described

    def _write_video(self, queries: int, training: bool) -> Iterator[Query]:
        corpus, dataset = self._corpus, self._dataset
        # A generator of its own per video: more queries at the end leave the earlier videos as they are.
        rng = np.random.default_rng([corpus.seed, 1, self._videos])
        # As in QVHighlights, the name keeps the regular length also where the video is shorter.
        vid = f"g{self._videos:05d}_0.0_{corpus.clips * dataset.clip_length:.1f}"
        self._videos += 1
        clips = corpus.clips
        if rng.random() < corpus.short_video_fraction:
            clips = int(rng.integers(round(MIN_LENGTH * clips), clips))
        shown = timeline.compose(rng, corpus, clips, queries, training)
        clear = visibility(rng, shown.events)
        features = self._model.clip_features(rng, shown, clear)
        if rng.random() < corpus.short_feature_fraction:
            stream = dataset.video_streams[rng.integers(len(dataset.video_streams))].name
            features[stream] = features[stream][:-1]
        for stream in dataset.video_streams:
            path = self._stream_folders[stream.name] / f"{vid}{stream.suffix}"
            np.savez(path, **{stream.key: features[stream.name]})
        for attributes in shown.described:
            yield self._write_query(rng, vid, shown, attributes, clear)

    def _write_query(
        self,
        rng: np.random.Generator,
        vid: str,
        shown: timeline.Timeline,
        attributes: timeline.Attributes,
        clear: NDArray[np.float64],
    ) -> Query:
        omissible = sentences.omissible(shown, attributes)
        omitted = rng.choice(omissible) if omissible and rng.random() < self._corpus.omission_rate else None
        tokens = sentences.compose(rng, attributes, omitted)
        stream, qid = self._dataset.text_stream, self._queries
        self._queries += 1
        hidden = self._model.token_features(rng, tokens)
        path = self._text_folder / f"{stream.prefix}{qid}.npz"
        np.savez(path, **{stream.key: hidden, "pooler_output": hidden[-1]})
        windows = np.array(shown.windows(attributes))
        relevant = np.concatenate([np.arange(start, end) for start, end in windows])
        return Query(
            qid=qid,
            query=sentences.spell(tokens),
            vid=vid,
            duration=float(shown.clips * self._dataset.clip_length),
            windows=windows * float(self._dataset.clip_length),
            relevant_clip_ids=relevant,
            saliency=_saliency(rng, clear[relevant]),
        )


def _saliency(rng: np.random.Generator, clear: NDArray[np.float64]) -> NDArray[np.int64]:
    """(clips, annotators) scores 0-4: how clearly the clip shows the event, each annotator's leniency, and noise."""
    leniency = rng.normal(0, 0.7, size=ANNOTATORS)
    scores = 4.5 * clear[:, None] - 0.6 + leniency + rng.normal(0, 0.5, size=(len(clear), ANNOTATORS))
    return np.clip(np.round(scores), 0, 4).astype(np.int64)
