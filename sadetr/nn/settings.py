"""Settings of building blocks. Free of torch."""

from typing import Literal

from sadetr.settings import PositiveFloat, Record


class GaussianMask(Record):
    """Readings of eqs 5-6."""

    alpha: PositiveFloat = 2.0
    mode: Literal["mul_logits", "add_log", "mul_prob"] = "mul_logits"
    """D43: how the mask enters the attention."""
    min_width: PositiveFloat = 1e-3


SlotPadding = Literal["shared", "excluded"]
"""What padded inputs give to slots (EaTR, UVCOM). ``shared`` is published: they give to every slot alike, because their
mask stands in front of a softmax over slots; predictions depend on the batch. ``excluded``: nothing."""
