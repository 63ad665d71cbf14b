"""UVCOM's convolutions; SA-DETR masks again behind the first, so that padding never reaches valid clips."""

from torch import Tensor

from sadetr.nn.convolutions import LocalBlock
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Outputs with and without the residual, and gradients."""
    video = fixture.leaf("input.video")
    block = LocalBlock(video.shape[-1], remask=False)
    parameters = fixture.load(block.convolutions, "weight")
    local = block(video, fixture["input.video_mask"].bool())
    leaves = {"video": video} | named("weight", parameters)
    values = {"output.local": local, "output.conv": local - video}
    return values | named("grad", gradients((local * fixture["input.grad_weights"]).sum(), leaves))
