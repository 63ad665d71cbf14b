"""Convolutions over time: heads made of them, and a block that lets neighbouring clips meet."""

from itertools import pairwise

from torch import Tensor, nn

from sadetr.nn.layers import xavier_matrices


class ConvolutionHead(nn.Module):
    """Convolutions over three clips each with ReLU between them: (B, L, d) -> (B, L, channels) (UniVTG)."""

    def __init__(self, width: int, channels: int, layers: int) -> None:
        super().__init__()
        widths = [width] * layers + [channels]
        self.layers = nn.ModuleList(nn.Conv1d(inner, outer, 3, padding=1) for inner, outer in pairwise(widths))

    def forward(self, clips: Tensor, mask: Tensor | None) -> Tensor:
        """Clips outside the (B, L) mask are read as zeros by every layer; None: all are read as they are."""
        values = clips.transpose(1, 2)
        for number, layer in enumerate(self.layers):
            values = values.relu() if number else values
            values = layer(values if mask is None else values * mask.unsqueeze(1))
        return values.transpose(1, 2)


class LocalBlock(nn.Module):
    """UVCOM's convolutions with kernels 1, 3, 1 around a residual, nothing between them.

    In SA-DETR (section 3.2; D18, D21) the token in row 0 takes part (D20), so it exchanges with clip 1.
    """

    def __init__(self, width: int, remask: bool = True) -> None:
        """Build the block; without ``remask``, as UVCOM published it, padded rows leak into the last valid ones."""
        super().__init__()
        self.remask = remask
        self.convolutions = nn.Sequential(
            nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 1)
        )
        xavier_matrices(self)

    def forward(self, video: Tensor, mask: Tensor) -> Tensor:
        """(B, N, d) and (B, N) mask -> (B, N, d); with ``remask`` padded rows never reach valid ones.

        The first convolution's bias would turn padded rows into ordinary values that the 3-tap kernel reads, so the
        rows are masked again behind it.
        """
        keep = mask.unsqueeze(1).to(video.dtype)
        inner = self.convolutions[0](video.transpose(1, 2) * keep)
        inner = inner * keep if self.remask else inner
        return video + self.convolutions[2](self.convolutions[1](inner)).transpose(1, 2)
