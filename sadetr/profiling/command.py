"""Profile a few steps of a run: four short epochs of its training, of which the measurements alone are kept."""

import contextlib
import json
import math
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch.profiler import ProfilerActivity, profile

from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.feeding import Feeder
from sadetr.data.labelling import trainable
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError
from sadetr.files import atomic_path, atomic_write_text
from sadetr.models.construction import make_method
from sadetr.profiling.instruments import watched
from sadetr.profiling.limits import Limits, measure_limits
from sadetr.profiling.parts import OperatorCounter, Parts, Total
from sadetr.profiling.report import PartRow, part_rows, table
from sadetr.provenance import commit, system
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.allocation import keep_freed_memory
from sadetr.training.checkpoint import TrainingState
from sadetr.training.devices import Share, claimed, device_name
from sadetr.training.loop import Trainer
from sadetr.training.placement import Placement
from sadetr.training.recorders import way_of
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.steps import StepKind

PASSES = 4
"""Epochs: to warm up, to time, to count operators, to trace."""


@dataclass(frozen=True)
class Work:
    """What is trained on in each pass, and what a whole epoch of the run has instead."""

    training: Split
    validation: dict[str, Split]
    steps: int
    epoch_steps: int
    epoch_queries: int
    """Of all selection splits."""

    @property
    def measured_queries(self) -> int:
        """Queries that a pass validates on."""
        return sum(map(len, self.validation.values()))

    def fed_by(self, feeder: Feeder) -> "Work":
        """The same work, its features brought by ``feeder``."""
        validation = {name: split.fed_by(feeder) for name, split in self.validation.items()}
        return replace(self, training=self.training.fed_by(feeder), validation=validation)


def profile_run(settings: RunSettings, store: Path, annotations: dict[str, Path], steps: int, out: Path) -> None:
    """Print a table of the parts of a training step and write ``profile.json`` and ``trace.json`` (for Chrome).

    Args:
        settings: resolved settings of the run; nothing in its folder is read or written.
        store: prepared features.
        annotations: split -> annotation file.
        steps: training steps of each pass; validation is on as many batches.
        out: folder of both files; created if needed.

    Raises:
        SadetrError: features or annotations are not usable, or there is no GPU where one must be, before any measuring.
    """
    features = FeatureStore.open(store)
    work = _read(settings, features, annotations, steps)
    splits = [work.training, *work.validation.values()]
    placement = Placement(settings.execution.features, features, splits, settings.training.batch_size)
    with claimed(settings.execution.device, share=Share(features_mib=placement.resident_mib)) as claim:
        device, way = claim.device, way_of(settings.execution.step, claim)
        make_deterministic(settings.execution.threads)
        keep_freed_memory()
        limits = measure_limits(device)
        out.mkdir(parents=True, exist_ok=True)
        work = work.fed_by(placement.feeder(claim))
        timed, counted = _measure(settings, work, device, out)
        rows = part_rows(timed, counted, limits, work.steps)
        print("\n".join(_report(settings, work, limits, rows, device, way)))
        print(f"{out / 'profile.json'}\n{out / 'trace.json'}")
        values = _values(settings, work, limits, rows, device, way)
    atomic_write_text(out / "profile.json", json.dumps(values, indent=2) + "\n")


def _read(settings: RunSettings, store: FeatureStore, annotations: dict[str, Path], steps: int) -> Work:
    dataset, size = settings.dataset, settings.training.batch_size
    most = steps * size
    rows = trainable(read_annotations(annotations[dataset.train_split], dataset.annotation_rules), dataset)
    if not rows:
        raise DataError(f"{annotations[dataset.train_split]}: no query has the labels that training needs")
    queries = {
        split: read_annotations(annotations[split], dataset.annotation_rules) for split in dataset.selection_splits
    }
    return Work(
        training=Split(rows[:most], store, dataset),
        validation={split: Split(found[:most], store, dataset) for split, found in queries.items()},
        steps=math.ceil(min(most, len(rows)) / size),
        epoch_steps=math.ceil(len(rows) / size),
        epoch_queries=sum(map(len, queries.values())),
    )


