"""Encoding of clips along time (QD-DETR): with and without normalisation, masks with holes included."""

from torch import Tensor

from sadetr.errors import DataError
from sadetr.nn.positions import clip_positions
from sadetr.parity.fixture import Fixture

VARIANTS = {
    "normalised": ("input.mask", True),
    "normalised_holes": ("input.mask_with_holes", True),
    "unnormalised": ("input.mask", False),
    "unnormalised_holes": ("input.mask_with_holes", False),
}
"""Name of an output without its channels -> mask, normalised."""


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Every output ``<variant>_<channels>``."""
    values = {}
    for name, theirs in fixture.group("output").items():
        variant = name.rpartition("_")[0]
        if variant not in VARIANTS:
            raise DataError(f"{fixture.path}: output {name!r} is none of {', '.join(VARIANTS)}")
        mask, normalised = VARIANTS[variant]
        values[f"output.{name}"] = clip_positions(
            fixture[mask].bool(), theirs.shape[-1], normalised=normalised, dtype=theirs.dtype
        )
    return values
