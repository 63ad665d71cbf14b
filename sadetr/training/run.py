"""One run from prepared features to checkpoints, history and predictions; can be killed at any moment and repeated."""

import hashlib
import json
import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import filelock
import pyarrow.parquet as pq
import torch

from sadetr import progress
from sadetr.configuration import load_method
from sadetr.data.annotations import read_annotations
from sadetr.data.batches import Split
from sadetr.data.feeding import Feeder
from sadetr.data.labelling import labelled_in, left_out_of_scores, left_out_of_training, trainable, unmet
from sadetr.data.store import FeatureStore
from sadetr.errors import DataError, ResultsError
from sadetr.evaluation.predictions import write_predictions
from sadetr.files import atomic_path, atomic_write_text, raise_unwritable, remove_leftovers
from sadetr.layout import RunFolder
from sadetr.models.construction import make_method
from sadetr.models.interface import Method
from sadetr.provenance import code_fingerprint, commit, config_fingerprint, system
from sadetr.randomness import Streams
from sadetr.settings import RunSettings
from sadetr.training.allocation import keep_freed_memory
from sadetr.training.checkpoint import TrainingState, Weights, digest, write_tensors
from sadetr.training.devices import WHOLE, Claim, Share, claimed, device_name
from sadetr.training.history import history_table
from sadetr.training.loop import Predicted, Trainer
from sadetr.training.placement import Placement, other_splits
from sadetr.training.prediction import predict
from sadetr.training.recorders import way_of
from sadetr.training.reproducibility import make_deterministic
from sadetr.training.saving import BackgroundSaver
from sadetr.training.steps import StepKind


@dataclass(frozen=True)
class Data:
    """What a run reads."""

    training: Split
    """Rows of the training split that have labels."""
    splits: dict[str, Split]
    """All rows of every split."""

    def placement(self, settings: RunSettings, store: FeatureStore) -> Placement:
        """How the features that the run needs are to be brought to its device."""
        others = [self.splits[name] for name in other_splits(settings)]
        return Placement(settings.execution.features, store, [self.training, *others], settings.training.batch_size)

    def fed_by(self, feeder: Feeder, names: Sequence[str]) -> "Data":
        """The same, the training's rows and the splits with one of the ``names`` brought by ``feeder``."""
        splits = {name: split.fed_by(feeder) if name in names else split for name, split in self.splits.items()}
        return Data(self.training.fed_by(feeder), splits)


def train(
    settings: RunSettings,
    store_path: Path,
    annotations: dict[str, Path],
    folder: Path,
    gpus: int = 0,
    share: Share = WHOLE,
) -> None:
    """Train one run, or finish one that was interrupted.

    Args:
        settings: resolved settings of the run.
        store_path: prepared features.
        annotations: split -> annotation file.
        folder: of the run; created if needed.
        gpus: that this job was given; with any, ``execution.device: auto`` does not fall back to the CPU.
        share: of a GPU; no part of what is trained, whose bits are those of a run that is alone.

    Raises:
        SadetrError: features, annotations or the folder are not usable; a split that is trained or selected on has no
            labels; or there is no GPU where one must be, or too little free memory.
    """
    run = RunFolder(folder)
    store = FeatureStore.open(store_path)
    fingerprints = {
        "code_fingerprint": code_fingerprint("sadetr.training.run", load_method(settings.method).module),
        "config_fingerprint": config_fingerprint(settings),
        "features": store.digest,
        "annotations": _annotations_digest(annotations),
    }
    with _exclusive(folder):
        if _is_complete(run, settings, fingerprints):
            print(f"{folder}: already trained with these settings and this code")
            # A kill between the last output and this line leaves the state behind.
            _drop_state(run)
            return
        # Others write here too: `predict` and `evaluate`, whose files are none of the training's.
        remove_leftovers([*_files(run, settings), run.state, folder / progress.FILE])
        data = _read(settings, store, annotations)
        placement = data.placement(settings, store)
        share = replace(share, features_mib=placement.resident_mib)
        with claimed(settings.execution.device, allotted=gpus, share=share) as claim:
            way = way_of(settings.execution.step, claim)
            make_deterministic(settings.execution.threads)
            keep_freed_memory()
            data = data.fed_by(placement.feeder(claim), other_splits(settings))
            model = _initialised(settings).to(claim.device)
            state = _load_state(run, _state_fingerprint(fingerprints, claim.device))
            trainer = _train(run, settings, model, data, state, way)
            _finish(run, settings, model, data, trainer, fingerprints, claim)