def _measure(
    settings: RunSettings, work: Work, device: torch.device, out: Path
) -> tuple[dict[str, Total], dict[str, Total]]:
    """Totals of the timed and of the counted pass; writes the trace of the last."""
    # Every pass ends with a validation, and the schedule of the real training holds.
    training = settings.training
    short = training.model_copy(update={"epochs": max(training.epochs, PASSES), "validate_every": 1})
    profiled = settings.model_copy(update={"training": short})
    Streams(settings.seed).seed_global("initialisation", 0)
    model = make_method(settings).to(device)
    state = TrainingState("")
    # A recorded step has no parts.
    trainer = Trainer(model, profiled, work.training, work.validation, state, "plain")
    epochs = trainer.epochs()
    parts = Parts(device)
    with tempfile.TemporaryDirectory(dir=out) as folder, watched(parts, model):

        def epoch() -> dict[str, Total]:
            parts.forget()
            # The loop's own lines about its epochs are no result of this command.
            with contextlib.redirect_stdout(sys.stderr):
                next(epochs).save(Path(folder) / "state.safetensors")
            return parts.totals

        epoch()
        timed = epoch()
        with OperatorCounter(parts):
            counted = epoch()
        parts.tracing = True
        activities = [ProfilerActivity.CPU] + [ProfilerActivity.CUDA] * (device.type == "cuda")
        with profile(activities=activities) as trace:
            epoch()
        with contextlib.redirect_stdout(sys.stderr):
            epochs.close()
    with atomic_path(out / "trace.json") as temporary:
        trace.export_chrome_trace(str(temporary))
    return timed, counted


def _report(
    settings: RunSettings, work: Work, limits: Limits, rows: list[PartRow], device: torch.device, way: StepKind
) -> Iterator[str]:
    name = f"{settings.setting}/{settings.method}/{settings.variant}/seed{settings.seed}"
    yield f"{name}: {work.steps} steps of {settings.training.batch_size} queries on {device_name(device)}"
    precision = settings.training.precision
    trained = "" if way == "plain" else f", part by part; a training has {way} steps"
    yield f"steps: plain, {precision}{trained}"
    yield (
        f"limits, measured: {limits.flops_per_second / 1e9:,.0f} GFLOP/s (matrix product, float32), "
        f"{limits.bytes_per_second / 1e9:,.1f} GB/s (copy)"
    )
    yield ""
    yield from table(rows)
    yield ""
    yield f"training: per step; all else: per epoch, validation of {work.measured_queries} queries."
    yield "gathering at the outermost level: per batch, in threads beside the step, which waits for what is not ready."
    yield "FLOP of matrix products and convolutions; bytes as if nothing stayed in a cache, so `of limit` is a bound."
    seconds = epoch_seconds(rows, work)
    whole = sum(seconds.values())
    shares = ", ".join(f"{part} {value:,.2f} s ({value / whole:.1%})" for part, value in seconds.items())
    yield f"a whole epoch ({work.epoch_steps} steps, {work.epoch_queries} queries validated), scaled up: {shares}"


def epoch_seconds(rows: list[PartRow], work: Work) -> dict[str, float]:
    """What an epoch of the run takes, scaled up from the measured one; its state is written beside the next one."""
    factors = {
        "training": work.epoch_steps,
        "validation": work.epoch_queries / work.measured_queries,
        "snapshot": 1,
    }
    return {row.path: row.milliseconds / 1000 * factors[row.path] for row in rows if row.path in factors}


def _values(
    settings: RunSettings, work: Work, limits: Limits, rows: list[PartRow], device: torch.device, way: StepKind
) -> dict[str, Any]:
    return {
        "run": f"{settings.setting}/{settings.method}/{settings.variant}/seed{settings.seed}",
        "device": device_name(device),
        "features_mode": work.training.features_mode,
        **system(),
        "commit": commit(),
        "steps": work.steps,
        "batch_size": settings.training.batch_size,
        "precision": settings.training.precision,
        "step": "plain",
        "step_in_training": way,
        "limits": vars(limits),
        "epoch_s": epoch_seconds(rows, work),
        "parts": [row.values() for row in rows],
    }
