"""The corpus that trainings are tested on serves profiles too."""

from tests.training.conftest import workspace

__all__ = ["workspace"]
