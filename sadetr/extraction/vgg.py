"""AI2's VGG-16 features of Charades, a text file per frame, as rows of one array per video.

``Charades_v1_features_rgb`` holds ``<id>/<id>-<frame>.txt`` for every fourth frame of 24 per second, from 1: fc7 after
its rectifier, 4096 numbers of six significant digits. No other VGG-16 makes these features: its weights were trained on
Charades.
"""

import re
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from sadetr.disguise import TEXT, disguise
from sadetr.errors import DataError

STEP = 4
"""Frames from one file to the next: 1/6 s."""


def read_frames(folder: Path, width: int) -> NDArray[np.float32]:
    """(frames, width) of one video.

    Args:
        folder: of the video, named as it.
        width: numbers per frame.

    Raises:
        DataError: a frame is missing in between or malformed, or there is none.
    """
    named = re.compile(re.escape(folder.name) + r"-(\d+)\.txt")
    try:
        files = {int(found[1]): file for file in folder.iterdir() if (found := named.fullmatch(file.name))}
    except OSError as error:
        raise DataError(f"{folder}: the folder of the video's frames cannot be read ({error.strerror}).") from error
    if not files:
        raise DataError(f"{folder}: holds no frame {folder.name}-<number>.txt; unpack AI2's archive again.")
    numbers = sorted(files)
    expected = range(1, STEP * len(numbers), STEP)
    wrong = next((number for number, wanted in zip(numbers, expected, strict=True) if number != wanted), None)
    if wrong is not None:
        place = numbers.index(wrong)
        raise DataError(
            f"{files[wrong]}: comes where frame {expected[place]} should: every {STEP}th from 1 is there in AI2's "
            "archive; unpack it again."
        )
    return np.stack([_numbers(files[number], width) for number in numbers])


def _numbers(file: Path, width: int) -> NDArray[np.float32]:
    try:
        row = np.array(file.read_text(encoding="ascii").split(), dtype=np.float32)
    except (OSError, ValueError) as error:
        found = disguise(file, TEXT)
        raise DataError(f"{file}: {found or f'holds no numbers ({error})'}") from error
    if len(row) != width or not np.isfinite(row).all():
        fault = f"holds {len(row)} numbers, expected {width}" if len(row) != width else "holds NaN or infinity"
        raise DataError(f"{file}: {fault}; unpack AI2's archive again.")
    return row
