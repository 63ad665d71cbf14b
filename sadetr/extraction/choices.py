"""What a user chooses by name; free of torch, because every command line reads it."""

from enum import StrEnum

IMPORTED = "vgg"
"""Name of the stream whose published rows are imported; no network makes it."""


class Sampling(StrEnum):
    """Which 32 pictures of a clip SlowFast sees: HERO's, or some of the whole clip."""

    hero = "hero"
    uniform = "uniform"


class Device(StrEnum):
    """Where networks compute."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


class StreamName(StrEnum):
    """Streams that can be compared with official files."""

    clip = "clip"
    slowfast = "slowfast"
    text = "text"
