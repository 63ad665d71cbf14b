"""What is known about the official files: addresses, checksums, statistics; read from ``config/sources/``."""

import functools
from pathlib import Path

from pydantic import Field

from sadetr.layering import CONFIG, find, load_yaml, validate
from sadetr.settings import Record

Numbers = list[float]


class Statistics(Record):
    """Counts and distributions of one annotation file; None where nothing is known or defined.

    Lengths are in seconds. The field descriptions are the titles in reports.
    """

    queries: int | None = Field(None, description="queries")
    videos: int | None = Field(None, description="videos")
    queries_per_video: Numbers | None = Field(None, description="queries per video, mean / max")
    qid_type: str | None = Field(None, description="type of qid")
    windows: int | None = Field(None, description="windows")
    duration: Numbers | None = Field(None, description="video duration (s), min / median / max")
    duration_spread: Numbers | None = Field(None, description="video duration (s), mean / standard deviation")
    hours: float | None = Field(None, description="hours of distinct video")
    window: Numbers | None = Field(None, description="window (s), min / 5 % / median / 95 % / max")
    window_spread: Numbers | None = Field(None, description="window (s), mean / standard deviation")
    window_share: float | None = Field(None, description="window ÷ duration, mean")
    windows_by_length: list[int] | None = Field(None, description="windows in (0,10] / (10,30] / (30,150] / >150 s")
    queries_by_length: list[int] | None = Field(None, description="queries with a short / middle / long window")
    windows_per_query: dict[int, int] | None = Field(None, description="windows per query: queries")
    words: Numbers | None = Field(None, description="words per query, min / median / mean / max")
    saliency_values: list[int] | None = Field(None, description="saliency values 0 / 1 / 2 / 3 / 4")
    relevant_clips: Numbers | None = Field(None, description="relevant clips per query, min / median / max")
    unmarked_columns: list[int] | None = Field(None, description="annotators without a Very Good clip, of all")
    whole_video: int | None = Field(None, description="windows that cover the whole video")
    touching_end: int | None = Field(None, description="windows that end with the video")
    repeated: list[int] | None = Field(None, description="repeated (video, query), of which with the same windows")
    non_ascii: int | None = Field(None, description="queries with non-ASCII characters")
    double_blanks: int | None = Field(None, description="queries with double blanks")
    outer_blanks: int | None = Field(None, description="queries with leading or trailing blanks")


class ClipStatistics(Record):
    """What also depends on the setting's clip length."""

    clips: Numbers | None = Field(None, description="clips per video, min / median / max")
    ragged: list[int] | None = Field(None, description="duration no multiple of the clip, queries / videos")
    shorter_than_clip: int | None = Field(None, description="windows shorter than one clip")


class AnnotationSource(Record):
    """One official annotation file."""

    bytes: int
    sha256: str
    urls: list[str] = Field(default_factory=list)
    """Direct addresses of exactly this content, in order of preference."""
    statistics: Statistics = Statistics()


class Archive(Record):
    """Something to download that holds features."""

    file: str
    """Name under which it is downloaded."""
    size: str
    """Size as people read it: "8 GB"."""
    bytes: int | None = None
    url: str | None = None
    """Direct address, where there is one."""
    pages: list[str] = Field(default_factory=list)
    """Addresses for a browser, where there is no direct one; in order of preference."""
    sha256: str | None = None
    md5: str | None = None
    """Checksum that somebody published; a sha256 is checked instead where it is known."""
    provides: dict[str, str]
    """Folder or file in the archive, at whatever depth -> folder or file below ``features/<setting>/``."""
    note: str = ""


class Sources(Record):
    """All that is known about one benchmark setting's files."""

    licence: str = ""
    annotations_from: str | None = None
    """Setting whose annotation files these are."""
    annotations: dict[str, AnnotationSource] = Field(default_factory=dict)
    """Annotation file -> what is known about it."""
    clips: dict[str, ClipStatistics] = Field(default_factory=dict)
    """Annotation file -> its statistics in clips."""
    clip_length: float | None = None
    """Seconds per clip that ``clips`` counts: those of the official features."""
    short_features: dict[str, list[int | str]] = Field(default_factory=dict)
    """Annotation file -> qids whose official features are known to be one clip short."""
    archives: list[Archive] = Field(default_factory=list)
    word_vectors: dict[str, str] = Field(default_factory=dict)
    """File name -> sha256 of word vectors."""

    def archive_of(self, place: str) -> Archive | None:
        """The first archive that provides ``place``, a folder or file below ``features/<setting>/``."""
        return next((archive for archive in self.archives if place in archive.provides.values()), None)


@functools.cache
def load_sources(setting: str, config: Path = CONFIG) -> Sources | None:
    """Known files of a setting; None where neither ``config/sources/`` nor an extension says anything.

    Raises:
        SettingsError: the file holds an unknown key or a value of the wrong type.
    """
    path = find("sources", f"{setting}.yaml", config)
    if not path.exists():
        return None
    sources = validate(Sources, load_yaml(path), path)
    if sources.annotations_from is None:
        return sources
    other = find("sources", f"{sources.annotations_from}.yaml", config)
    shared = validate(Sources, load_yaml(other), other)
    return sources.model_copy(update={"annotations": shared.annotations})
