"""Learning rate per epoch or step."""

import math
from collections.abc import Sequence

from sadetr.training_settings import ScheduleSettings, TrainingSettings

IMPROVEMENT = 1e-4
"""Share of the best loss by which another one must be better: the default of PyTorch's ReduceLROnPlateau."""


def learning_rate(
    settings: TrainingSettings, epoch: int, step: int = 0, steps: int = 1, watched: Sequence[float] = ()
) -> float:
    """Learning rate of an epoch and step, both from 0.

    Time t is counted in units, of which there are T: epochs, or steps where the schedule's ``unit`` says so. The first
    H are held (``hold_epochs``, D59). ``linear`` falls by 1 / (T - H) per unit behind H, so that T would have 0;
    ``cosine`` falls along half a cosine instead, ``step`` multiplies once, ``milestones`` at each milestone,
    ``constant`` never changes, and ``plateau`` multiplies by what is watched. In the W units of the warm-up all this is
    multiplied by (t + 1) / W.

    Args:
        settings: the rate, its schedule and the number of epochs.
        epoch: finished epochs.
        step: finished steps of this epoch.
        steps: steps per epoch.
        watched: validation losses of the finished epochs, which ``plateau`` depends on.
    """
    schedule = settings.schedule
    per_epoch = steps if schedule.unit == "step" else 1
    time = epoch * per_epoch + (step if schedule.unit == "step" else 0)
    warm = schedule.warmup_epochs * per_epoch
    rising = (time + 1) / warm if time < warm else 1.0
    if schedule.shape == "plateau":
        return settings.learning_rate * plateau_factor(schedule, watched) * rising
    return settings.learning_rate * _factor(schedule, time, settings.epochs * per_epoch, per_epoch) * rising


def _factor(schedule: ScheduleSettings, time: int, end: int, per_epoch: int) -> float:
    """What the shape makes of the rate at ``time`` of ``end`` units."""
    if schedule.shape == "constant":
        return 1.0
    if schedule.shape == "milestones":
        return schedule.step_factor ** sum(time >= milestone * per_epoch for milestone in schedule.milestones)
    held = min(schedule.hold_epochs * per_epoch, end)
    if time < held:
        return 1.0
    progress = (time - held) / (end - held)
    return {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "step": schedule.step_factor,
    }[schedule.shape]


def plateau_factor(schedule: ScheduleSettings, losses: Sequence[float]) -> float:
    """What the losses of all epochs so far make of the rate, as PyTorch's ReduceLROnPlateau.

    A function of the whole history has no state that a resumed training could lose.
    """
    factor, best, worse = 1.0, math.inf, 0
    for loss in losses:
        value = loss if schedule.better == "lower" else -loss
        if value < best * (1 - IMPROVEMENT):
            best, worse = value, 0
        else:
            worse += 1
        if worse > schedule.patience:
            factor, worse = factor * schedule.step_factor, 0
    return factor
