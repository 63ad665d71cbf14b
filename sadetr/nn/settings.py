"""Settings of building blocks. Free of torch."""

from typing import Literal

from sadetr.settings import PositiveFloat, Record


class GaussianMask(Record):
    """Readings of eqs 5-6."""

    alpha: PositiveFloat = 2.0
    mode: Literal["mul_logits", "add_log", "mul_prob"] = "mul_logits"
    """D43: how the mask enters the attention."""
    min_width: PositiveFloat = 1e-3
