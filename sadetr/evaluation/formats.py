"""Metrics for readers: terminal tables and JSON. Only here are numbers rounded (docs/metrics.md, "Rounding")."""

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from sadetr.evaluation.highlight_detection import LEVELS
from sadetr.evaluation.moment_retrieval import FULL, PRECISION_THRESHOLDS, RANGES, RECALL_THRESHOLDS

if TYPE_CHECKING:
    from rich.table import Table

    from sadetr.evaluation.significance import Difference

Metrics = Mapping[str, float | None]
Intervals = Mapping[str, tuple[float, float] | None]
MOMENT_COLUMNS = ("R1@0.3", "R1@0.5", "R1@0.7", "mIoU", "mAP@0.5", "mAP@0.75", "mAP")


def rounded(value: float | None) -> float | None:
    """Two decimals, as the field prints them: the binary value is rounded correctly, None stays None."""
    return None if value is None else float(f"{value:.2f}")


def moment_detr_json(metrics: Metrics) -> dict[str, Any]:
    """The structure that the evaluator of Moment-DETR writes: ``brief``, then every level and range.

    An empty length range, on which that evaluator fails, has null for its values.
    """
    return _official_json(metrics, tuple(t for t in RECALL_THRESHOLDS if t >= PRECISION_THRESHOLDS[0]), mean_iou=False)


def cg_detr_json(metrics: Metrics) -> dict[str, Any]:
    """The structure that CG-DETR's evaluator writes: Moment-DETR's with mIoU, and R1 from 0.3."""
    return _official_json(metrics, RECALL_THRESHOLDS, mean_iou=True)


FORMATS: dict[str, Callable[[Metrics], dict[str, Any]] | None] = {
    "flat": None,
    "moment-detr": moment_detr_json,
    "cg-detr": cg_detr_json,
}
"""Writers of the JSON file; None stands for this project's own structure, unrounded."""


def metrics_tables(metrics: Metrics, counted: Mapping[str, int], intervals: Intervals | None = None) -> "list[Table]":
    """Moment retrieval by length range, the queries behind it and, where defined, highlight detection by level."""
    moments = _table("moment retrieval", MOMENT_COLUMNS)
    queries = _table("queries counted", ("R1, mIoU", "mAP"))
    for name in RANGES:
        prefix = "" if name == FULL else f"{name}/"
        cells = (_cell(f"{prefix}{column}", metrics, intervals) for column in MOMENT_COLUMNS)
        numbers = [counted[f"{prefix}{metric}"] for metric in ("mIoU", "mAP")]
        moments.add_row(_label(name, intervals) if numbers[0] else f"{name} (no queries)", *cells)
        queries.add_row(name, *map(str, numbers))
    if "HD_mAP" not in metrics:
        return [moments, queries]
    highlights = _table("highlight detection", ("mAP", "HIT@1", "queries"))
    for level in LEVELS:
        cells = (_cell(f"{metric}@{level}", metrics, intervals) for metric in ("HD_mAP", "HIT@1"))
        highlights.add_row(_label(level, intervals), *cells, str(counted[f"HD_mAP@{level}"]))
    return [moments, queries, highlights]


def differences_table(metrics: Metrics, other: Metrics, differences: "Mapping[str, Difference | None]") -> "Table":
    """The tables' main metrics of two prediction files, their difference and its p-value."""
    table = _table("paired comparison", ("this", "other", "difference", "p"))
    for name in (*MOMENT_COLUMNS, "HD_mAP", "HIT@1"):
        if name not in metrics:
            continue
        difference = differences[name]
        tested = ("", "") if difference is None else (f"{difference.value:+.2f}", f"{difference.p:.4f}")
        table.add_row(name, _cell(name, metrics, None), _cell(name, other, None), *tested)
    return table


def _official_json(metrics: Metrics, recall_thresholds: Sequence[float], mean_iou: bool) -> dict[str, Any]:
    ranges = {name: _official_range(metrics, name, recall_thresholds, mean_iou) for name in sorted(RANGES)}
    full = ranges[FULL]
    brief = {f"MR-full-R1@{t}": full["MR-R1"][str(t)] for t in (0.3, 0.5, 0.7) if t in recall_thresholds}
    brief["MR-full-mAP"] = full["MR-mAP"]["average"]
    brief |= {f"MR-full-mAP@{t}": full["MR-mAP"][str(t)] for t in (0.5, 0.75)}
    if mean_iou:
        brief["MR-full-mIoU"] = full["MR-mIoU"]
    brief |= {f"MR-{name}-mAP": ranges[name]["MR-mAP"]["average"] for name in sorted(RANGES) if name != FULL}
    levels: dict[str, Any] = {}
    if "HD_mAP" in metrics:
        for level in LEVELS:
            values = {"mAP": rounded(metrics[f"HD_mAP@{level}"]), "Hit1": rounded(metrics[f"HIT@1@{level}"])}
            levels[f"HL-min-{level}"] = {f"HL-{name}": value for name, value in values.items()}
            brief |= {f"HL-min-{level}-{name}": value for name, value in values.items()}
    return {"brief": brief, **levels, **ranges}


def _official_range(metrics: Metrics, name: str, recall_thresholds: Sequence[float], mean_iou: bool) -> dict[str, Any]:
    prefix = "" if name == FULL else f"{name}/"
    section: dict[str, Any] = {"MR-mIoU": rounded(metrics[f"{prefix}mIoU"])} if mean_iou else {}
    section["MR-mAP"] = {str(t): rounded(metrics[f"{prefix}mAP@{t}"]) for t in PRECISION_THRESHOLDS}
    section["MR-mAP"]["average"] = rounded(metrics[f"{prefix}mAP"])
    section["MR-R1"] = {str(t): rounded(metrics[f"{prefix}R1@{t}"]) for t in recall_thresholds}
    return section


def _table(title: str, columns: Sequence[str]) -> "Table":
    from rich.box import SIMPLE
    from rich.table import Table

    table = Table(title, box=SIMPLE, padding=(0, 1, 0, 0))
    for column in columns:
        table.add_column(column, justify="right")
    return table


def _label(name: str, intervals: Intervals | None) -> str:
    return name if intervals is None else f"{name}\n  low\n  high"


def _cell(name: str, metrics: Metrics, intervals: Intervals | None) -> str:
    """The value, and below it the ends of its interval."""
    value = metrics[name]
    if value is None:
        return "-"
    interval = intervals[name] if intervals is not None else None
    return "\n".join(f"{number:.2f}" for number in (value, *(interval or ())))
