"""What a benchmark setting's streams are made from and by: videos by CLIP and SlowFast, sentences by CLIP, AI2's files.

A stream of videos is made by the extractor of its name. Only what is asked for loads its weights.
"""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import torch

from sadetr.data.annotations import Query
from sadetr.errors import DataError, SettingsError
from sadetr.extraction import published, vgg, weights
from sadetr.extraction.choices import IMPORTED, Sampling
from sadetr.extraction.decoding import decoder_version
from sadetr.extraction.extractors import (
    MAX_TOKENS,
    ClipExtractor,
    Extractor,
    SentenceEncoder,
    SlowFastExtractor,
    extract_video,
)
from sadetr.extraction.making import Item, Made
from sadetr.extraction.published import Found, Published
from sadetr.extraction.tokenizer import Tokenizer
from sadetr.extraction.videos import find_videos
from sadetr.settings import DatasetSettings
from sadetr.stream_settings import SENTENCES, TokenFiles, VideoStream

CPU = torch.device("cpu")
CLIP_PATCH = 32
"""Pixels on a side, of the ViT-B/32 that the official features are of. ViT-B/16 makes others of the same width."""
DOWNLOADS = "downloads"
"""Folder of fetched files below the data root."""


@dataclass(frozen=True)
class Options:
    """What a user may choose.

    Attributes:
        root: the data root; fetched weights lie below it.
        videos: folder of the videos, or of AI2's text folders; None: only sentences are wanted.
        device: where networks compute.
        clip_weights: a file of one's own; None: the published one.
        slowfast_weights: likewise.
        vocabulary: likewise.
        accept_others: whether other weights than the published ones are accepted.
        max_tokens: of a sentence.
        sampling: which pictures of a clip SlowFast sees.
    """

    root: Path
    videos: Path | None = None
    device: torch.device = CPU
    clip_weights: Path | None = None
    slowfast_weights: Path | None = None
    vocabulary: Path | None = None
    accept_others: bool = False
    max_tokens: int = MAX_TOKENS
    sampling: Sampling = Sampling.hero

    def obtain(self, wanted: Published, named: Path | None) -> Found:
        """A published file, as :func:`sadetr.extraction.published.obtain`."""
        return published.obtain(wanted, named, self.root / DOWNLOADS, self.accept_others)


@dataclass(frozen=True)
class Stream:
    """One stream, ready to be made."""

    name: str
    directory: str
    """Below ``features/<setting>/``."""
    made_with: Mapping[str, Any]
    items: Sequence[Item]


Videos = Iterable[str]


def clip_extractor(dataset: DatasetSettings, options: Options) -> tuple[Extractor, dict[str, Any]]:
    """CLIP's image stream, and what decides on its numbers."""
    found = options.obtain(published.CLIP, options.clip_weights)
    tower = weights.image_tower(found.path)
    if tower.patch != CLIP_PATCH:
        raise SettingsError(
            f"{found.path}: holds a CLIP with patches of {tower.patch} pixels, and the stream 'clip' is made with "
            f"patches of {CLIP_PATCH} (ViT-B/32); name such weights"
        )
    extractor = ClipExtractor(tower, dataset.clip_length, options.device)
    return extractor, {"network": "CLIP ViT-B/32, image", "weights": found.record}


def slowfast_extractor(dataset: DatasetSettings, options: Options) -> tuple[Extractor, dict[str, Any]]:
    """SlowFast's stream, and what decides on its numbers."""
    found = options.obtain(published.SLOWFAST, options.slowfast_weights)
    network = weights.slowfast(found.path)
    extractor = SlowFastExtractor(network, dataset.clip_length, options.device, options.sampling)
    return extractor, {
        "network": "SlowFast 8x8 R50",
        "weights": found.record,
        "sampling": options.sampling.value,
    }


EXTRACTORS: dict[str, Callable[[DatasetSettings, Options], tuple[Extractor, dict[str, Any]]]] = {
    "clip": clip_extractor,
    "slowfast": slowfast_extractor,
}
"""Name of a video stream -> what makes it."""


def check_made(dataset: DatasetSettings, stream: VideoStream) -> None:
    """
    Raises:
        SettingsError: nothing makes a stream of this name.
    """
    if stream.name not in EXTRACTORS:
        known = ", ".join((*EXTRACTORS, IMPORTED, SENTENCES))
        raise SettingsError(f"stream {stream.name!r} of {dataset.name}: nothing here makes it; known: {known}")


