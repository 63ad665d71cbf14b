"""What is found in a video for a sentence; times in seconds. Free of torch."""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

DECIMALS = 4


@dataclass(frozen=True)
class Window:
    """A stretch of the video that may show what the sentence says."""

    start: float
    """Seconds."""
    end: float
    """Seconds; later than ``start``, and no later than the video's end."""
    score: float
    """The higher the better; comparable between windows of one network only."""


@dataclass(frozen=True)
class Located:
    """The answer to one sentence about one video."""

    video: str
    """Path of the file, as it was given."""
    sentence: str
    duration: float
    """Seconds of the video."""
    windows: tuple[Window, ...]
    """Best first; none where everything that the network found has no length."""
    saliency: NDArray[np.float64]
    """(L,) how well each clip fits the sentence; only the order of these scores has a meaning."""
    clip_length: float
    """Seconds per clip: score i is of i * clip_length to (i + 1) * clip_length, the last one up to the video's end."""
    warnings: tuple[str, ...] = ()
    """What about the video may make its features differ from those that networks are trained on."""

    @property
    def edges(self) -> NDArray[np.float64]:
        """(L + 1,) seconds at which clips begin and end."""
        edges = np.arange(len(self.saliency) + 1) * self.clip_length
        edges[-1] = max(self.duration, edges[-2])
        return edges

    def as_json(self) -> dict[str, Any]:
        """Everything as plain data."""
        return {
            "video": self.video,
            "sentence": self.sentence,
            "duration": round(self.duration, DECIMALS),
            "windows": [{"start": window.start, "end": window.end, "score": window.score} for window in self.windows],
            "clip_length": self.clip_length,
            "saliency": [round(float(score), DECIMALS) for score in self.saliency],
            "warnings": list(self.warnings),
        }
