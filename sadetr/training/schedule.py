"""Learning rate per epoch."""

import math

from sadetr.settings import TrainingSettings


def learning_rate(settings: TrainingSettings, epoch: int) -> float:
    """Learning rate of ``epoch`` (0-based) of E epochs, of which the first H are held (D59).

    ``linear`` falls by 1 / (E - H) per epoch behind epoch H, so that epoch E would have 0; ``cosine`` falls along half
    a cosine instead, ``step`` multiplies once, ``constant`` never changes.
    """
    schedule = settings.schedule
    held = min(schedule.hold_epochs, settings.epochs)
    if epoch < held or schedule.shape == "constant":
        return settings.learning_rate
    progress = (epoch - held) / (settings.epochs - held)
    factor = {
        "linear": 1 - progress,
        "cosine": (1 + math.cos(math.pi * progress)) / 2,
        "step": schedule.step_factor,
    }[schedule.shape]
    return settings.learning_rate * factor
