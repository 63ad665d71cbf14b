"""Videos whose frames carry their number, as ten black and white bars from top to bottom of the middle square."""

from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from numpy.typing import NDArray

BITS = 10
RATES = {
    "23.976": Fraction(24000, 1001),
    "24": Fraction(24),
    "25": Fraction(25),
    "29.97": Fraction(30000, 1001),
    "30": Fraction(30),
    "60": Fraction(60),
}


def drawn(number: int, width: int, height: int) -> NDArray[np.uint8]:
    """The frame of ``number``, (height, width, 3)."""
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    frame = np.full((height, width, 3), 128, np.uint8)
    for bit in range(BITS):
        rows = slice(top + side * bit // BITS, top + side * (bit + 1) // BITS)
        frame[rows, left : left + side] = 255 * (number >> bit & 1)
    return frame


def number_in(picture: NDArray[np.uint8]) -> int:
    """The number that a square picture carries."""
    height, width = picture.shape[:2]
    bands = [picture[height * bit // BITS + 6 : height * (bit + 1) // BITS - 6] for bit in range(BITS)]
    levels = [band[:, width // 4 : 3 * width // 4].mean() for band in bands]
    assert all(level < 70 or level > 185 for level in levels), levels
    return sum(1 << bit for bit, level in enumerate(levels) if level > 128)


def write_video(
    path: Path,
    frames: int,
    rate: Fraction = Fraction(30),
    size: tuple[int, int] = (96, 64),
    codec: str = "mpeg4",
    times: Iterable[float] | None = None,
    rotation: int = 0,
    **options: str,
) -> Path:
    """``frames`` numbered frames; ``times``, in seconds, where they do not come at an even rate."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    with av.open(str(path), "w", options=options) as container:
        stream = container.add_stream(codec, rate=rate)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.bit_rate = 4_000_000
        if rotation:
            stream.metadata["rotate"] = str(rotation)
        if times is not None:
            stream.codec_context.time_base = Fraction(1, 1000)
        for number, time in enumerate(times if times is not None else range(frames)):
            frame = av.VideoFrame.from_ndarray(drawn(number, *size), "rgb24")
            frame.pts = round(1000 * time) if times is not None else number
            frame.time_base = Fraction(1, 1000) if times is not None else 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_sound(path: Path, seconds: float = 1.0) -> Path:
    """A file with sound alone."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    with av.open(str(path), "w") as container:
        stream = container.add_stream("aac", rate=16_000, layout="mono")
        for start in range(0, int(16_000 * seconds), 1024):
            frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), "fltp", "mono")
            frame.sample_rate, frame.pts, frame.time_base = 16_000, start, Fraction(1, 16_000)
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def write_covered_sound(path: Path) -> Path:
    """A file with sound and the picture of its cover."""
    av = pytest.importorskip("av", reason="PyAV is not installed (extra 'extract')")
    sound = write_sound(path.with_name(f"{path.stem}.m4a"))
    with av.open(str(sound)) as source, av.open(str(path), "w") as container:
        stream = container.add_stream_from_template(source.streams[0])
        cover = container.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 64, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        frame = av.VideoFrame.from_ndarray(drawn(5, 64, 64), "rgb24").reformat(format="yuvj420p")
        frame.pts = 0
        container.mux(cover.encode(frame) + cover.encode(None))
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = stream
                container.mux(packet)
    return path
