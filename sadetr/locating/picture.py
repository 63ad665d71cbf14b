"""A picture of what was found: frames, windows and the saliency curve of every answer, one below the other."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadetr.errors import SettingsError
from sadetr.extraction.decoding import Picture, pictures, probe, whole_rate
from sadetr.files import atomic_path
from sadetr.locating.result import Located
from sadetr.reporting.figures import METADATA, STYLE

if TYPE_CHECKING:
    from matplotlib.axes import Axes

FRAMES = 8
"""Shown of a video, each from the middle of its share."""
MOST = 20
"""Answers in one picture."""
WIDTH = 7.0
"""Inches."""
HEIGHTS = (WIDTH / FRAMES, 0.9, 0.7)
"""Inches of frames, windows and saliency."""
MARGIN = 0.55
"""Inches of titles and labels per answer."""
WRAPPED = 95


def check_picture(path: Path, answers: int) -> None:
    """
    Raises:
        SettingsError: the name ends in no format of a picture, or there would be too much in it.
    """
    if path.suffix.removeprefix(".") not in METADATA:
        raise SettingsError(f"--picture {path}: its name must end in {', '.join(f'.{name}' for name in METADATA)}")
    if answers > MOST:
        raise SettingsError(
            f"--picture {path}: {answers} answers, and a picture shows {MOST} at most; ask for fewer at a time"
        )


def write_picture(path: Path, results: Sequence[Located], top: int, label: str) -> None:
    """Draw ``results`` with their ``top`` best windows below ``label``; pdf, svg or png by the name's ending.

    Raises:
        DataError: a video can no longer be decoded.
        ResultsError: the file cannot be written.
    """
    from matplotlib.figure import Figure
    from matplotlib.style import context

    frames = {located.video: read_frames(Path(located.video), located.duration) for located in results}
    suffix = path.suffix.removeprefix(".")
    with context(STYLE):
        height = len(results) * (sum(HEIGHTS) + MARGIN)
        figure = Figure(figsize=(WIDTH, height))
        grid = figure.subplots(
            3 * len(results), 1, squeeze=False, gridspec_kw={"height_ratios": HEIGHTS * len(results)}
        )
        for place, located in enumerate(results):
            strip, windows, saliency = grid[3 * place : 3 * place + 3, 0]
            _draw_frames(strip, frames[located.video], located)
            _draw_windows(windows, located, top)
            _draw_saliency(saliency, located)
        if label:
            figure.suptitle(label, fontsize=7, parse_math=False)
        with atomic_path(path) as temporary:
            figure.savefig(temporary, format=suffix, metadata=METADATA[suffix])


def read_frames(path: Path, duration: float, count: int = FRAMES) -> list[Picture]:
    """Pictures from the middles of ``count`` equal shares of a video, as the networks see them: the middle square.

    Raises:
        DataError: the video cannot be decoded.
    """
    return list(pictures(probe(path), whole_rate(duration / count)))[:count]


def _draw_frames(axes: "Axes", frames: Sequence[Picture], located: Located) -> None:
    share = located.duration / FRAMES
    for place, frame in enumerate(frames):
        axes.imshow(frame, extent=(place * share, (place + 1) * share, 0, 1), aspect="auto")
    axes.set(xlim=(0, located.duration), ylim=(0, 1))
    axes.set_axis_off()
    title = "\n".join(textwrap.wrap(f"{Path(located.video).name}: “{located.sentence}”", WRAPPED))
    axes.set_title(title, parse_math=False)


def _draw_windows(axes: "Axes", located: Located, top: int) -> None:
    from matplotlib import colormaps

    shown = located.windows[:top]
    colours = colormaps["viridis"](np.linspace(0, 0.85, max(1, len(shown))))
    for rank, (window, colour) in enumerate(zip(shown, colours, strict=False)):
        axes.barh(rank, window.end - window.start, left=window.start, height=0.7, color=colour)
        axes.text(1.005, rank, f"{window.score:.2f}", va="center", fontsize=6, transform=axes.get_yaxis_transform())
    axes.set(xlim=(0, located.duration), ylim=(max(1, len(shown)) - 0.4, -0.6), ylabel="rank")
    axes.set(yticks=range(len(shown)), yticklabels=[str(rank + 1) for rank in range(len(shown))], xticklabels=[])
    axes.grid(False, axis="y")


def _draw_saliency(axes: "Axes", located: Located) -> None:
    axes.stairs(located.saliency, located.edges, baseline=None, linewidth=1.2)
    for window in located.windows[:1]:
        axes.axvspan(window.start, window.end, color="0.45", alpha=0.2, linewidth=0)
    axes.set(xlim=(0, located.duration), xlabel="time (s)", ylabel="saliency")
