"""A picture of what a network computed for one query. Free of torch."""

import textwrap
from typing import TYPE_CHECKING

import numpy as np

from sadetr.reporting.figures import STYLE
from sadetr.reporting.qualitative import mean_saliency, scaled

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

    from sadetr.inspection.query import QueryInspection

LAYER_WIDTH = 3.2
"""Inches per refiner layer."""
HEIGHTS = {"anchors": 1.7, "spans": 1.7, "masks": 1.2, "attention": 1.5, "saliency": 1.0}
"""Inches per part."""
TRUTH = "0.45"
GIVEN = "0.35"


def query_picture(found: "QueryInspection", label: str) -> "Figure":
    """One column per layer: anchors before and behind it, masks, attention; saliency below. What a method lacks is out.

    Without anchors the predicted spans stand once, across the columns. Moment queries are ordered and coloured by their
    final score; grey bands are the ground truth.
    """
    from matplotlib.figure import Figure
    from matplotlib.style import context

    parts = ["spans"] if found.anchors is None else ["anchors"]
    parts += ["masks"] if found.masks is not None else []
    parts += ["attention"] if found.attention is not None else []
    layers = next((len(part) for part in (found.masks, found.attention, found.qualities) if part is not None), 1)
    title = _title(found, layers, label)
    heights = [HEIGHTS[part] for part in [*parts, "saliency"]]
    with context(STYLE):
        width, height = LAYER_WIDTH * layers + 0.6, sum(heights) + 0.35 * len(heights) + 0.13 * (title.count("\n") + 2)
        figure = Figure(figsize=(width, height))
        grid = figure.subplots(len(heights), layers, squeeze=False, gridspec_kw={"height_ratios": heights})
        per_layer = {"anchors": _draw_anchors, "masks": _draw_masks, "attention": _draw_attention}
        for row, part in enumerate(parts):
            for layer in range(layers) if part in per_layer else ():
                per_layer[part](grid[row, layer], found, layer)
        if found.anchors is None:
            _draw_spans(_joined(figure, grid, 0), found)
        _draw_saliency(_joined(figure, grid, -1), found)
        for axes in figure.axes:
            if axes.get_label() != "<colorbar>":
                axes.set_xlim(0, found.query.duration)
        figure.suptitle(title, fontsize=7, parse_math=False)
    return figure


def _title(found: "QueryInspection", layers: int, label: str) -> str:
    head = f"{found.run}, {found.checkpoint} checkpoint, {found.split} qid {found.query.qid}"
    wrapped = [*textwrap.wrap(head, 50 * layers), *textwrap.wrap(f"“{found.query.query}”", 50 * layers)]
    return "\n".join([*([label] if label else []), *wrapped])


def _joined(figure: "Figure", grid: np.ndarray, row: int) -> "Axes":
    """One axes in the place of a row of them."""
    spec = grid[row, 0].get_gridspec()
    for axes in grid[row]:
        axes.remove()
    return figure.add_subplot(spec[row, :])


def _colours(count: int) -> np.ndarray:
    """One colour per moment query, the best one darkest."""
    from matplotlib import colormaps

    return colormaps["viridis"](np.linspace(0, 0.9, count))


def _draw_truth(axes: "Axes", found: "QueryInspection") -> None:
    for start, end in () if found.query.windows is None else found.query.windows:
        axes.axvspan(start, end, color=TRUTH, alpha=0.25, linewidth=0)


def _query_axis(axes: "Axes", found: "QueryInspection", layer: int) -> None:
    """Ranks downwards, each with the moment query's index in the network."""
    count = len(found.order)
    axes.set(ylim=(count - 0.4, -0.6), yticks=range(count))
    axes.set_yticklabels([f"{rank + 1} (#{index})" for rank, index in enumerate(found.order)] if layer == 0 else [])
    axes.tick_params(axis="y", length=0, labelsize=6)
    axes.grid(False, axis="y")
    if layer == 0:
        axes.set_ylabel("moment query")


