"""Writing the generated corpus in the official layout."""

import itertools
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.clips import clips_per_label
from sadetr.data.annotations import Query, write_annotations
from sadetr.data.clip_labels import clip_count
from sadetr.data.corpus import sentences, timeline
from sadetr.data.corpus.features import FeatureModel, visibility, word_lines
from sadetr.errors import DataError
from sadetr.files import atomic_folder
from sadetr.settings import CorpusSettings, DatasetSettings

MARKER = "generated_corpus.json"
"""Lies beside generated annotations and features, so that nobody takes them for the benchmark's."""

MIN_LENGTH = 0.75
"""Shortest video as a fraction of the regular length."""

ANNOTATORS = 3

BORDER_JITTER = 0.4
"""Clips by which an event's border leaves the grid at most."""

TextWriter = Callable[[np.random.Generator, int | str, list[sentences.Token]], None]
"""Writes the text features of a query, if it has any of its own."""


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
        for directory in self._stream_folders.values():
            directory.mkdir(parents=True, exist_ok=True)
        self._texts = TEXT_WRITERS[dataset.text_stream.kind](dataset, corpus, self._model, folder)
        self._videos = 0
        self._queries = 0

    def write_split(self, queries: int, training: bool) -> Iterator[Query]:
        """Write the features of new videos until they have ``queries`` queries; yields the annotations."""
        while queries:
            # Enough for the rest, each of them described at least once.
            described = min(-(-queries // self._corpus.sentences_per_query), self._corpus.queries_per_video)
            for query in itertools.islice(self._write_video(described, training), queries):
                queries -= 1
                yield query

    def _write_video(self, described: int, training: bool) -> Iterator[Query]:
        corpus, dataset = self._corpus, self._dataset
        # A generator of its own per video: more queries at the end leave the earlier videos as they are.
        rng = np.random.default_rng([corpus.seed, 1, self._videos])
        # As in QVHighlights, the name keeps the regular length also where the video is shorter.
        vid = f"g{self._videos:05d}_0.0_{corpus.clips * dataset.clip_length:.1f}"
        self._videos += 1
        clips = corpus.clips
        if corpus.longest_video > 1:
            clips = round(clips * corpus.longest_video ** rng.random())
        if rng.random() < corpus.short_video_fraction:
            clips = int(rng.integers(round(MIN_LENGTH * clips), clips))
        shown = timeline.compose(rng, corpus, clips, described, training)
        clear = visibility(rng, shown.events)
        self._write_features(rng, vid, self._model.clip_features(rng, shown, clear))
        video = _Video(vid, shown, clear, _seconds(rng, shown, dataset.clip_length, corpus.on_grid))
        numbers = itertools.count()
        for attributes in shown.described:
            for _ in range(corpus.sentences_per_query):
                yield from self._write_query(rng, video, attributes, numbers)

    def _write_features(self, rng: np.random.Generator, vid: str, features: dict[str, NDArray[np.float32]]) -> None:
        streams = self._dataset.video_streams
        if rng.random() < self._corpus.short_feature_fraction:
            short = streams[rng.integers(len(streams))].name
            features[short] = features[short][:-1]
        for stream in streams:
            path = self._stream_folders[stream.name] / f"{vid}{stream.suffix}"
            if stream.suffix == ".npy":
                np.save(path, features[stream.name])
            else:
                np.savez(path, **{stream.key: features[stream.name]})

    def _write_query(
        self, rng: np.random.Generator, video: "_Video", attributes: timeline.Attributes, numbers: Iterator[int]
    ) -> Iterator[Query]:
        """One sentence about ``attributes``, and sometimes the same once more under a qid of its own."""
        omissible = sentences.omissible(video.shown, attributes)
        omitted = rng.choice(omissible) if omissible and rng.random() < self._corpus.omission_rate else None
        tokens = sentences.compose(rng, attributes, omitted)
        qid = self._next_qid(video.vid, numbers)
        self._texts(rng, qid, tokens)
        text = sentences.spell(tokens)
        if _happens(rng, self._corpus.untidy_fraction):
            text = sentences.make_untidy(rng, text)
        windows = np.array(video.shown.windows(attributes))
        relevant = saliency = None
        if self._dataset.saliency == "annotators":
            relevant = np.concatenate([np.arange(start, end) for start, end in windows])
            saliency = _saliency(rng, video.clear[relevant])
        seconds = video.seconds
        query = Query(qid, text, video.vid, float(seconds[-1]), seconds[windows], relevant, saliency)
        query = _in_label_clips(query, self._dataset)
        yield query
        if _happens(rng, self._corpus.repeated_fraction):
            qid = self._next_qid(video.vid, numbers)
            self._texts(rng, qid, tokens)
            yield replace(query, qid=qid)

    def _next_qid(self, vid: str, numbers: Iterator[int]) -> int | str:
        number = next(numbers)
        self._queries += 1
        return f"{vid}_{number}" if self._corpus.named_queries else self._queries - 1


@dataclass(frozen=True)
class _Video:
    """What the queries of a video are about."""

    vid: str
    shown: timeline.Timeline
    clear: NDArray[np.float64]
    """(clips,) how clearly each clip shows its event."""
    seconds: NDArray[np.float64]
    """(clips + 1,) when each clip begins, and the video ends."""


def _token_files(dataset: DatasetSettings, corpus: CorpusSettings, model: FeatureModel, folder: Path) -> TextWriter:
    """Features of each sentence's tokens, in a file of its own."""
    stream = dataset.text_stream
    texts = folder / stream.source
    texts.mkdir(parents=True, exist_ok=True)

    def write(rng: np.random.Generator, qid: int | str, tokens: list[sentences.Token]) -> None:
        hidden = model.token_features(rng, tokens)
        np.savez(texts / f"{stream.prefix}{qid}.npz", **{stream.key: hidden, "pooler_output": hidden[-1]})

    return write


def _word_table(dataset: DatasetSettings, corpus: CorpusSettings, model: FeatureModel, folder: Path) -> TextWriter:
    """One table of all words; what a sentence says stands in the annotations alone."""
    lines = word_lines(np.random.default_rng([corpus.seed, 2]), model, dataset.text_stream.width)
    (folder / dataset.text_stream.source).write_text("".join(lines), encoding="utf-8")
    return lambda rng, qid, tokens: None


TEXT_WRITERS: dict[str, Callable[[DatasetSettings, CorpusSettings, FeatureModel, Path], TextWriter]] = {
    "files": _token_files,
    "words": _word_table,
    "vocabulary": _word_table,
}
"""Kind of text stream -> what writes it."""


def _seconds(rng: np.random.Generator, shown: timeline.Timeline, clip_length: float, on_grid: bool) -> NDArray:
    """(clips + 1,) when each clip begins, and the video ends; off the grid events begin and end within a clip."""
    places = np.arange(shown.clips + 1, dtype=np.float64)
    if on_grid:
        return places * clip_length
    borders = [event.start for event in shown.events[1:]]
    places[borders] += rng.uniform(-BORDER_JITTER, BORDER_JITTER, size=len(borders))
    # The last clip is whole, as in features that are extracted clip by clip.
    places[-1] += rng.uniform(0.05, 0.95)
    return np.round(places * clip_length, 2)


def _in_label_clips(query: Query, dataset: DatasetSettings) -> Query:
    """``query`` with labels of the clips that the setting's labels count, each with the scores of its first one."""
    if query.saliency is None or dataset.label_clip_length in (None, dataset.clip_length):
        return query
    clips, places = np.unique(
        query.relevant_clip_ids // clips_per_label(dataset.label_clip_length, dataset.clip_length), return_index=True
    )
    whole = clips < clip_count(query.duration, dataset.label_clip_length)
    return replace(query, relevant_clip_ids=clips[whole], saliency=query.saliency[places[whole]])


def _happens(rng: np.random.Generator, probability: float) -> bool:
    """A weighted coin; one that never falls is not tossed, so that other draws do not depend on it."""
    return probability > 0 and rng.random() < probability


def _saliency(rng: np.random.Generator, clear: NDArray[np.float64]) -> NDArray[np.int64]:
    """(clips, annotators) scores 0-4: how clearly the clip shows the event, each annotator's leniency, and noise."""
    leniency = rng.normal(0, 0.7, size=ANNOTATORS)
    scores = 4.5 * clear[:, None] - 0.6 + leniency + rng.normal(0, 0.5, size=(len(clear), ANNOTATORS))
    return np.clip(np.round(scores), 0, 4).astype(np.int64)
