"""What a method must know of the features that it reads. Free of torch."""

from dataclasses import dataclass

TEMPORAL_FEATURES = 2
"""Channels appended to every clip: where it starts and ends in its video, in [0, 1]."""

CHARACTER_PADDING = 0
"""Number of what stands behind a word's last character."""


@dataclass(frozen=True)
class FeatureShape:
    """Sizes of a benchmark setting's features, as they stand in a batch."""

    video_width: int
    """d_v, channels of a clip, the temporal endpoint features included."""
    text_width: int
    """d_t, channels of a token."""
    clip_length: float
    """Seconds per clip."""
    characters: int = 0
    """Numbers of characters, of padding and of unknown ones included; 0 where the text stream has no characters."""
