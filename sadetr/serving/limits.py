"""What visitors of the page may use, and how a refusal is told."""

from dataclasses import dataclass

from sadetr.errors import SadetrError

MB = 1_000_000
MIB = 2**20
SENTENCE = 500
"""Characters of a sentence at most: CLIP reads fewer."""
NAME = 120
"""Characters of a file's name that are kept."""
WAITING_SENTENCES = 16
"""Sentences that wait for an answer at a time."""
UPLOAD_PAUSE = 30.0
"""Seconds without a byte after which an upload is given up."""
AWAY = 30.0
"""Seconds for which a video is kept once its page was left: long enough to load the page again."""


@dataclass(frozen=True)
class Limits:
    """Of one server.

    Attributes:
        upload: bytes of a file.
        duration: seconds of a video.
        time: seconds that decoding a video may take, of processor time and of waiting for it alike.
        memory: bytes of address space of the process that decodes.
        videos: kept at a time, those on their way included.
        keep: seconds for which a video is kept after its page was last heard of.
    """

    upload: int = 500 * MB
    duration: float = 30 * 60.0
    time: float = 15 * 60.0
    memory: int = 2048 * MIB
    videos: int = 8
    keep: float = 10 * 60.0


class Refusal(SadetrError):
    """Something that a visitor asks for and does not get; the message names the remedy."""

    def __init__(self, status: int, message: str, retry: int | None = None):
        """
        Args:
            status: of HTTP.
            message: for the visitor.
            retry: seconds after which asking again may help.
        """
        super().__init__(message)
        self.status = status
        self.retry = retry


def shown_size(size: int) -> str:
    """Bytes as people read them: megabytes, or kilobytes of what is smaller."""
    return f"{size / MB:.0f} MB" if size >= MB else f"{size / 1000:.1f} kB"


def shown_time(seconds: float) -> str:
    """Seconds as people read them: minutes, or seconds of what is shorter."""
    return f"{seconds / 60:g} minutes" if seconds >= 120 else f"{seconds:g} second{'s' * (seconds != 1)}"