def _read(settings: RunSettings, store: FeatureStore, annotations: dict[str, Path]) -> Data:
    """Read every split; say which rows have no labels, and refuse what cannot be trained or selected without."""
    dataset = settings.dataset
    queries = {split: read_annotations(file, dataset.annotation_rules) for split, file in annotations.items()}
    for _, message in unmet(dataset, annotations, lambda split, needs: labelled_in(queries[split], needs)):
        raise DataError(message)
    splits = {split: Split(rows, store, dataset) for split, rows in queries.items()}
    rows = queries[dataset.train_split]
    if remark := left_out_of_training(rows, dataset):
        print(f"warning: {annotations[dataset.train_split]}: {remark}", flush=True)
    for split in dataset.selection_splits:
        for remark in left_out_of_scores(queries[split], dataset.highlights):
            print(f"warning: {annotations[split]}: in selecting checkpoints, {remark}", flush=True)
    labelled = trainable(rows, dataset)
    whole = len(labelled) == len(rows)
    return Data(splits[dataset.train_split] if whole else Split(labelled, store, dataset), splits)


def _train(
    run: RunFolder, settings: RunSettings, model: Method, data: Data, state: TrainingState, way: StepKind
) -> Trainer:
    """Train the remaining epochs; returns what trained them."""
    print(
        f"{settings.method}/{settings.variant} seed {settings.seed}: {_parameters(model):,} parameters, "
        f"{len(data.training):,} training queries",
        flush=True,
    )
    if state.epoch:
        print(f"continuing after epoch {state.epoch} of {settings.training.epochs}", flush=True)
    trainer = Trainer(model, settings, data.training, data.splits, state, way)
    device = next(model.parameters()).device
    progress.write(run.path, _progress(settings, state, device))

    def saved(reached: TrainingState) -> None:
        # Not before: an epoch that others hear of is one from which the training can go on.
        progress.write(run.path, _progress(settings, reached, device))

    with BackgroundSaver(run.state, saved) as saver:
        for reached in trainer.epochs():
            saver.save(reached)
    return trainer


def _progress(settings: RunSettings, state: TrainingState, device: torch.device) -> progress.Progress:
    """What others may know while this runs."""
    best = state.chosen.get("best")
    return progress.Progress(
        epoch=state.epoch,
        epochs=settings.training.epochs,
        seconds=state.seconds,
        metric=settings.dataset.selection.title,
        best=None if best is None else best.value,
        device=device_name(device),
        machine=platform.node(),
        time=time.time(),
    )


def _finish(
    run: RunFolder,
    settings: RunSettings,
    model: Method,
    data: Data,
    trainer: Trainer,
    fingerprints: dict[str, str],
    claim: Claim,
) -> None:
    """Write everything that a finished run holds, its provenance last, then drop the state."""
    device, state, updates = claim.device, trainer.state, trainer.updates
    weights = {name: chosen.weights for name, chosen in state.chosen.items()} | {"last": state.weights}
    epochs = {name: chosen.epoch for name, chosen in state.chosen.items()} | {"last": state.epoch}
    for name in settings.dataset.checkpoints:
        write_tensors(run.checkpoint(name), weights[name], {"epoch": str(epochs[name]), **fingerprints})
    _write_predictions(run, settings, model, weights, epochs, data.splits, trainer.predicted, device)
    atomic_write_text(run.config, settings.model_dump_json(indent=2) + "\n")
    with atomic_path(run.history) as temporary:
        pq.write_table(history_table(state.history), temporary)
    provenance: dict[str, Any] = {
        **fingerprints,
        **system(),
        "commit": commit(),
        "device": device_name(device),
        "gpu_slot": claim.slot,
        "runs_per_gpu": claim.runs_per_gpu,
        "features_mode": data.training.features_mode,
        # Graphs are of the process that ends the training, steps of all.
        "step": {"way": updates.kind, "graphs": updates.graphs, "steps": state.steps},
        "train_seconds": state.seconds,
        "peak_gpu_bytes": torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
        "parameters": _parameters(model),
        "epochs": epochs,
        "training_queries": len(data.training),
        "training_queries_without_labels": len(data.splits[settings.dataset.train_split]) - len(data.training),
        "weights_sha256": {name: digest(values) for name, values in weights.items()},
        "files_sha256": _checksums(run, settings),
    }
    atomic_write_text(run.provenance, json.dumps(provenance, indent=2) + "\n")
    _drop_state(run)