def _draw_anchors(axes: "Axes", found: "QueryInspection", layer: int) -> None:
    _draw_truth(axes, found)
    for rank, colour in enumerate(_colours(len(found.order))):
        before, after = found.anchors[layer, rank], found.anchors[layer + 1, rank]
        axes.plot(before, [rank - 0.2] * 2, color=GIVEN, linewidth=1)
        axes.plot(after, [rank + 0.15] * 2, color=colour, linewidth=2.6, solid_capstyle="butt")
        if found.qualities is not None:
            _note(axes, rank, found.qualities[layer, rank])
    _query_axis(axes, found, layer)
    axes.set_title(f"layer {layer + 1}: anchors before (grey) and after; right: quality")


def _note(axes: "Axes", rank: int, value: float) -> None:
    """A number right of the axes, where no narrow anchor hides it."""
    axes.text(1.01, rank, f"{value:.2f}", va="center", fontsize=6, transform=axes.get_yaxis_transform())


def _draw_spans(axes: "Axes", found: "QueryInspection") -> None:
    _draw_truth(axes, found)
    for rank, colour in enumerate(_colours(len(found.order))):
        axes.plot(found.spans[rank], [rank] * 2, color=colour, linewidth=2.6, solid_capstyle="butt")
        _note(axes, rank, found.scores[rank])
    _query_axis(axes, found, 0)
    axes.set_title("predicted spans; right: score")


def _edges(found: "QueryInspection", clips: int) -> np.ndarray:
    return np.linspace(0, found.query.duration, clips + 1)


def _draw_masks(axes: "Axes", found: "QueryInspection", layer: int) -> None:
    _draw_truth(axes, found)
    masks = found.masks[layer]
    colours, edges = _colours(len(masks)), _edges(found, masks.shape[1])
    for rank in reversed(range(len(masks))):
        width = 1.0 if rank else 2.0
        axes.stairs(masks[rank], edges, color=colours[rank], linewidth=width, baseline=None)
    axes.set(ylim=(-0.05, 1.05), title=f"layer {layer + 1}: Gaussian masks (eq 5), thick: rank 1")
    if layer == 0:
        axes.set_ylabel("weight")


def _draw_attention(axes: "Axes", found: "QueryInspection", layer: int) -> None:
    weights = found.attention.mean(1)
    rows = np.arange(weights.shape[1] + 1) - 0.5
    edges = _edges(found, weights.shape[2])
    mesh = axes.pcolormesh(edges, rows, weights[layer], cmap="cividis", vmin=0, vmax=weights.max(), rasterized=True)
    for start, end in () if found.query.windows is None else found.query.windows:
        axes.axvline(start, color="white", linewidth=0.8, linestyle="--")
        axes.axvline(end, color="white", linewidth=0.8, linestyle="--")
    _query_axis(axes, found, layer)
    axes.grid(False)
    axes.set_title(f"layer {layer + 1}: cross attention, mean of heads")
    if layer == len(weights) - 1:
        axes.figure.colorbar(mesh, ax=axes, pad=0.02, fraction=0.05)


def _draw_saliency(axes: "Axes", found: "QueryInspection") -> None:
    _draw_truth(axes, found)
    truth = mean_saliency(found.query, found.clip_length)
    if truth is not None:
        edges = np.minimum(np.arange(len(truth) + 1) * found.clip_length, found.query.duration)
        axes.stairs(truth, edges, fill=True, color=TRUTH, alpha=0.5, linewidth=0)
    axes.stairs(scaled(found.saliency), _edges(found, len(found.saliency)), baseline=None, linewidth=1.2)
    axes.set(ylim=(-0.05, 1.05), xlabel="time (s)", ylabel="saliency")
    axes.set_title("saliency, scaled to 0-1" + (", over the annotators' mean" if truth is not None else ""))
