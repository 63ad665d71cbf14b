"""Global enhance block (section 3.2); the local one is UVCOM's, see :class:`sadetr.nn.convolutions.LocalBlock`."""

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
