"""Simulated features: what backbones might see of the events that real annotations describe, at the real sizes.

Described in ``docs/simulated_features.md``.
"""

from sadetr.data.simulation.builder import simulate

__all__ = ["simulate"]
