"""The training loop: knows batches, losses and epochs, and no method by name."""

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from sadetr.data.batches import Split, TrainingEpochs
from sadetr.data.query import Query
from sadetr.errors import SadetrError, SettingsError
from sadetr.evaluation.moment_retrieval import FULL
from sadetr.evaluation.prediction_arrays import PredictionArrays
from sadetr.evaluation.scorer import GroundTruth, metrics_of
from sadetr.models.interface import Batch, Method, Step
from sadetr.randomness import Streams
from sadetr.settings import DatasetSettings, RunSettings, Selection
from sadetr.training.checkpoint import Chosen, TrainingState, optimiser_tensors, restore_optimiser, snapshot
from sadetr.training.diagnostics import ObservedPredictions, StandstillWarnings
from sadetr.training.optimiser import set_rate
from sadetr.training.padding import Padding
from sadetr.training.prediction import predict
from sadetr.training.recorders import make_step
from sadetr.training.schedule import learning_rate
from sadetr.training.steps import Columns, StepKind

Predicted = dict[int, dict[str, PredictionArrays]]
"""Epoch -> split -> what its validation predicted."""


class DivergedError(SadetrError):
    """The loss is no longer a number."""


class Trainer:
    """Trains one method from a :class:`TrainingState`, an epoch at a time."""

    def __init__(
        self,
        model: Method,
        settings: RunSettings,
        train: Split,
        validation: dict[str, Split],
        state: TrainingState,
        way: StepKind = "plain",
    ) -> None:
        """Continue ``state`` (a fresh one has epoch 0) with ``model`` already on its device.

        ``validation`` holds at least the splits that the dataset's checkpoints are selected on; ``way`` is what
        ``settings.execution.step`` means on the device (:func:`sadetr.training.recorders.way_of`).
        """
        self._model = model
        self._settings = settings.training
        self._dataset = settings.dataset
        self._rules = {name: rule for name, rule in settings.dataset.checkpoints.items() if rule is not None}
        self._validation = {name: validation[name] for name in self._dataset.selection_splits}
        self._truth = {name: ground_truth(split.queries, self._dataset) for name, split in self._validation.items()}
        self._streams = Streams(settings.seed)
        self._device = next(model.parameters()).device
        self._padding = Padding(self._settings.padding, self._dataset, model.extendable)
        self._epochs: TrainingEpochs = train.training_epochs(
            self._settings.batch_size, self._streams, self._settings.bucket_batches, self._device
        )
        self._watched = self._watched_epochs(validation)
        self._batches = math.ceil(len(train) / self._settings.batch_size)
        self.updates = make_step(model, self._settings, way)
        self.updates.counts.update(state.steps)
        self._optimiser = self.updates.optimiser
        self._standstill = StandstillWarnings()
        self._warnings: list[str] = []
        self._latest: dict[str, PredictionArrays] = {}
        self.predicted: Predicted = {}
        """Of the chosen epochs and the last, as far as they were not predicted before an interruption."""
        self.state = state
        if state.epoch:
            model.load_state_dict(state.weights)
            restore_optimiser(self._optimiser, model, state.optimiser)

    def epochs(self) -> Iterator[TrainingState]:
        """Train the remaining epochs; yields the state after each, complete and ready to be saved."""
        with _progress(self._settings.epochs, self._batches) as report:
            while self.state.epoch < self._settings.epochs:
                started = time.perf_counter()
                row = self._train_epoch(self.state.epoch, report)
                row |= self._watched_loss(self.state.epoch) | self._validate(self.state.epoch)
                row["seconds"] = time.perf_counter() - started
                self._update(row)
                report.epoch(row)
                for text in self._warnings:
                    report.warning(row["epoch"], text)
                yield self.state

    def _train_epoch(self, epoch: int, report: "Report") -> dict[str, Any]:
        self._streams.seed_global("dropout", epoch)
        step = Step(epoch, self._settings.epochs, self._streams.torch("method", epoch))
        self._model.train()
        totals: dict[tuple[str, ...], torch.Tensor] = {}
        diagnosed: dict[str, Any] = {}
        watched = [row[self._loss_column] for row in self.state.history if self._loss_column in row]
        rate = partial(learning_rate, self._settings, epoch, steps=self._batches, watched=watched)
        for index, batch in enumerate(self._epochs.epoch(epoch)):
            set_rate(self._optimiser, rate(step=index))
            diagnosis = diagnosed if index == 0 and self._is_diagnosed(epoch) else None
            moved = self._padding(batch.to(self._device))
            columns = self._step(moved, self._model.prepared(moved, step), diagnosis)
            # Sums stay on the device: reading them here would wait for the GPU in every step.
            totals[columns.names] = totals.get(columns.names, 0) + columns.values
            report.step(epoch)
        # Read together, once per epoch.
        sums: dict[str, float] = {}
        for names, values in totals.items():
            for name, value in zip(names, values.tolist(), strict=True):
                sums[name] = sums.get(name, 0.0) + value
        columns = {name: value / self._batches for name, value in sums.items()}
        means = {name.removeprefix("loss/"): value for name, value in columns.items() if name.startswith("loss/")}
        loss = sum(means.values())
        if not math.isfinite(loss):
            broken = ", ".join(name for name, value in means.items() if not math.isfinite(value))
            raise DivergedError(
                f"training diverged in epoch {epoch + 1}: {broken} is not finite. Lower training.learning_rate or "
                "check the features with `prepare`; the state before this epoch is kept."
            )
        return {"epoch": epoch + 1, "learning_rate": rate(step=0), "loss": loss} | columns | diagnosed

    def _step(self, batch: Batch, step: Step, diagnosis: dict[str, Any] | None = None) -> Columns:
        """One update. Fills ``diagnosis`` if there is one; without, a GPU is never waited for."""
        return self.updates(batch, step, diagnosis)

    @property
    def _loss_column(self) -> str:
        return f"{self._settings.schedule.watched_split}/loss"

    def _watched_epochs(self, splits: dict[str, Split]) -> TrainingEpochs | None:
        """The split that a schedule watches, with labels as in training; None for all other schedules."""
        schedule = self._settings.schedule
        if schedule.shape != "plateau":
            return None
        if schedule.watched_split not in splits:
            raise SettingsError(
                f"training.schedule.watched_split: {schedule.watched_split!r} is no split of the benchmark setting, "
                f"which has {', '.join(splits)}; name one of these, or another shape than 'plateau'"
            )
        watched = splits[schedule.watched_split]
        return watched.training_epochs(self._settings.batch_size, self._streams, device=self._device)

    def _watched_loss(self, epoch: int) -> dict[str, float]:
        """The objective on the watched split, without dropout: the mean over batches, the same ones in every epoch."""
        if self._watched is None:
            return {}
        self._model.eval()
        step = Step(epoch, self._settings.epochs, self._streams.torch("watched loss", 0))
        losses = []
        for batch in self._watched.epoch(0):
            moved = batch.to(self._device)
            with torch.no_grad():
                losses.append(sum(self._model.objective(self._model(moved, step), moved).values()))
        losses = torch.stack(losses).tolist()
        return {self._loss_column: sum(losses) / len(losses)}

    def _is_diagnosed(self, epoch: int) -> bool:
        every = self._settings.diagnostics
        return every > 0 and (epoch + 1) % every == 0

    def _validate(self, epoch: int) -> dict[str, Any]:
        """Metrics on every selection split in every ``validate_every``-th epoch and in the last."""
        finished, self._warnings, self._latest = epoch + 1, [], {}
        last = finished == self._settings.epochs
        if finished % self._settings.validate_every and not last:
            return {}
        row, spreads = {}, {}
        for name, split in self._validation.items():
            observed = ObservedPredictions()
            ranking = self._settings.ranking
            predictions = predict(self._model, split, self._settings.batch_size, self._device, observed, ranking)
            self._latest[name] = predictions
            metrics = metrics_of(self._truth[name].score(predictions))
            row |= {f"{name}/{metric}": value for metric, value in metrics.items()}
            self._warnings += self._standstill.after(name, observed, last)
            if self._is_diagnosed(epoch):
                spreads[f"spread/{name}"] = observed.spread()
        for rule in self._rules.values():
            _check_metrics(rule, row)
        return row | spreads

    def _update(self, row: dict[str, Any]) -> None:
        state = self.state
        state.epoch += 1
        state.seconds += row["seconds"]
        state.steps = dict(self.updates.counts)
        state.history.append(row)
        state.weights = snapshot(self._model)
        state.optimiser = optimiser_tensors(self._optimiser, self._model)
        for name, rule in self._rules.items():
            values = [row.get(f"{rule.split}/{metric}") for metric in rule.metrics]
            if None in values:
                continue
            value = sum(values) / len(values)
            # The first of equally good epochs stays.
            if name not in state.chosen or value > state.chosen[name].value:
                state.chosen[name] = Chosen(state.epoch, value, state.weights)
        kept = {state.epoch, *(chosen.epoch for chosen in state.chosen.values())}
        known = self.predicted | {state.epoch: self._latest}
        self.predicted = {number: predictions for number, predictions in known.items() if number in kept}


