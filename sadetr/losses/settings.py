"""Settings of losses that several methods share. Free of torch."""

from typing import Annotated, Literal

from pydantic import Field

from sadetr.settings import Fraction, PositiveFloat, PositiveInt, Record

NonNegative = Annotated[float, Field(ge=0)]
MomentReduction = Literal["mean", "sum", "detr"]
"""How eq 7 is reduced: mean over windows and coordinates; sum over a sample's windows; DETR's sum over coordinates."""


class SaliencyLoss(Record):
    """The saliency loss of QD-DETR, which SA-DETR follows (section 3.2)."""

    margin: NonNegative = 0.2
    temperature: PositiveFloat = 0.5
    levels: PositiveInt = 12
    """Highest clip label; the rank loss averages over this many levels (and skips the last one)."""


class MatchingCosts(Record):
    """Costs of pairing a query with a window."""

    l1: NonNegative = 10.0
    giou: NonNegative = 1.0
    label: NonNegative = 4.0


class DetectionLoss(Record):
    """Weights of DETR's set loss and of the saliency loss beside it."""

    l1: NonNegative = 10.0
    giou: NonNegative = 1.0
    label: NonNegative = 4.0
    saliency: NonNegative = 1.0
    background: Fraction = 0.1
    """Weight of an unmatched query in the label loss; a matched one has 1."""
    aux: bool = True
    """Supervise every decoder layer, not only the last."""
