"""Features of one's own videos and sentences, as a benchmark setting's methods are trained on them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from sadetr.data.download.transfer import checksum
from sadetr.data.packing import averaged, normalise_rows
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, SettingsError
from sadetr.extraction.decoding import DIRECT, Decoder, decoder_version
from sadetr.extraction.extractors import extract_video
from sadetr.extraction.streams import EXTRACTORS, Options, sentence_encoder, video_extractor
from sadetr.installation import document
from sadetr.locating.cache import FeatureCache, VideoFeatures
from sadetr.locating.pieces import Piece
from sadetr.provenance import code_fingerprint
from sadetr.settings import DatasetSettings, FeatureSettings
from sadetr.stream_settings import SENTENCES, TokenFiles

DECIDING = ("sampling", "clip_length", "max_tokens")
"""What a record of extraction says beside weights that other features follow from."""


def check_setting(dataset: DatasetSettings) -> None:
    """Refuse settings whose features are not made here.

    Raises:
        SettingsError: a stream of videos is none of CLIP's and SlowFast's, or texts are word vectors.
    """
    strangers = [stream.name for stream in dataset.video_streams if stream.name not in EXTRACTORS]
    made = f"made here are {' and '.join(EXTRACTORS)} for videos and CLIP's tokens for sentences"
    remedy = f"choose a run of another benchmark setting ({document('locating.md')})"
    if strangers:
        raise SettingsError(
            f"{dataset.name}: its methods are trained on the video features {', '.join(map(repr, strangers))}, and "
            f"{made}; {remedy}"
        )
    if not isinstance(dataset.text_stream, TokenFiles):
        raise SettingsError(
            f"{dataset.name}: its methods are trained on the word vectors {dataset.text_stream.file}, and {made}; "
            f"{remedy}"
        )


class FeatureMaker:
    """Makes features as one benchmark setting has them."""

    def __init__(self, dataset: DatasetSettings, options: Options, cache: FeatureCache | None):
        """Load the networks.

        Raises:
            SettingsError: the setting has streams that are not made here, or of another width than these weights'.
            DataError, DownloadError, ResultsError: weights are not there, or not what they should be.
        """
        self._dataset = dataset
        self._device = options.device
        self._cache = cache
        made = {stream.name: video_extractor(dataset, stream, options) for stream in dataset.video_streams}
        self._extractors = {name: extractor for name, (extractor, _) in made.items()}
        self._encoder, text = sentence_encoder(dataset.text_stream, options)
        self.made_with: dict[str, dict[str, Any]] = {name: record for name, (_, record) in made.items()}
        """Stream -> weights and whatever else decides on its numbers."""
        self.made_with[SENTENCES] = text

    def video(self, path: Path, decoder: Decoder = DIRECT) -> VideoFeatures:
        """All streams of a video, equally long; ``decoder`` opens the file.

        Raises:
            DataError: the file is no video, is damaged, or is too short for a clip.
            ResultsError: the cache cannot be written.
        """

        def make() -> VideoFeatures:
            return self._extract(path, decoder)

        if self._cache is None:
            return make()
        # Says what is wrong with a file before it is read to its end.
        decoder.probe(path)
        return self._cache.get(self._key(path), make)

    def _key(self, path: Path) -> dict[str, Any]:
        try:
            content = checksum(path)
        except OSError as error:
            raise DataError(
                f"{path}: cannot be read ({error.strerror}); check the path and its permissions."
            ) from error
        return {
            "video": content,
            "streams": {stream.name: self.made_with[stream.name] for stream in self._dataset.video_streams},
            "decoder": decoder_version(),
            "device": self._device.type,
            "code": code_fingerprint("sadetr.extraction.extractors"),
        }

    def _extract(self, path: Path, decoder: Decoder) -> VideoFeatures:
        found = extract_video(path, self._extractors, decoder)
        lengths = {name: len(rows) for name, rows in found.streams.items()}
        shortest = min(lengths.values())
        if max(lengths.values()) - shortest > self._dataset.length_tolerance:
            clips = ", ".join(f"{name} {length}" for name, length in lengths.items())
            raise DataError(f"{path}: its streams differ in length ({clips} clips); encode it again.")
        streams = {name: rows[:shortest] for name, rows in found.streams.items()}
        return VideoFeatures(streams, found.video.duration or 0.0, tuple(found.video.warnings))

    @property
    def streams(self) -> tuple[str, ...]:
        """Names of a video's streams, in the order in which they are made."""
        return tuple(self._extractors)

    def tokens(self, sentences: Sequence[str]) -> list[NDArray[np.float32]]:
        """(T, width) of every sentence, as preparation stores them."""
        kept = slice(self._dataset.max_text_tokens)
        found = self._encoder(sentences)
        return [normalise_rows(sentence.tokens.astype(np.float32)[kept]) for sentence in found]


def make_store(
    dataset: DatasetSettings,
    settings: FeatureSettings,
    features: VideoFeatures,
    pieces: Sequence[Piece],
    texts: Sequence[NDArray[np.float32]],
) -> FeatureStore:
    """A feature store in memory: pieces of one video are its videos and sentences its queries, both named from 0."""
    videos = {
        f"video_{name}.npy": [
            normalise_rows(averaged(rows[piece.rows].astype(np.float32), dataset.max_positions)) for piece in pieces
        ]
        for name, rows in features.streams.items()
    }
    parts = {**videos, "text.npy": list(texts)}
    arrays = {name: np.concatenate(rows).astype(settings.dtype) for name, rows in parts.items()}
    names = {}
    for kind, rows in (("video", next(iter(videos.values()))), ("text", parts["text.npy"])):
        arrays[f"{kind}_offsets.npy"] = np.cumsum([0, *map(len, rows)], dtype=np.int64)
        names[f"{kind}_names.txt"] = [str(number) for number in range(len(rows))]
    manifest = {"video_streams": [stream.name for stream in dataset.video_streams]}
    return FeatureStore(Path("memory"), manifest, arrays, names)


def check_same_features(
    trained: Mapping[str, Mapping[str, Any]], dataset: DatasetSettings, now: Mapping[str, Mapping[str, Any]]
) -> None:
    """Refuse other features than a network was trained on, as far as that is known.

    Args:
        trained: folder of a stream -> what its extraction was recorded with; empty for downloaded features.
        dataset: the benchmark setting.
        now: stream -> what its features are made with.

    Raises:
        SettingsError: they were made with other weights or other options.
    """
    for name, folder in dataset.feature_folders.items():
        before = _deciding(trained[folder]) if folder in trained else {}
        for key, value in _deciding(now[name]).items():
            if before.get(key, value) != value:
                raise SettingsError(
                    f"stream {name!r}: the features that this network was trained on were extracted with {key} "
                    f"{before[key]}, and now it is {value}; name the same weights and options as for extract"
                )


def _deciding(record: Mapping[str, Any]) -> dict[str, Any]:
    values = {key: record[key] for key in DECIDING if key in record}
    return {"weights of sha256": record["weights"]["sha256"], **values} if "weights" in record else values
