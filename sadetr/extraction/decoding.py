"""Decoding as HERO's extractor does: FFmpeg's filters fps, scale and crop, then rgb24.

HERO pipes the ``ffmpeg`` tool; here the same filters run inside the process, by PyAV. A source frame at time t (seconds
from the container's start) gets the slot floor(r·t + ½) at rate r; picture n is the last source frame with a slot of at
most n. Pictures start at the first frame's slot and end at that of the stream's end.
"""

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from sadetr.disguise import VIDEO, disguise
from sadetr.errors import DataError, SettingsError

if TYPE_CHECKING:
    from av.container import InputContainer
    from av.filter import Graph
    from av.video.frame import VideoFrame
    from av.video.stream import VideoStream

SIZE = 224
"""Height and width of a picture."""
MISSING_SECONDS = 1.0
"""A stream that ends earlier than its container says, by more than this, was cut off."""

STRAY_SECONDS = 300.0
"""A frame that comes later than expected, by more than this, has a wrong time."""
FORMATS = (
    *("mov", "mp4", "m4a", "3gp", "3g2", "mj2", "matroska", "webm", "avi", "asf", "flv", "mpeg", "mpegts", "ogg"),
    *("dv", "gif", "mxf", "nut", "rm", "wtv", "ivf", "yuv4mpegpipe", "h264", "hevc", "m4v", "mpegvideo"),
)
"""FFmpeg's names of formats whose files hold what they show. Playlists and the like name other files and addresses."""

Picture = NDArray[np.uint8]
"""(224, 224, 3), red, green, blue."""


@dataclass
class Video:
    """What a video file says about itself, and what decoding found.

    Attributes:
        path: the file.
        width: of the stored frames in pixels, before any rotation.
        height: likewise.
        frame_rate: average rate of the source, in frames per second.
        announced: length of the video stream in seconds as the container announces it; None where it does not.
        counted: whether the container also announces the number of frames, as MP4 and AVI do and Matroska does not.
        duration: seconds from the container's start to the end of the last frame; None until it was decoded.
        warnings: what may make its features differ from the official ones.
    """

    path: Path
    width: int
    height: int
    frame_rate: Fraction
    announced: float | None
    counted: bool
    duration: float | None = None
    warnings: list[str] = field(default_factory=list)

    @property
    def probed(self) -> float | None:
        """The length that HERO's probe reports: it needs the number of frames too."""
        return self.announced if self.counted else None

    def warn(self, text: str) -> None:
        """Add a warning, once."""
        if text not in self.warnings:
            self.warnings.append(text)


def decoder_version() -> str:
    """Versions of PyAV and of the FFmpeg libraries in it.

    Raises:
        SettingsError: PyAV is not installed.
    """
    av = _library()
    parts = {name: ".".join(map(str, version)) for name, version in av.library_versions.items()}
    return f"PyAV {av.__version__}, " + ", ".join(
        f"{name} {parts[name]}" for name in ("libavcodec", "libavfilter", "libswscale")
    )


def probe(path: Path) -> Video:
    """What the container says, without decoding.

    Raises:
        DataError: the file is no video, or says no frame rate or picture size.
    """
    with _opened(path) as container:
        stream = _video_stream(path, container)
        if not stream.average_rate:
            raise DataError(f"{path}: says no frame rate, which SlowFast's clips follow from; encode it again.")
        if not stream.width or not stream.height or not stream.codec_context.pix_fmt:
            raise DataError(
                f"{path}: says no size or form of pictures, as a file that holds none; copy or encode it again."
            )
        return Video(
            path,
            stream.width,
            stream.height,
            stream.average_rate,
            _announced(container, stream),
            stream.frames > 0 and stream.duration is not None,
        )


