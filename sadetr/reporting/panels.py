"""The figure of qualitative results: one column of axes per query (see :mod:`sadetr.reporting.qualitative`)."""

import textwrap
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from sadetr.reporting.figures import STYLE
from sadetr.reporting.frames import ASPECT, read_frames
from sadetr.reporting.qualitative import Panel

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

COLUMNS = 3
PANEL_WIDTH = 2.4
"""Inches."""
HEIGHTS = {"line": 0.13, "row": 0.22, "saliency": 0.65, "axis": 0.7}
"""Inches: a line of the query's text, one row of windows, the saliency curves, labels below and above an axis."""
FRAMES = 5
TEXT_COLUMNS, TEXT_LINES = 36, 6
TRUTH = "0.45"
DASHES = ("-", (0, (4, 1.5)), (0, (1, 1)), (0, (3, 1, 1, 1)))


def qualitative_figure(panels: Sequence[Panel], label: str, videos: Path | None = None) -> "Figure":
    """Draw the panels, at most three beside each other.

    Per query, from top to bottom: its text, frames or the clips' indices, ground-truth and predicted windows (the best
    ones, as many as there are ground-truth windows, the first on top) with the IoU of the first, and saliency.

    Args:
        panels: what to show.
        label: of data that are not the paper's; empty otherwise.
        videos: folder of the user's videos, see :mod:`sadetr.reporting.frames`.

    Raises:
        DataError: a video cannot be read.
    """
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.style import context

    names = [prediction.label for prediction in panels[0].predictions]
    colours = dict(zip(names, seaborn.color_palette("colorblind", len(names)), strict=True))
    columns = 2 if len(panels) == 4 else min(COLUMNS, len(panels))
    rows = -(-len(panels) // columns)
    heights = _heights(len(names), videos is not None, any(_has_saliency(panel) for panel in panels))
    with context(STYLE):
        lines = max(_title(panel).count("\n") + 1 for panel in panels)
        height = rows * (HEIGHTS["line"] * lines + HEIGHTS["axis"] + sum(heights.values())) + 0.45
        figure = Figure(figsize=(max(PANEL_WIDTH * columns, 1.4 * PANEL_WIDTH), height))
        grid = figure.subplots(
            rows * len(heights), columns, squeeze=False, gridspec_kw={"height_ratios": [*heights.values()] * rows}
        )
        for index, (place, panel) in enumerate(zip(np.ndindex(rows, columns), panels, strict=False)):
            first = place[0] * len(heights)
            axes = dict(zip(heights, grid[first : first + len(heights), place[1]], strict=True))
            _draw(axes, panel, colours, videos, leftmost=index % columns == 0)
        for place in list(np.ndindex(rows, columns))[len(panels) :]:
            for axes in grid[place[0] * len(heights) : (place[0] + 1) * len(heights), place[1]]:
                axes.set_axis_off()
        _legend(figure, colours, columns)
        if label:
            figure.suptitle(label, fontsize=7)
    return figure


def _heights(predictors: int, frames: bool, saliency: bool) -> dict[str, float]:
    heights = {"frames": PANEL_WIDTH * 0.9 / FRAMES / ASPECT} if frames else {}
    heights["windows"] = HEIGHTS["row"] * (predictors + 1)
    return heights | ({"saliency": HEIGHTS["saliency"]} if saliency else {})


def _has_saliency(panel: Panel) -> bool:
    return panel.saliency is not None or any(prediction.saliency is not None for prediction in panel.predictions)


def _draw(axes: "dict[str, Axes]", panel: Panel, colours: dict, videos: Path | None, leftmost: bool) -> None:
    top, bottom = next(iter(axes.values())), next(reversed(axes.values()))
    if "frames" in axes:
        _draw_frames(axes["frames"], panel, videos)
    _draw_windows(axes["windows"], panel, colours, leftmost)
    if "frames" not in axes:
        _clip_axis(axes["windows"], panel)
    if "saliency" in axes:
        _draw_saliency(axes["saliency"], panel, colours, leftmost)
        axes["windows"].tick_params(labelbottom=False)
    top.set_title(_title(panel), loc="left", parse_math=False)
    bottom.set_xlabel("time (s)")


def _title(panel: Panel) -> str:
    text = f"qid {panel.query.qid}: “{panel.query.query}”"
    lines = textwrap.wrap(text, TEXT_COLUMNS, max_lines=TEXT_LINES, placeholder=" …”")
    return "\n".join([*([panel.reason] if panel.reason else []), *lines])


def _draw_frames(axes: "Axes", panel: Panel, videos: Path) -> None:
    edges = np.linspace(0, panel.query.duration, FRAMES + 1)
    for frame, start, end in zip(read_frames(videos, panel.query, FRAMES), edges, edges[1:], strict=False):
        axes.imshow(frame, extent=(start, end, 0, 1), aspect="auto", interpolation="antialiased")
    axes.set(xlim=(0, panel.query.duration), ylim=(0, 1), xticks=[], yticks=[])
    axes.spines[:].set_visible(False)


def _clip_axis(axes: "Axes", panel: Panel) -> None:
    """Indices of clips on top, where they start."""
    from matplotlib.ticker import MaxNLocator

    length = panel.clip_length
    top = axes.secondary_xaxis("top", functions=(lambda seconds: seconds / length, lambda clips: clips * length))
    top.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    top.tick_params(pad=1)
    # Beside the numbers, where it takes no height.
    axes.annotate("clip", (1.02, 1), (8, 5), xycoords="axes fraction", textcoords="offset points", fontsize=7)


def _draw_windows(axes: "Axes", panel: Panel, colours: dict, leftmost: bool) -> None:
    rows = len(panel.predictions)
    truth = panel.query.windows
    if truth is None:
        axes.text(0.02, rows, "no labels", va="center", fontsize=7, transform=axes.get_yaxis_transform())
    for start, end in () if truth is None else truth:
        axes.barh(rows, end - start, left=start, height=0.7, color=TRUTH)
        # The ground truth, carried down to what is compared with it.
        axes.axvspan(start, end, color=TRUTH, alpha=0.15, linewidth=0)
    lanes = max((len(item.windows) for item in panel.predictions if item.windows is not None), default=1)
    for row, prediction in enumerate(reversed(panel.predictions)):
        colour = colours[prediction.label]
        if prediction.windows is None or not len(prediction.windows):
            text = "not run" if prediction.windows is None else "no window"
            axes.text(0.02, row, text, va="center", fontsize=7, transform=axes.get_yaxis_transform())
            continue
        height = 0.8 / max(lanes, 1)
        for rank, (start, end) in enumerate(prediction.windows):
            place = row + 0.4 - height * (rank + 0.5)
            # The outline keeps a window of no length visible.
            axes.barh(
                place,
                end - start,
                left=start,
                height=0.8 * height,
                color=colour,
                edgecolor=colour,
                alpha=0.45 if rank else 1,
                linewidth=0.8,
            )
        iou = "–" if prediction.iou is None else f"{prediction.iou:.2f}"
        axes.text(1.02, row, iou, va="center", fontsize=7, transform=axes.get_yaxis_transform())
    axes.text(1.02, rows, "IoU", va="center", fontsize=7, transform=axes.get_yaxis_transform())
    names = [*(item.label for item in reversed(panel.predictions)), "ground truth"]
    axes.set(xlim=(0, panel.query.duration), ylim=(-0.6, rows + 0.6), yticks=range(rows + 1))
    axes.set_yticklabels(names if leftmost else [], parse_math=False)
    axes.tick_params(axis="y", length=0)
    axes.grid(False, axis="y")


def _draw_saliency(axes: "Axes", panel: Panel, colours: dict, leftmost: bool) -> None:
    if panel.saliency is not None:
        edges = np.minimum(np.arange(len(panel.saliency) + 1) * panel.clip_length, panel.query.duration)
        axes.stairs(panel.saliency, edges, fill=True, color=TRUTH, alpha=0.35, linewidth=0)
    for prediction, dash in zip(panel.predictions, _dashes(len(panel.predictions)), strict=True):
        if prediction.saliency is not None:
            centres = (np.arange(len(prediction.saliency)) + 0.5) * prediction.clip_length
            axes.plot(centres, prediction.saliency, color=colours[prediction.label], linestyle=dash)
    axes.set(xlim=(0, panel.query.duration), ylim=(-0.05, 1.05), yticks=(0, 0.5, 1))
    if leftmost:
        axes.set_ylabel("saliency")
    else:
        axes.set_yticklabels([])


def _dashes(count: int) -> list:
    return [DASHES[index % len(DASHES)] for index in range(count)]


def _legend(figure: "Figure", colours: dict, columns: int) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    entries = [Patch(color=TRUTH, alpha=0.35, linewidth=0)]
    entries += [
        Line2D([], [], color=colour, linestyle=dash)
        for colour, dash in zip(colours.values(), _dashes(len(colours)), strict=True)
    ]
    names = ["ground truth (mean of annotators)", *colours]
    figure.legend(entries, names, loc="outside lower center", ncols=columns if columns < COLUMNS else len(names))