def video_extractor(
    dataset: DatasetSettings, stream: VideoStream, options: Options
) -> tuple[Extractor, dict[str, Any]]:
    """What makes a stream of videos, and what decides on its numbers.

    Raises:
        SettingsError: nothing makes a stream of this name, or not of this width.
        DataError, DownloadError, ResultsError: weights are not there, or not what they should be.
    """
    check_made(dataset, stream)
    extractor, made_with = EXTRACTORS[stream.name](dataset, options)
    _check_width(stream.name, extractor.width, stream.width)
    return extractor, {**made_with, "clip_length": dataset.clip_length}


def sentence_encoder(stream: TokenFiles, options: Options) -> tuple[SentenceEncoder, dict[str, Any]]:
    """What makes the stream of sentences, and what decides on its numbers.

    Raises:
        As :func:`text_stream`.
    """
    found = options.obtain(published.CLIP, options.clip_weights)
    words = options.obtain(published.VOCABULARY, options.vocabulary)
    tokenizer = Tokenizer.read(words.path)
    encoder = SentenceEncoder(weights.text_tower(found.path), tokenizer, options.device, options.max_tokens)
    _check_width(SENTENCES, encoder.width, stream.width)
    return encoder, {
        "network": "CLIP ViT-B/32, text",
        "weights": found.record,
        "vocabulary": words.record,
        "max_tokens": options.max_tokens,
    }


def video_stream(dataset: DatasetSettings, stream: VideoStream, vids: Videos, options: Options) -> Stream:
    """A stream of videos.

    Raises:
        SettingsError: nothing makes a stream of this name, or not of this width or form.
        DataError, DownloadError, ResultsError: videos or weights are not there, or not what they should be.
    """
    if options.videos is None:
        raise SettingsError(f"stream {stream.name!r} is made from videos: name their folder with --videos DIR")
    if stream.name == IMPORTED:
        return _imported(stream, vids, options.videos)
    check_made(dataset, stream)
    files = find_videos(options.videos, vids)
    version = decoder_version()
    extractor, made_with = video_extractor(dataset, stream, options)
    make = partial(_features, stream, extractor, {"decoder": version, "device": options.device.type})
    items = [
        Item(vid, f"{vid}{stream.suffix}", partial(_of_file, make, options.videos, vid, file))
        for vid, file in files.items()
    ]
    return Stream(stream.name, stream.directory, made_with, items)


def text_stream(stream: TokenFiles, queries: Iterable[Query], options: Options) -> Stream:
    """The stream of sentences.

    Raises:
        SettingsError: weights and vocabulary, or weights and setting, do not belong together.
        DataError, DownloadError, ResultsError: weights or vocabulary are not there, or not what they should be.
    """
    encoder, made_with = sentence_encoder(stream, options)
    items = [
        Item(str(query.qid), f"{stream.prefix}{query.qid}.npz", partial(_sentence, stream, encoder, query, options))
        for query in queries
    ]
    return Stream(SENTENCES, stream.directory, made_with, items)


def _imported(stream: VideoStream, vids: Videos, folder: Path) -> Stream:
    """AI2's VGG features as they are."""
    made_with = {"network": "VGG-16 of AI2's two-stream network, fc7", "imported_from": "Charades_v1_features_rgb"}

    def make(vid: str) -> Made:
        rows = vgg.read_frames(folder / vid, stream.width)
        return Made(rows if stream.suffix == ".npy" else {stream.key: rows})

    items = [Item(vid, f"{vid}{stream.suffix}", partial(make, vid)) for vid in vids]
    return Stream(stream.name, stream.directory, made_with, items)


def _of_file(make: Callable[[Path], Made], folder: Path, vid: str, file: Path | None) -> Made:
    if file is None:
        raise DataError(f"{folder / vid}.*: there is no video of this name.")
    return make(file)


def _features(stream: VideoStream, extractor: Extractor, made_by: Mapping[str, str], file: Path) -> Made:
    found = extract_video(file, {stream.name: extractor})
    video, rows = found.video, found.streams[stream.name]
    details: dict[str, Any] = {
        "video": file.name,
        "frame_rate": str(video.frame_rate),
        "duration": round(video.duration or 0.0, 6),
        **made_by,
    }
    if video.warnings:
        details["warnings"] = list(video.warnings)
    return Made(rows if stream.suffix == ".npy" else {stream.key: rows}, details)


def _sentence(stream: TokenFiles, encoder: SentenceEncoder, query: Query, options: Options) -> Made:
    (sentence,) = encoder([query.query])
    return Made({stream.key: sentence.tokens, "pooler_output": sentence.pooled}, {"device": options.device.type})


def _check_width(name: str, found: int, wanted: int) -> None:
    if found != wanted:
        raise SettingsError(
            f"stream {name!r} is {wanted} wide in the setting, and these weights make features {found} wide; use the "
            "weights that the setting's features are of"
        )