def pictures(video: Video, rate: Fraction, late: float | None = None) -> Iterator[Picture]:
    """Pictures of ``video`` at ``rate`` per second; sets ``video.duration`` once all were asked for.

    Args:
        video: from :func:`probe`.
        rate: pictures per second.
        late: seconds by which the stream may start after its container before a warning; None: never warn.

    Raises:
        DataError: nothing can be decoded, or the file is cut off or damaged.
    """
    error = _library().error.FFmpegError
    try:
        with _opened(video.path) as container:
            yield from _filtered(video, container, rate, late)
    except (error, ValueError) as fault:
        what = getattr(fault, "strerror", None) or str(fault)
        raise DataError(f"{video.path}: damaged ({what}); copy or encode it again.") from fault
    _check_whole(video)


@dataclass(frozen=True)
class Decoder:
    """Where files are opened: in this process (:data:`DIRECT`), or in one of their own."""

    probe: Callable[[Path], Video]
    """As :func:`probe`."""
    pictures: Callable[[Video, Fraction, float | None], Iterator[Picture]]
    """As :func:`pictures`."""


DIRECT = Decoder(probe, pictures)


def _filtered(video: Video, container: "InputContainer", rate: Fraction, late: float | None) -> Iterator[Picture]:
    stream = _video_stream(video.path, container)
    stream.thread_type = "AUTO"
    graph = _graph(video, stream, rate)
    sent = 0
    for frame in _frames(video, container, stream):
        if sent == 0:
            _check_first(video, frame, late)
        graph.push(frame)
        sent += 1
        yield from _pulled(graph)
    if sent == 0:
        raise DataError(f"{video.path}: holds no picture that can be decoded; copy or encode it again.")
    graph.push(None)
    yield from _pulled(graph)


def _library():
    """PyAV, which is needed for extraction alone.

    Raises:
        SettingsError: it is not installed.
    """
    try:
        import av
    except ImportError as error:
        raise SettingsError("decoding videos needs PyAV, of the optional extra 'extract': pip install av") from error
    av.logging.set_level(av.logging.PANIC)
    return av


def _opened(path: Path) -> "InputContainer":
    """The container of a regular file.

    Raises:
        DataError: there is none, or FFmpeg knows no such format.
    """
    av = _library()
    if found := disguise(path, VIDEO):
        raise DataError(f"{path}: {found}")
    try:
        # A path, and never an address: FFmpeg would open those too, and whatever a playlist names.
        allowed = {"protocol_whitelist": "file", "format_whitelist": ",".join(FORMATS)}
        return av.open(f"file:{path}", metadata_errors="replace", container_options=allowed)
    except (av.error.FFmpegError, OSError, ValueError) as error:
        what = getattr(error, "strerror", None) or type(error).__name__
        raise DataError(f"{path}: cannot be opened as a video ({what}); copy or encode it again.") from error


def _video_stream(path: Path, container: "InputContainer") -> "VideoStream":
    cover = _library().stream.Disposition.attached_pic
    moving = [stream for stream in container.streams.video if cover not in stream.disposition]
    if not moving:
        kinds = sorted({stream.type for stream in container.streams if stream not in container.streams.video})
        raise DataError(f"{path}: holds no video stream ({', '.join(kinds) or 'no streams at all'}).")
    if moving[0].codec_context is None:
        raise DataError(
            f"{path}: its pictures are in a form that is unknown here; encode it again, as H.264 for example."
        )
    return moving[0]


def _announced(container: "InputContainer", stream: "VideoStream") -> float | None:
    if stream.duration is not None:
        duration = float(stream.duration * stream.time_base)
        # Of a cut AVI FFmpeg counts what is there; its header still has the number of frames that it was written with.
        written = float(stream.frames / stream.average_rate) if container.format.name == "avi" else 0.0
        return max(duration, written)
    # Matroska keeps the time of its end, as text: "00:02:30.000000000".
    try:
        hours, minutes, seconds = stream.metadata["DURATION"].split(":")
        return (
            3600 * int(hours) + 60 * int(minutes) + float(seconds) - (container.start_time or 0) / _library().time_base
        )
    except (KeyError, ValueError):
        return None


