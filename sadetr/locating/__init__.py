"""A sentence and a video of one's own to moments: ``from sadetr.locating import Predictor`` (docs/locating.md)."""

from sadetr.locating.predictor import Predictor
from sadetr.locating.result import Located, Window

__all__ = ["Located", "Predictor", "Window"]
