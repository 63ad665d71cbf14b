"""Which pictures of a video a clip's features are computed from, as in HERO's extractor, quirks included."""

import math
from collections.abc import Iterable, Iterator
from fractions import Fraction

import numpy as np
import torch
from numpy.typing import NDArray

from sadetr.errors import SettingsError
from sadetr.extraction.choices import Sampling
from sadetr.extraction.decoding import Picture, Video, whole_rate

SECOND = 30
"""Pictures per second that SlowFast's clips are cut from."""
FRAMES = 32
"""Pictures per clip that SlowFast sees; its slow pathway sees a quarter of them."""
TRAINED_FRAMES = 64
"""Length of SlowFast's training clips: 32 pictures, every second one."""


def clip_rate(clip_length: float, probed: float | None) -> Fraction:
    """Pictures per second of CLIP's stream: one per clip, shown just before the middle of the clip.

    Very short videos have two pictures, as in HERO.

    Args:
        clip_length: seconds per clip.
        probed: length of the video in seconds where the probe reports it.
    """
    if probed is not None and 0 < probed < clip_length + 0.1:
        return Fraction(2, max(int(probed), 1))
    return whole_rate(clip_length)


def seconds_per_clip(clip_length: float) -> int:
    """``clip_length`` as a whole number.

    Raises:
        SettingsError: SlowFast's clips are whole seconds.
    """
    if clip_length != int(clip_length):
        raise SettingsError(f"clips of {clip_length:g} s: SlowFast's features are of clips of whole seconds")
    return int(clip_length)


def most_rows(video: Video, seconds: int) -> int | None:
    """SlowFast's clips by the probed length; None where the probe says nothing."""
    return None if video.probed is None else math.ceil(video.probed / seconds)


def slowfast_clips(pictures: Iterable[Picture], seconds: int) -> Iterator[NDArray[np.uint8]]:
    """Clips (30·``seconds``, height, width, 3): the last picture fills its second, the last second its clip."""
    clip: list[Picture] = []
    for picture in pictures:
        clip.append(picture)
        if len(clip) == SECOND * seconds:
            yield np.stack(clip)
            clip = []
    if clip:
        clip += [clip[-1]] * (-len(clip) % SECOND)
        while len(clip) < SECOND * seconds:
            clip += clip[-SECOND:]
        yield np.stack(clip)


def slowfast_indices(frame_rate: Fraction, seconds: int, sampling: Sampling = Sampling.hero) -> list[int]:
    """Pictures of a clip that SlowFast sees, (32) from 0.

    HERO scales the span of SlowFast's training clips by the source's frame rate although its pictures have 30 per
    second already, and starts at 0: at 24 frames per second the end of a 2-second clip is never seen, and a clip of one
    second mostly shows its last picture.

    Args:
        frame_rate: of the source.
        seconds: per clip.
        sampling: HERO's, or 32 pictures spread over the whole clip.
    """
    last = SECOND * seconds - 1
    end = TRAINED_FRAMES * math.floor(frame_rate) / SECOND - 1 if sampling == Sampling.hero else float(last)
    return torch.linspace(0, end, FRAMES).clamp(0, last).long().tolist()


def slow_positions(alpha: int) -> list[int]:
    """Of the 32, those that the slow pathway sees: every ``alpha``-th, first and last included."""
    return torch.linspace(0, FRAMES - 1, FRAMES // alpha).long().tolist()
