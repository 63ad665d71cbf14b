"""Learning rate per epoch or step."""

import math

from sadetr.training_settings import ScheduleSettings, TrainingSettings


def learning_rate(settings: TrainingSettings, epoch: int, step: int = 0, steps: int = 1) -> float:
    """Learning rate of an epoch and step, both from 0.

    Time t is counted in units, of which there are T: epochs, or steps where the schedule's ``unit`` says so. The first
    H are held (``hold_epochs``, D59). ``linear`` falls by 1 / (T - H) per unit behind H, so that T would have 0;
    ``cosine`` falls along half a cosine instead, ``step`` multiplies once, ``milestones`` at each milestone, and
    ``constant`` never changes. In the W units of the warm-up all this is multiplied by (t + 1) / W.

    Args:
        settings: the rate, its schedule and the number of epochs.
        epoch: finished epochs.
        step: finished steps of this epoch.
        steps: steps per epoch.
    """
    schedule = settings.schedule
    per_epoch = steps if schedule.unit == "step" else 1
    time = epoch * per_epoch + (step if schedule.unit == "step" else 0)
    warm = schedule.warmup_epochs * per_epoch
    rising = (time + 1) / warm if time < warm else 1.0
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