def _graph(video: Video, stream: "VideoStream", rate: Fraction) -> "Graph":
    """fps, scale and crop, then rgb24. Scaling and the conversion to RGB are one step, so that odd crops are exact.

    Bilinear, as FFmpeg 3.4 scales in HERO's complex filter graph; FFmpeg 9 would scale bicubically there.
    """
    av = _library()
    width, height = scaled_size(video.width, video.height)
    left, top = int((width - SIZE) / 2), int((height - SIZE) / 2)
    graph = av.filter.Graph()
    nodes = [
        graph.add_buffer(template=stream),
        graph.add("fps", f"fps={rate.numerator}/{rate.denominator}"),
        graph.add("scale", f"{width}:{height}:flags=bilinear"),
        graph.add("crop", f"{SIZE}:{SIZE}:{left}:{top}"),
        graph.add("format", "pix_fmts=rgb24"),
        graph.add("buffersink"),
    ]
    for node, following in itertools.pairwise(nodes):
        node.link_to(following)
    graph.configure()
    return graph


def scaled_size(width: int, height: int) -> tuple[int, int]:
    """Width and height after scaling: the shorter side is 224, the other one truncated."""
    if height >= width:
        return SIZE, int(SIZE * height / width)
    return int(SIZE * width / height), SIZE


def _frames(video: Video, container: "InputContainer", stream: "VideoStream") -> Iterator["VideoFrame"]:
    """Frames with times from the container's start; keeps ``video.duration`` at the end of the last one."""
    av = _library()
    start = round(Fraction(container.start_time or 0, av.time_base) / stream.time_base)
    end, damaged = None, 0
    for packet in container.demux(stream):
        try:
            frames = packet.decode()
        except av.error.InvalidDataError:
            # As the tool does: what cannot be decoded is left out, and the picture before stands for it.
            damaged += 1
            continue
        for frame in frames:
            if frame.pts is None:
                raise DataError(f"{video.path}: holds frames without a time; encode it again.")
            frame.pts -= start
            # Without a duration the last frame would end when it begins.
            frame.duration = frame.duration or round(1 / (video.frame_rate * stream.time_base))
            _check_time(video, float(frame.pts * stream.time_base), end)
            end = float((frame.pts + frame.duration) * stream.time_base)
            yield frame
    if damaged:
        video.warn(f"{damaged} parts cannot be decoded; the picture before stands for each")
    video.duration = end


def _check_time(video: Video, time: float, before: float | None) -> None:
    """Refuse a stray time, for everything up to there would be filled with the picture before.

    Raises:
        DataError: the frame comes long after the one before, or after the announced end.
    """
    expected = (before or 0.0) if video.announced is None else max(video.announced, before or 0.0)
    if time - expected > STRAY_SECONDS:
        raise DataError(
            f"{video.path}: damaged: a frame has the time {time:,.0f} s, long after all others; encode it again."
        )


def _pulled(graph: "Graph") -> Iterator[Picture]:
    av = _library()
    while True:
        try:
            frame = graph.pull()
        except (av.error.BlockingIOError, av.error.EOFError):
            return
        yield frame.to_ndarray()


def _check_first(video: Video, frame: "VideoFrame", late: float | None) -> None:
    if frame.rotation:
        video.warn(f"has a rotation of {frame.rotation} degrees, which is ignored")
    start = float(frame.pts * frame.time_base)
    if late is not None and start > late:
        video.warn(f"its pictures start {start:.2f} s after its container, where versions of FFmpeg disagree")


def _check_whole(video: Video) -> None:
    if video.duration is None or video.announced is None:
        return
    if video.announced - video.duration > MISSING_SECONDS:
        raise DataError(
            f"{video.path}: ends after {video.duration:.2f} of the {video.announced:.2f} s that it announces: cut off; "
            "copy it again."
        )


def whole_rate(seconds: float, limit: int = 1_000_000) -> Fraction:
    """1 / ``seconds`` as a fraction; FFmpeg takes no others."""
    return 1 / Fraction(seconds).limit_denominator(limit)


def half_up(value: float) -> int:
    """The nearest whole number, halves upwards: FFmpeg's rounding of times."""
    return math.floor(value + 0.5)
