"""Messages of the process that decodes: a letter, the length of the content, the content.

Pictures are their bytes and everything else is JSON, checked on arrival: whoever decodes a hostile file may have been
taken over by it.
"""

import struct
from collections.abc import Callable
from fractions import Fraction
from typing import Annotated, Any, BinaryIO, Literal

from pydantic import BaseModel, ConfigDict, Field

from sadetr.extraction.decoding import SIZE

HEADER = struct.Struct(">cI")
PICTURE, FACTS, FAULT = b"P", b"F", b"E"
LONGEST = {PICTURE: SIZE * SIZE * 3, FACTS: 1 << 16, FAULT: 1 << 16}
"""Kind -> bytes of its content at most; a picture has exactly these."""

Read = Callable[[int], bytes]
Text = Annotated[str, Field(max_length=2000)]
Positive = Annotated[int, Field(gt=0, lt=1 << 20)]
Seconds = Annotated[float, Field(allow_inf_nan=False)]


class Message(BaseModel):
    """Content that is JSON."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class Request(Message):
    """Pictures at ``rate`` per second, as :func:`sadetr.extraction.decoding.pictures`."""

    rate: tuple[Positive, Positive]
    """Numerator and denominator."""
    late: Seconds | None


class Facts(Message):
    """A :class:`sadetr.extraction.decoding.Video` without its path."""

    width: Positive
    height: Positive
    frame_rate: tuple[Annotated[int, Field(gt=0, lt=1 << 40)], Annotated[int, Field(gt=0, lt=1 << 40)]]
    announced: Seconds | None
    counted: bool
    duration: Seconds | None
    warnings: Annotated[list[Text], Field(max_length=100)]

    @property
    def rate(self) -> Fraction:
        """Frames per second."""
        return Fraction(*self.frame_rate)


class Fault(Message):
    """Why there are no more pictures: the file's fault, too little memory, or a defect of this program."""

    kind: Literal["file", "memory", "defect"]
    message: Text


def send(stream: BinaryIO, kind: bytes, content: bytes) -> None:
    """Write one message."""
    stream.write(HEADER.pack(kind, len(content)))
    stream.write(content)
    stream.flush()


def receive(read: Read) -> tuple[bytes, Any]:
    """Kind and content of the next message, JSON parsed; ``read(n)`` gives exactly n bytes.

    Raises:
        ValueError: it is none.
    """
    kind, length = HEADER.unpack(read(HEADER.size))
    if length > LONGEST.get(kind, 0) or (kind == PICTURE and length != LONGEST[kind]):
        raise ValueError(f"no message: {kind!r} of {length} bytes")
    content = read(length)
    if kind == PICTURE:
        return kind, content
    return kind, (Facts if kind == FACTS else Fault).model_validate_json(content)
