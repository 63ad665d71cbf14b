"""From one video or sentence to its features. Usable without a data root: :func:`extract_video`, `SentenceEncoder`.

An extractor may be called by several threads: they decode at the same time, and its network computes for one of them.
"""

import itertools
import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from sadetr.errors import DataError, SettingsError
from sadetr.extraction.choices import Sampling
from sadetr.extraction.clip import ImageTower, TextTower, halve
from sadetr.extraction.decoding import DIRECT, Decoder, Video
from sadetr.extraction.sampling import (
    SECOND,
    clip_rate,
    most_rows,
    seconds_per_clip,
    slowfast_clips,
    slowfast_indices,
)
from sadetr.extraction.slowfast import SlowFast
from sadetr.extraction.tokenizer import Tokenizer

MAX_TOKENS = 32
"""Tokens that Moment-DETR's and UniVTG's files hold at most, with those before and behind the sentence."""
PICTURES_AT_ONCE = 32
CLIPS_AT_ONCE = {"cpu": 1, "cuda": 8}

Rows = NDArray[np.float16]


def make_exact() -> None:
    """Kernels that give the same bits every time, in full single precision: GPUs round convolutions by default."""
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.deterministic = True
    torch.backends.cudnn.allow_tf32 = False
    torch.backends.cuda.matmul.allow_tf32 = False


class Extractor(Protocol):
    """Makes one stream of a video's features."""

    @property
    def width(self) -> int:
        """Channels of a row."""

    def __call__(self, video: Video, decoder: Decoder = DIRECT) -> Rows:
        """(clips, width) of a video.

        Raises:
            DataError: it cannot be decoded, or is too short for a row.
        """


class _Network:
    """A network on its device, for one thread at a time."""

    def __init__(self, network: nn.Module, device: torch.device):
        self._network = network.to(device)
        self._device = device
        self._lock = threading.Lock()

    def __call__(self, values: NDArray[np.uint8]) -> NDArray[np.float32]:
        with self._lock, torch.inference_mode():
            return self._network(torch.from_numpy(values).to(self._device)).float().cpu().numpy()


class ClipExtractor:
    """CLIP's image features: one picture per clip, just before its middle; not normalised."""

    def __init__(self, tower: ImageTower, clip_length: float, device: torch.device):
        self.width = tower.width
        self._clip_length = clip_length
        self._network = _Network(halve(tower) if device.type == "cuda" else tower, device)

    def __call__(self, video: Video, decoder: Decoder = DIRECT) -> Rows:
        rate = clip_rate(self._clip_length, video.probed)
        shown = (picture.transpose(2, 0, 1) for picture in decoder.pictures(video, rate, self._clip_length / 2))
        return _stored(video, [self._network(np.stack(batch)) for batch in _batched(shown, PICTURES_AT_ONCE)])


class SlowFastExtractor:
    """SlowFast's features of every clip, slow channels first; not normalised."""

    def __init__(self, network: SlowFast, clip_length: float, device: torch.device, sampling: Sampling = Sampling.hero):
        self.width = network.width
        self._seconds = seconds_per_clip(clip_length)
        self._sampling = sampling
        self._at_once = CLIPS_AT_ONCE[device.type]
        self._network = _Network(network, device)

    def __call__(self, video: Video, decoder: Decoder = DIRECT) -> Rows:
        indices = slowfast_indices(video.frame_rate, self._seconds, self._sampling)
        clips = slowfast_clips(decoder.pictures(video, Fraction(SECOND), self._seconds / 2), self._seconds)
        seen = (clip[indices].transpose(3, 0, 1, 2) for clip in clips)
        rows = [self._network(np.stack(batch)) for batch in _batched(seen, self._at_once)]
        return _stored(video, rows, most_rows(video, self._seconds))


def _batched(items: Iterable[NDArray], size: int) -> Iterable[list[NDArray]]:
    iterator = iter(items)
    return iter(lambda: list(itertools.islice(iterator, size)), [])


def _stored(video: Video, batches: Sequence[NDArray[np.float32]], most: int | None = None) -> Rows:
    """All rows in half precision, as official files have them."""
    if not batches or most == 0:
        raise DataError(f"{video.path}: lasts {video.duration or 0:.2f} s, too short for a clip.")
    with np.errstate(over="ignore"):
        rows = np.concatenate(batches)[:most].astype(np.float16)
    if not np.isfinite(rows).all():
        raise DataError(f"{video.path}: its features hold NaN or infinity in half precision; check the weights.")
    return rows


@dataclass(frozen=True)
class Extracted:
    """Features of one video."""

    video: Video
    streams: dict[str, Rows]


def extract_video(path: Path, extractors: Mapping[str, Extractor], decoder: Decoder = DIRECT) -> Extracted:
    """Features of one video by stream.

    Args:
        path: a video file.
        extractors: stream -> what makes it.
        decoder: what opens the file.

    Raises:
        DataError: the file is no video, is damaged, or is too short for a clip.
        SettingsError: PyAV is not installed.
    """
    video = decoder.probe(path)
    return Extracted(video, {name: extractor(video, decoder) for name, extractor in extractors.items()})


class Sentence(NamedTuple):
    """Features of one sentence."""

    tokens: Rows
    """(T, width) of the begin token, the sentence's tokens and the end token, after the last layer norm."""
    pooled: Rows
    """(embedding,) of the end token, projected; not normalised."""


class SentenceEncoder:
    """CLIP's text features, as Moment-DETR's official files hold them."""

    def __init__(self, tower: TextTower, tokenizer: Tokenizer, device: torch.device, max_tokens: int = MAX_TOKENS):
        """
        Raises:
            SettingsError: tower and tokenizer do not belong together, or ``max_tokens`` does not fit the tower.
        """
        tokens = len(tower.token_embedding.weight)
        if tokens != len(tokenizer):
            raise SettingsError(
                f"the vocabulary has {len(tokenizer):,} tokens, the weights {tokens:,}: they do not belong together"
            )
        if not 3 <= max_tokens <= tower.context:
            raise SettingsError(f"--max-tokens {max_tokens}: CLIP reads 3 to {tower.context} tokens")
        self.width = tower.width
        self._tokenizer = tokenizer
        self._max_tokens = max_tokens
        self._device = device
        self._tower = (halve(tower) if device.type == "cuda" else tower).to(device)

    def __call__(self, sentences: Sequence[str]) -> list[Sentence]:
        """Features of every sentence, each computed for itself: no padding, and no influence of others."""
        return [self._encode(sentence) for sentence in sentences]

    @torch.inference_mode()
    def _encode(self, sentence: str) -> Sentence:
        numbers = self._tokenizer(sentence, self._max_tokens)
        hidden, pooled = self._tower(torch.tensor([numbers], device=self._device))
        return Sentence(_half(hidden[0]), _half(pooled[0]))


def _half(values: Tensor) -> Rows:
    return values.half().cpu().numpy()