def ground_truth(queries: Sequence[Query], dataset: DatasetSettings) -> GroundTruth:
    """The labels of a selection split, for the metrics that checkpoints are selected by: those of all lengths."""
    return GroundTruth(queries, highlights=dataset.highlights, clip_length=dataset.clip_length, ranges=(FULL,))


def _check_metrics(rule: Selection, row: dict[str, Any]) -> None:
    for metric in rule.metrics:
        if row.get(f"{rule.split}/{metric}") is None:
            known = [name.removeprefix(f"{rule.split}/") for name, value in row.items() if value is not None]
            raise SettingsError(
                f"a selection rule of the benchmark setting holds {metric!r}, which has no value on {rule.split!r}; "
                f"known: {', '.join(name for name in known if '/' not in name)}"
            )


class Report:
    """Progress: a bar on a terminal, one plain line per epoch in a log."""

    def __init__(self, epochs: int, batches: int, progress: Progress | None) -> None:
        self._epochs = epochs
        self._progress = progress
        self._task = None if progress is None else progress.add_task("", total=epochs * batches)
        self._batches = batches

    def step(self, epoch: int) -> None:
        """One training step of ``epoch`` (0-based) is done."""
        if self._progress is not None:
            description = f"epoch {epoch + 1}/{self._epochs}"
            self._progress.update(self._task, description=description, advance=1)

    def epoch(self, row: dict[str, Any]) -> None:
        """An epoch is done."""
        metrics = [f"{name} {row[name]:.2f}" for name in row if name.endswith(("/R1@0.5", "/mAP")) and row[name]]
        line = f"epoch {row['epoch']:>3}/{self._epochs}  loss {row['loss']:8.3f}  {'  '.join(metrics)}"
        line = f"{line}  {row['seconds']:.1f} s"
        if self._progress is None:
            print(line, flush=True)
        else:
            self._progress.update(self._task, completed=row["epoch"] * self._batches)
            self._progress.console.print(line)

    def warning(self, epoch: int, text: str) -> None:
        """Something that a person should look at."""
        line = f"warning: epoch {epoch}: {text}"
        if self._progress is None:
            print(line, flush=True)
        else:
            self._progress.console.print(line)


@contextmanager
def _progress(epochs: int, batches: int) -> Iterator[Report]:
    console = Console()
    if not console.is_terminal:
        yield Report(epochs, batches, None)
        return
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console) as progress:
        yield Report(epochs, batches, progress)
