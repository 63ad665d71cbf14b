"""G-TAD's alignment kernel, with the bins and samples per bin that the outputs are named after."""

import re

import torch
from torch import Tensor

from sadetr.errors import DataError
from sadetr.nn.roi_align import roi_align_weights
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Every output ``bins<n>_samp<n>`` and its gradient."""
    values, rois = {}, fixture["input.rois"]
    sample = rois[:, 0].long()
    for name in fixture.group("output"):
        named_after = re.fullmatch(r"bins(\d+)_samp(\d+)", name)
        if named_after is None:
            raise DataError(f"{fixture.path}: output {name!r} is not named bins<n>_samp<n>")
        features = fixture.leaf("input.features")
        weights = roi_align_weights(rois[:, 1:], features.shape[-1], *map(int, named_after.groups()))
        aligned = torch.einsum("rbt,rct->rcb", weights, features[sample])
        values[f"output.{name}"] = aligned
        value = (aligned * fixture[f"input.grad_weights.{name}"]).sum()
        values |= named(f"grad.{name}", gradients(value, {"features": features}))
    return values
