"""Where every number of a report comes from: plain data for the dialogs of its page.

``cells`` (experiment -> row -> metric) name their ``runs``, which are written down once: ``runs`` by name, and
``settings``, which all seeds of a network share, by that name without the seed. Lists of facts are pairs of a name and
a text, in the order in which they are shown.
"""

import json
import math
import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from sadetr.configuration import ScaleSettings, resolve_dataset
from sadetr.differences import differences, full_model
from sadetr.documents.model import ABSENT
from sadetr.experiments import Experiment, Row, RunId
from sadetr.progress import duration
from sadetr.reporting.comparison import ComparedCell, Comparison
from sadetr.reporting.comparison_pages import HEADER, printed
from sadetr.reporting.metrics import read_history, read_metrics
from sadetr.reporting.run_state import RunState, state_of
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.tables import selected

Facts = list[tuple[str, str]]
LOSS = "loss"
"""Column of a history: the whole objective."""
DIGITS = 4
"""Significant digits of the values of a curve."""


def report_facts(
    experiments: Sequence[Experiment], scale: ScaleSettings, comparison: Comparison, source: ScaleResults
) -> dict[str, Any]:
    """Facts about every cell of ours in ``comparison``, as plain data.

    Raises:
        ResultsError: a run's provenance, metrics or history is unreadable.
    """
    rows = {(experiment.name, row.key): (experiment, row) for experiment in experiments for row in experiment.rows}
    uses: dict[RunId, list[tuple[Experiment, Row]]] = {}
    for use in rows.values():
        for run in use[1].runs:
            uses.setdefault(run, []).append(use)
    cells: dict[str, dict[str, dict[str, Any]]] = {}
    for cell in comparison.cells:
        if cell.kind == "trained":
            experiment, row = rows[cell.experiment, cell.row]
            known = cells.setdefault(cell.experiment, {}).setdefault(cell.row, {})
            known[cell.metric] = _cell(experiment, row, cell, scale, source)
    return {
        "scale": scale.name,
        "banner": comparison.banner,
        "cells": cells,
        "runs": {str(run): _run(run, used, scale, source) for run, used in uses.items()},
        "settings": {_network(run): _settings(run, scale) for run in uses},
    }


def _network(run: RunId) -> str:
    return f"{run.setting}/{run.method}/{run.variant}"


def _cell(
    experiment: Experiment, row: Row, cell: ComparedCell, scale: ScaleSettings, source: ScaleResults
) -> dict[str, Any]:
    values = source.seed_values(row.runs, experiment.split, row.checkpoint, cell.metric)
    dataset = resolve_dataset(row.runs[0].setting, scale.reference)
    shown = dict(zip(HEADER, printed(cell), strict=True))
    facts = [("row", cell.label), *((name, shown[name]) for name in HEADER[2:]), ("split", cell.split)]
    facts.append(("weights", f"{row.checkpoint}: {selected(row.checkpoint, dataset, experiment.split)}"))
    facts.append(("on the paper's number", cell.paper.note if cell.paper else ""))
    return {
        "title": f"{short_caption(experiment)}, row {row.key}: {cell.metric}",
        "metric": cell.metric,
        "series": f"{experiment.split}/{cell.metric}",
        "checkpoint": row.checkpoint,
        "facts": [(name, text) for name, text in facts if text not in ("", ABSENT)],
        "runs": [str(run) for run in row.runs],
        "values": {str(run): f"{values[run.seed]:.2f}" for run in row.runs if run.seed in values},
    }


def short_caption(experiment: Experiment) -> str:
    """``Table 4``; the name where it has no number."""
    return experiment.name if experiment.number is None else f"{experiment.kind.capitalize()} {experiment.number}"


def _settings(run: RunId, scale: ScaleSettings) -> dict[str, Any]:
    full = full_model(run, scale.reference)
    differs = [
        (found.key, _printed(found.value), _printed(found.full), found.origin)
        for found in differences(run, scale.reference)
    ]
    return {"full": f"{full.method}/{full.variant}", "differs": differs}


def _printed(value: Any) -> str:
    """A value as a configuration file has it, on one line."""
    return json.dumps(value, ensure_ascii=False).strip('"')


