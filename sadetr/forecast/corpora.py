"""How large the data of a benchmark setting are: generated, given, or known from ``config/sources``."""

from dataclasses import dataclass
from pathlib import Path

from sadetr.configuration import resolve_corpus, resolve_dataset
from sadetr.data.annotations import read_annotations
from sadetr.data.sources import load_sources
from sadetr.errors import DataError
from sadetr.layout import Layout
from sadetr.settings import DatasetSettings

END_TOKENS = 2
"""CLIP's start and end, beside a token per word."""


@dataclass(frozen=True)
class SplitSize:
    """Counts of one split."""

    queries: int
    clips: float
    """Of all its videos together; 0 where that is not known before the data are generated."""
    words: float
    """Of all its queries together; likewise."""


@dataclass(frozen=True)
class Corpus:
    """Sizes of a benchmark setting's splits, and where they were counted."""

    dataset: DatasetSettings
    splits: dict[str, SplitSize]
    counted_in: str

    @property
    def stored_values(self) -> float:
        """Numbers that the feature store holds."""
        parts, text = self.splits.values(), self.dataset.text_stream
        ends = END_TOKENS * sum(part.queries for part in parts) if text.kind == "files" else 0
        tokens = sum(part.words for part in parts) + ends
        return sum(part.clips for part in parts) * self.dataset.video_width + tokens * text.width


def measure_corpus(setting: str, layout: Layout) -> Corpus:
    """Sizes of a setting: of its annotation files where they are there, else what is known about the official ones.

    Raises:
        DataError: a file is broken, or nothing is known about the setting.
    """
    dataset = resolve_dataset(setting, layout.scale.reference)
    if layout.scale.data == "generated":
        corpus = resolve_corpus(setting, layout.scale.reference)
        counts = {split: getattr(corpus, f"{split}_queries") for split in dataset.annotations}
        sizes = {split: SplitSize(count, 0.0, 0.0) for split, count in counts.items()}
        return Corpus(dataset, sizes, "the generated corpus' settings")
    if layout.given_data_root is not None:
        files = layout.annotations(dataset)
        if all(path.is_file() for path in files.values()):
            return Corpus(dataset, {split: _counted(path, dataset) for split, path in files.items()}, "the annotations")
    known = {split: _known(dataset, file) for split, file in dataset.annotations.items()}
    return Corpus(dataset, known, f"config/sources/{dataset.name}.yaml")


def _counted(path: Path, dataset: DatasetSettings) -> SplitSize:
    queries = read_annotations(path, dataset.annotation_rules)
    durations = {query.vid: query.duration for query in queries}
    clips = sum(_clips(duration, dataset) for duration in durations.values())
    return SplitSize(len(queries), clips, sum(len(query.query.split()) for query in queries))


def _known(dataset: DatasetSettings, file: str) -> SplitSize:
    sources = load_sources(dataset.name)
    source = None if sources is None else sources.annotations.get(file)
    known = None if source is None else source.statistics
    if known is None or None in (known.queries, known.videos, known.duration_spread, known.words):
        raise DataError(
            f"{dataset.name}: nothing is known about the size of {file}; say where it lies with --data-root DIR"
        )
    clips = known.videos * _clips(known.duration_spread[0], dataset)
    return SplitSize(known.queries, clips, known.queries * known.words[2])


def _clips(duration: float, dataset: DatasetSettings) -> float:
    """Clips of a video of ``duration`` seconds, as they are stored."""
    clips, longest = duration / dataset.clip_length, dataset.max_stored_clips
    return clips if longest is None else min(clips, longest)
