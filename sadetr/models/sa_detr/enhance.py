"""Global and local enhance blocks (section 3.2)."""

from torch import Tensor, nn

from sadetr.models.sa_detr.settings import SADETRSettings
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.layers import copies, xavier_matrices


class GlobalBlock(nn.Module):
    """Post-norm Transformer encoder over the fused clips and the fusion token."""

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        layer = EncoderLayer(settings.hidden_width, settings.num_heads, settings.feedforward_width, settings.dropout)
        self.layers = nn.ModuleList(copies(layer, settings.global_layers))
        xavier_matrices(self)

    def forward(self, video: Tensor, positions: Tensor, mask: Tensor) -> Tensor:
        """(B, L+1, d) with (B, L+1, d) positions and (B, L+1) mask -> (B, L+1, d)."""
        for layer in self.layers:
            video = layer(video, positions, mask)
        return video


class LocalBlock(nn.Module):
    """Convolutions with kernels 1, 3, 1 around a residual, nothing between them (D18, D21).

    The token in row 0 takes part (D20), so it exchanges with clip 1.
    """

    def __init__(self, width: int, remask: bool = True) -> None:
        """Build the block; without ``remask`` it is UVCOM's, where padded rows leak into the last valid ones."""
        super().__init__()
        self.remask = remask
        self.convolutions = nn.Sequential(
            nn.Conv1d(width, width, 1), nn.Conv1d(width, width, 3, padding=1), nn.Conv1d(width, width, 1)
        )
        xavier_matrices(self)

    def forward(self, video: Tensor, mask: Tensor) -> Tensor:
        """(B, L+1, d) and (B, L+1) mask -> (B, L+1, d); padded rows never reach valid ones.

        The first convolution's bias would turn padded rows into ordinary values that the 3-tap kernel reads, so the
        rows are masked again behind it.
        """
        keep = mask.unsqueeze(1).to(video.dtype)
        inner = self.convolutions[0](video.transpose(1, 2) * keep)
        inner = inner * keep if self.remask else inner
        return video + self.convolutions[2](self.convolutions[1](inner)).transpose(1, 2)
