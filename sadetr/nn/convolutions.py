"""Heads made of convolutions over time."""

from itertools import pairwise

from torch import Tensor, nn


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
