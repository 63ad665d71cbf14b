"""What was found, on the terminal and as JSON."""

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sadetr.files import atomic_write_text
from sadetr.locating.result import Located

PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""
BARS = "▁▂▃▄▅▆▇█"
CURVE = 60
"""Characters of a saliency curve at most."""


def make_console() -> Console:
    """Standard output; without a terminal it neither wraps nor colours."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=PLAIN_WIDTH)


def print_located(console: Console, located: Located, top: int) -> None:
    """Print the best windows, each with the mean saliency inside it, and the saliency curve below."""
    console.print(f"{located.video} ({located.duration:.1f} s): “{located.sentence}”", style="bold", soft_wrap=True)
    table = Table(box=SIMPLE if console.is_terminal else None, padding=(0, 2, 0, 0))
    for column in ("rank", "from", "to", "start (s)", "end (s)", "score", "saliency"):
        table.add_column(column, justify="right")
    for rank, window in enumerate(located.windows[:top], 1):
        times = (clock(window.start), clock(window.end), f"{window.start:.1f}", f"{window.end:.1f}")
        inside = mean_inside(located, window.start, window.end)
        table.add_row(str(rank), *times, f"{window.score:.4f}", f"{inside:.3f}")
    console.print(table if located.windows else "no window of any length was found")
    low, high = located.saliency.min(), located.saliency.max()
    console.print(f"saliency  0:00 {curve(located.saliency)} {clock(located.duration)}   {low:.3f} to {high:.3f}")


def clock(seconds: float) -> str:
    """Minutes and whole seconds, with hours where there are any: what players show."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def mean_inside(located: Located, start: float, end: float) -> float:
    """Mean saliency of a window, each clip weighted by how much of it lies inside."""
    edges = located.edges
    weights = np.maximum(np.minimum(edges[1:], end) - np.maximum(edges[:-1], start), 0)
    return float((weights * located.saliency).sum() / max(weights.sum(), 1e-9))


def curve(values: NDArray[np.float64]) -> str:
    """A line of bars from the lowest score to the highest; each is the mean of as many clips, 60 bars at most."""
    parts = np.array([part.mean() for part in np.array_split(values, min(CURVE, len(values)))])
    low, high = parts.min(), parts.max()
    heights = (parts - low) / (high - low) if high > low else np.zeros_like(parts)
    return "".join(BARS[round(height * (len(BARS) - 1))] for height in heights)


def write_json(path: Path, results: Sequence[Located], network: str, label: str) -> None:
    """All windows and curves.

    Raises:
        ResultsError: the file cannot be written.
    """
    content = {"network": network, "data": label, "results": [located.as_json() for located in results]}
    atomic_write_text(path, json.dumps(content, indent=1, ensure_ascii=False) + "\n")