def _run(run: RunId, uses: Sequence[tuple[Experiment, Row]], scale: ScaleSettings, source: ScaleResults) -> dict:
    state = state_of(run, source, scale.reference)
    dataset = resolve_dataset(run.setting, scale.reference)
    streams = " + ".join([*(stream.name for stream in dataset.video_streams), dataset.text_stream.source])
    fills = ", ".join(f"{short_caption(experiment)} {row.key}" for experiment, row in uses)
    facts = [
        ("state", state.state),
        ("seed", str(run.seed)),
        ("benchmark", dataset.title),
        ("data", f"{scale.data}: {streams}"),
        *_made(state.provenance),
        *_predictions(run, source),
        ("fills", fills),
    ]
    return {
        "settings": _network(run),
        "epochs": state.provenance.get("epochs", {}),
        "notes": _notes(state, uses[0][0], scale),
        "facts": facts,
        "curves": _curves(run, {metric for experiment, _ in uses for metric in experiment.metrics}, source),
    }


def _notes(state: RunState, experiment: Experiment, scale: ScaleSettings) -> list[str]:
    """What is not as it should be, and what to do about it."""
    command = making(experiment, scale)
    if state.state != "trained":
        return [f"This run is {state.state}. Make it: {command}"]
    changed = " and ".join(state.outdated)
    return [f"This run was trained with other {changed}. Train it again: {command}"] if changed else []


def making(experiment: Experiment, scale: ScaleSettings) -> str:
    """The command that makes a table or figure and the runs that it needs."""
    chosen = [] if scale.reference == "mini" else ["--config", f"scale={scale.reference}"]
    return shlex.join(["snakemake", "--cores", "1", experiment.name, *chosen])


def _made(provenance: Mapping[str, Any]) -> Facts:
    """What a finished run says of itself; nothing of one that is not."""
    if not provenance:
        return []
    epochs = ", ".join(f"{name} {epoch}" for name, epoch in provenance.get("epochs", {}).items())
    versions = ", ".join(f"{name} {provenance.get(name, ABSENT)}" for name in ("python", "torch", "numpy"))
    gpu = provenance.get("peak_gpu_bytes", 0)
    seconds, unlabelled = provenance.get("train_seconds"), provenance.get("training_queries_without_labels", 0)
    facts = [
        ("selected epochs", epochs),
        ("device", provenance.get("device")),
        ("time", duration(seconds) if seconds is not None else None),
        ("peak GPU memory", f"{gpu / 2**30:.2f} GiB{_beside(provenance)}" if gpu else None),
        ("parameters", _count(provenance.get("parameters"))),
        ("training queries", _count(provenance.get("training_queries"))),
        ("left out without labels", _count(unlabelled) if unlabelled else None),
        ("commit", provenance.get("commit")),
        ("fingerprint of the code", provenance.get("code_fingerprint")),
        ("fingerprint of the settings", provenance.get("config_fingerprint")),
        ("features", provenance.get("features")),
        ("annotations", provenance.get("annotations")),
        ("versions", versions),
        *((f"weights {name}", digest) for name, digest in provenance.get("weights_sha256", {}).items()),
    ]
    return [(name, str(text)) for name, text in facts if text]


def _beside(provenance: Mapping[str, Any]) -> str:
    """What the memory of a GPU held beside the training, as far as that is recorded."""
    mode = provenance.get("features_mode")
    if mode is None:
        return ""
    return ", resident features included" if mode == "resident" else f", features {mode}"


def _count(value: int | None) -> str | None:
    return None if value is None else f"{value:,}"


def _predictions(run: RunId, source: ScaleResults) -> Facts:
    """Checksums of the files that were scored."""
    path = source.run(run).metrics
    rows = read_metrics(path).select(["checkpoint", "split", "predictions_sha256"]).to_pylist() if path.exists() else []
    sums = {(row["checkpoint"], row["split"]): row["predictions_sha256"] for row in rows}
    return [(f"predictions {checkpoint}.{split}", digest) for (checkpoint, split), digest in sorted(sums.items())]


def _curves(run: RunId, metrics: set[str], source: ScaleResults) -> dict[str, Any] | None:
    """Loss and validated ``metrics`` by epoch; None without a history."""
    path = source.run(run).history
    if not path.exists():
        return None
    history = read_history(path)
    names = [name for name in history.schema.names if name == LOSS or name.partition("/")[2] in metrics]
    series = {name: [_short(value) for value in history[name].to_pylist()] for name in names}
    return {"epochs": history["epoch"].to_pylist(), "series": series}


def _short(value: float | None) -> float | None:
    """For drawing; what is no number has no place in JSON."""
    return float(f"{value:.{DIGITS}g}") if value is not None and math.isfinite(value) else None
