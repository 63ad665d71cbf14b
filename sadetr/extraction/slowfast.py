"""SlowFast 8×8 with a ResNet-50 (Feichtenhofer et al. 2019), without its classifier; both pathways' last activations.

Sizes follow from one width: 64 in the official network. Names of tensors are ours; :mod:`sadetr.extraction.weights`
knows others'.
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.extraction.sampling import slow_positions

BLOCKS = (3, 4, 6, 3)
SPATIAL_STRIDES = (1, 2, 2, 2)
SLOW_KERNELS = (1, 1, 3, 3)
FAST_KERNELS = (3, 3, 3, 3)
"""Extent in time of a block's first convolution, per stage."""
ALPHA = 4
"""The fast pathway sees as many times more pictures."""
INVERSE_BETA = 8
"""The slow pathway is as many times wider."""
FUSION_KERNEL = 7
FUSION_RATIO = 2
MEAN, STD = 0.45, 0.225
"""Of every channel between 0 and 1."""


def _convolution(inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)) -> nn.Conv3d:
    padding = [size // 2 for size in kernel]
    return nn.Conv3d(inputs, outputs, tuple(kernel), tuple(stride), padding, bias=False)


class NormedConvolution(nn.Module):
    """A convolution without bias and its batch norm."""

    def __init__(self, inputs: int, outputs: int, kernel: Sequence[int], stride: Sequence[int] = (1, 1, 1)):
        super().__init__()
        self.conv = _convolution(inputs, outputs, kernel, stride)
        self.norm = nn.BatchNorm3d(outputs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Bottleneck(nn.Module):
    """A residual block of three convolutions."""

    def __init__(self, inputs: int, inner: int, outputs: int, time: int, stride: int):
        super().__init__()
        self.a = NormedConvolution(inputs, inner, (time, 1, 1))
        self.b = NormedConvolution(inner, inner, (1, 3, 3), (1, stride, stride))
        self.c = NormedConvolution(inner, outputs, (1, 1, 1))
        self.shortcut = None
        if inputs != outputs or stride != 1:
            self.shortcut = NormedConvolution(inputs, outputs, (1, 1, 1), (1, stride, stride))

    def forward(self, x: Tensor) -> Tensor:
        branch = self.c(functional.relu(self.b(functional.relu(self.a(x)))))
        return functional.relu(branch + (x if self.shortcut is None else self.shortcut(x)))


class Pathway(nn.Module):
    """A stem and four stages; each stage reads ``lateral`` channels of the other pathway for every 8 of its own."""

    def __init__(self, width: int, stem_time: int, times: Sequence[int], lateral: int):
        super().__init__()
        self.stem = NormedConvolution(3, width, (stem_time, 7, 7), (1, 2, 2))
        stages = []
        inputs = width
        for stage, (blocks, stride, time) in enumerate(zip(BLOCKS, SPATIAL_STRIDES, times, strict=True)):
            inner, outputs = width * 2**stage, 4 * width * 2**stage
            first = Bottleneck(inputs + inputs * lateral // INVERSE_BETA, inner, outputs, time, stride)
            rest = [Bottleneck(outputs, inner, outputs, time, 1) for _ in range(blocks - 1)]
            stages.append(nn.Sequential(first, *rest))
            inputs = outputs
        self.stages = nn.ModuleList(stages)
        self.width = inputs

    def begin(self, x: Tensor) -> Tensor:
        """Stem and pooling."""
        return functional.max_pool3d(functional.relu(self.stem(x)), (1, 3, 3), (1, 2, 2), (0, 1, 1))


class SlowFast(nn.Module):
    """Both pathways, with lateral connections from the fast to the slow one."""

    def __init__(self, width: int = 64):
        super().__init__()
        fast = width // INVERSE_BETA
        self.slow = Pathway(width, 1, SLOW_KERNELS, FUSION_RATIO)
        self.fast = Pathway(fast, 5, FAST_KERNELS, 0)
        channels = [fast, *(4 * fast * 2**stage for stage in range(len(BLOCKS) - 1))]
        self.fusions = nn.ModuleList(
            NormedConvolution(count, FUSION_RATIO * count, (FUSION_KERNEL, 1, 1), (ALPHA, 1, 1)) for count in channels
        )
        self.positions = slow_positions(ALPHA)

    @property
    def width(self) -> int:
        """Channels of the result."""
        return self.slow.width + self.fast.width

    def forward(self, pictures: Tensor) -> Tensor:
        """(B, 3, 32, 224, 224) bytes or numbers of 0 to 255 -> (B, width): slow channels first, means over all places.

        Meant for evaluation: with batch statistics a clip's features would depend on its neighbours.
        """
        x = (pictures.float() / 255 - MEAN) / STD
        slow, fast = self.slow.begin(x[:, :, self.positions]), self.fast.begin(x)
        for fusion, slow_stage, fast_stage in zip(self.fusions, self.slow.stages, self.fast.stages, strict=True):
            slow = slow_stage(torch.cat((slow, functional.relu(fusion(fast))), 1))
            fast = fast_stage(fast)
        return torch.cat((slow.mean((2, 3, 4)), fast.mean((2, 3, 4))), 1)
