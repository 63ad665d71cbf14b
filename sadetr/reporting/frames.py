"""Frames of the user's own videos, evenly spaced, for the strips of a figure.

A video is a folder of extracted frames, ``<folder>/<vid>/*.jpg`` (or png) in the order of their names, or a file
``<folder>/<vid>.mp4``, which takes the program ffmpeg. Both hold exactly the annotated part of the video.
"""

import io
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.data.annotations import Query
from sadetr.disguise import is_companion
from sadetr.errors import DataError

SUFFIXES = {".jpg", ".jpeg", ".png"}
ASPECT = 16 / 9
"""Width over height of a shown frame; others are cut about their centre."""
Frame = NDArray[np.uint8]


def read_frames(folder: Path, query: Query, count: int) -> list[Frame]:
    """Frames at the centres of ``count`` equal parts of the video, each (height, width, 3).

    Raises:
        DataError: the video is not there or cannot be read, or ffmpeg is missing.
    """
    images, video = folder / query.vid, folder / f"{query.vid}.mp4"
    places = (np.arange(count) + 0.5) / count
    if images.is_dir():
        return [_cut(frame) for frame in _from_images(images, places)]
    if video.is_file():
        return [_cut(_from_video(video, place * query.duration)) for place in places]
    raise DataError(f"{folder}: neither the folder {query.vid}/ with frames nor {query.vid}.mp4 is there")


def _from_images(folder: Path, places: Sequence[float]) -> list[Frame]:
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in SUFFIXES and not is_companion(path.name))
    if not files:
        raise DataError(f"{folder}: holds no frame; expected files that end in {', '.join(sorted(SUFFIXES))}")
    return [_decode(path.read_bytes(), path) for path in (files[int(place * len(files))] for place in places)]


def _from_video(path: Path, seconds: float) -> Frame:
    program = shutil.which("ffmpeg")
    if program is None:
        raise DataError(
            f"{path}: reading videos takes the program ffmpeg, which is not on PATH; install it, or extract frames to "
            f"{path.with_suffix('')}/*.jpg"
        )
    command = [program, "-v", "error", "-ss", f"{seconds:.3f}", "-i", str(path), "-frames:v", "1"]
    done = subprocess.run(
        [*command, "-f", "image2pipe", "-c:v", "png", "-"], capture_output=True, check=False, stdin=subprocess.DEVNULL
    )
    if done.returncode or not done.stdout:
        reason = done.stderr.decode(errors="replace").strip() or "the video ends before"
        raise DataError(f"{path}: no frame at {seconds:.1f} s ({reason})")
    return _decode(done.stdout, path)


def _decode(content: bytes, path: Path) -> Frame:
    from PIL import Image  # a dependency of matplotlib

    try:
        return np.asarray(Image.open(io.BytesIO(content)).convert("RGB"))
    except OSError as error:
        raise DataError(f"{path}: cannot be read as an image ({error})") from error


def _cut(frame: Frame) -> Frame:
    """The largest part about the centre that has the shown aspect."""
    height, width, _ = frame.shape
    kept_height, kept_width = min(height, round(width / ASPECT)), min(width, round(height * ASPECT))
    top, left = (height - kept_height) // 2, (width - kept_width) // 2
    return frame[top : top + kept_height, left : left + kept_width]
