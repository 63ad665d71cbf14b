"""What ``explain --qid`` does: looks into a network, prints, and writes numbers and a picture."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sadetr.experiments import RunId
from sadetr.files import atomic_write_text
from sadetr.inspection.picture import query_picture
from sadetr.inspection.query import QueryInspection, inspect_query
from sadetr.inspection.report import make_console, make_table
from sadetr.layout import Layout
from sadetr.reporting.figures import write_figure

if TYPE_CHECKING:
    from rich.console import Console

DIGITS = 6
"""Significant digits of the JSON file: what float32 holds."""


def explain_query(run: RunId, layout: Layout, qid: str, checkpoint: str, out: Path | None = None) -> list[Path]:
    """Print what the network of ``run`` computes for one query; write it as JSON, and as PDF, SVG and PNG.

    Returns:
        Paths written: ``<checkpoint>.qid<qid>.*`` in ``out``, by default ``<results>/<scale>/inspection/<run>``.

    Raises:
        As :func:`sadetr.inspection.query.inspect_query`; ResultsError too where ``out`` cannot be written.
    """
    found = inspect_query(run, layout, qid, checkpoint)
    folder = out or layout.folder / "inspection" / run.folder
    name = f"{checkpoint}.qid{_file_part(qid)}"
    _print(make_console(), found, layout.scale.label)
    numbers = folder / f"{name}.json"
    atomic_write_text(numbers, json.dumps(as_json(found, layout.scale.label), indent=1) + "\n")
    return [numbers, *write_figure(query_picture(found, layout.scale.label), folder, name)]


def _file_part(qid: str) -> str:
    return "".join(letter if letter.isalnum() else "-" for letter in qid)


def as_json(found: QueryInspection, label: str) -> dict[str, Any]:
    """Everything as plain data, six significant digits; parts that the method does not have are null.

    Per moment query, best first: ``anchors`` (R + 1 pairs of seconds), ``qualities`` (R), ``masks`` (R lists over
    clips) and ``attention`` (R lists of h lists over clips).
    """
    query = found.query
    moment_queries = [
        {
            "index": int(index),
            "score": _plain(found.scores[rank]),
            "span": _plain(found.spans[rank]),
            "anchors": None if found.anchors is None else _plain(found.anchors[:, rank]),
            "qualities": None if found.qualities is None else _plain(found.qualities[:, rank]),
            "masks": None if found.masks is None else _plain(found.masks[:, rank]),
            "attention": None if found.attention is None else _plain(found.attention[:, :, rank]),
        }
        for rank, index in enumerate(found.order)
    ]
    return {
        "run": str(found.run),
        "checkpoint": found.checkpoint,
        "data": label,
        "split": found.split,
        "qid": query.qid,
        "query": query.query,
        "vid": query.vid,
        "duration": query.duration,
        "ground_truth": None if query.windows is None else query.windows.tolist(),
        "windows": found.windows.tolist(),
        "saliency": _plain(found.saliency),
        "moment_queries": moment_queries,
    }


def _plain(values: Any) -> Any:
    if np.ndim(values):
        return [_plain(value) for value in values]
    return float(f"{float(values):.{DIGITS}g}")


def _print(console: "Console", found: QueryInspection, label: str) -> None:
    query = found.query
    truth = "no labels" if query.windows is None else " ".join(_span(window) for window in query.windows)
    console.print(f"{found.run}, {found.checkpoint} checkpoint", markup=False)
    if label:
        console.print(label, style="bold")
    console.print(f"qid {query.qid} of {found.split}, video {query.vid} ({query.duration:g} s)", markup=False)
    console.print(f"query: {query.query}", markup=False)
    console.print(f"ground truth (s): {truth}", markup=False)
    if found.anchors is None and found.attention is None:
        console.print(f"{found.run.method} shows nothing between its layers: predictions alone", markup=False)
    console.print(_table(console, found))


def _table(console: "Console", found: QueryInspection) -> Any:
    """One line per moment query, best first: anchors in seconds, quality and attention inside the anchor per layer."""
    layers = 0 if found.anchors is None else len(found.anchors) - 1
    columns = ["rank", "query"]
    columns += ["before (s)"] if layers else ["span (s)", "score"]
    for layer in range(1, layers + 1):
        columns += [f"layer {layer} (s)"]
        columns += ["quality"] if found.qualities is not None else []
        columns += ["inside"] if found.inside is not None else []
    table = make_table(console, *columns, "IoU", left=0)
    for rank, index in enumerate(found.order):
        cells = [str(rank + 1), f"#{index}"]
        if layers:
            cells.append(_span(found.anchors[0, rank]))
        else:
            cells += [_span(found.spans[rank]), f"{found.scores[rank]:.3f}"]
        for layer in range(layers):
            cells.append(_span(found.anchors[layer + 1, rank]))
            cells += [f"{found.qualities[layer, rank]:.3f}"] if found.qualities is not None else []
            cells += [f"{found.inside[layer, rank]:.0%}"] if found.inside is not None else []
        table.add_row(*cells, "-" if found.iou is None else f"{found.iou[rank]:.2f}")
    return table


def _span(window: Any) -> str:
    return f"{window[0]:.1f}–{window[1]:.1f}"