def _checksums(run: RunFolder, settings: RunSettings) -> dict[str, str]:
    """File, relative to the run folder -> SHA-256: everything that a training leaves but the provenance itself."""
    files = [file for file in _files(run, settings) if file != run.provenance]
    return {str(file.relative_to(run.path)): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def _files(run: RunFolder, settings: RunSettings) -> list[Path]:
    """Everything that a training leaves."""
    names, splits = settings.dataset.checkpoints, settings.dataset.report_splits
    predictions = [run.prediction(name, split) for name in names for split in splits]
    return [*run.trained, *map(run.checkpoint, names), *predictions]


def _drop_state(run: RunFolder) -> None:
    run.state.unlink(missing_ok=True)
    progress.remove(run.path)


def _write_predictions(
    run: RunFolder,
    settings: RunSettings,
    model: Method,
    weights: dict[str, Weights],
    epochs: dict[str, int],
    splits: dict[str, Split],
    predicted: Predicted,
    device: torch.device,
) -> None:
    """Write predictions of every checkpoint on every reported split; an epoch predicts once, also in its validation."""
    training = settings.training
    names: dict[int, list[str]] = {}
    for name in settings.dataset.checkpoints:
        names.setdefault(epochs[name], []).append(name)
    for same in names.values():
        model.load_state_dict(weights[same[0]])
        for split in settings.dataset.report_splits:
            predictions = predicted.get(epochs[same[0]], {}).get(split)
            if predictions is None:
                predictions = predict(model, splits[split], training.batch_size, device, ranking=training.ranking)
            rows = predictions.rows(splits[split].queries)
            for name in same:
                write_predictions(run.prediction(name, split), rows)


def _parameters(model: Method) -> int:
    return sum(parameter.numel() for parameter in model.parameters())


def _initialised(settings: RunSettings) -> Method:
    Streams(settings.seed).seed_global("initialisation", 0)
    return make_method(settings)


def _state_fingerprint(fingerprints: dict[str, str], device: torch.device) -> str:
    """Continuing is bit-identical only on the same code, settings, data, torch and device."""
    parts = [*fingerprints.values(), system()["torch"], device_name(device)]
    return " | ".join(parts)


def _annotations_digest(annotations: dict[str, Path]) -> str:
    """Hash of the annotation files' content, wherever they lie."""
    files = {split: file for split, file in annotations.items() if file.exists()}
    sums = {split: hashlib.sha256(file.read_bytes()).hexdigest() for split, file in files.items()}
    return hashlib.sha256(json.dumps(sums, sort_keys=True).encode()).hexdigest()[:16]


def _load_state(run: RunFolder, fingerprint: str) -> TrainingState:
    """The state to continue from; a fresh one where there is none, or one that cannot be continued bit for bit."""
    if not run.state.exists():
        return TrainingState(fingerprint)
    try:
        state = TrainingState.load(run.state)
        if state.fingerprint == fingerprint:
            return state
        reason = f"{run.state}: belongs to other code, settings, data or hardware"
    except ResultsError as error:
        reason = str(error)
    print(f"{reason}; training from the start", flush=True)
    run.state.unlink()
    return TrainingState(fingerprint)


def _is_complete(run: RunFolder, settings: RunSettings, fingerprints: dict[str, str]) -> bool:
    if not all(path.exists() for path in _files(run, settings)):
        return False
    recorded = json.loads(run.provenance.read_text())
    return all(recorded.get(key) == value for key, value in fingerprints.items())


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    """Wait for whoever else is training this run: a process that outlived a killed Snakemake, say."""
    lock = filelock.FileLock(folder / progress.LOCK)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=0)
    except filelock.Timeout:
        print(f"{folder}: another process is training this run; waiting for it", flush=True)
        lock.acquire()
    except OSError as error:
        raise_unwritable(folder / progress.LOCK, error)
    try:
        yield
    finally:
        lock.release()
