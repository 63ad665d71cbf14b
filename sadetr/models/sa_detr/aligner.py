"""Multi Stage Modal Aligner (section 3.2): fusion of video and text with shared parameters."""

from torch import Tensor, nn

from sadetr.models.sa_detr.settings import SADETRSettings
from sadetr.nn.attention import CrossAttentionLayer
from sadetr.nn.layers import AttentionPooling, copies, xavier_matrices


class ModalAligner(nn.Module):
    """Cross attention in both directions through the same layers.

    Each direction attends to the other modality's unfused features at every layer; :meth:`interleave` is the other
    reading (D6). Positions are added to the video where it is the query, never to keys (D8); g is a key of the text
    (D7).
    """

    def __init__(self, settings: SADETRSettings) -> None:
        super().__init__()
        width = settings.hidden_width
        layer = CrossAttentionLayer(width, settings.num_heads, settings.feedforward_width, settings.dropout)
        self.layers = nn.ModuleList(copies(layer, settings.fusion_layers))
        self.pooling = AttentionPooling(width)
        xavier_matrices(self)

    def fuse_video(self, video: Tensor, positions: Tensor, text: Tensor, text_mask: Tensor) -> Tensor:
        """Text-related visual features: (B, L+1, d) clips with g in row 0 -> (B, L+1, d)."""
        for layer in self.layers:
            video = layer(video, positions, text, text_mask)
        return video

    def fuse_text(self, text: Tensor, video: Tensor, video_mask: Tensor) -> Tensor:
        """Video-related textual features: (B, T, d) -> (B, T, d); ``video`` (B, L+1, d) holds g in row 0."""
        for layer in self.layers:
            text = layer(text, None, video, video_mask)
        return text

    def interleave(
        self, video: Tensor, positions: Tensor, video_mask: Tensor, text: Tensor, text_mask: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Both directions at once, each layer reading what the layer before made of the other stream (D6).

        (B, L+1, d) clips with g in row 0 and (B, T, d) text -> the same shapes.
        """
        for layer in self.layers:
            video, text = layer(video, positions, text, text_mask), layer(text, None, video, video_mask)
        return video, text
