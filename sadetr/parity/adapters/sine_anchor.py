"""Encoding of span anchors (QD-DETR, EaTR): the widths asked for differ, the function does not."""

from torch import Tensor

from sadetr.nn.positions import anchor_positions
from sadetr.parity.fixture import Fixture


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Every output in its own number of channels."""
    anchors = fixture["input.anchors"]
    outputs = fixture.group("output")
    return {f"output.{name}": anchor_positions(anchors, theirs.shape[-1]) for name, theirs in outputs.items()}
