"""Parts that are built from the settings: projections, sizes of layers, heads, anchors of the moment queries."""

import torch
from torch import Tensor, nn

from sadetr.models.detr.settings import DetectionTransformerSettings
from sadetr.nn.layers import MLP, FeatureProjection
from sadetr.nn.tokens import TokenPositions
from sadetr.shapes import FeatureShape


def layer_sizes(settings: DetectionTransformerSettings) -> tuple[int, int, int, float]:
    """What every transformer layer takes first: d, heads, width of the feed-forward block, dropout."""
    return settings.hidden_width, settings.num_heads, settings.feedforward_width, settings.dropout


def projections(
    settings: DetectionTransformerSettings, shape: FeatureShape
) -> tuple[FeatureProjection, FeatureProjection]:
    """Project clips and words: (..., d_v) and (..., d_t) -> (..., d)."""
    video, text = (
        FeatureProjection(width, settings.hidden_width, settings.input_dropout, settings.projection_blocks)
        for width in (shape.video_width, shape.text_width)
    )
    return video, text


def token_positions(settings: DetectionTransformerSettings) -> TokenPositions | None:
    """Learned positions of words, where they are on."""
    if not settings.text_positions:
        return None
    return TokenPositions(settings.text_positions, settings.hidden_width, settings.input_dropout)


def detection_heads(width: int) -> tuple[nn.Linear, MLP]:
    """Class logits, foreground first, and the span (or its offset from a reference): (..., d) -> (..., 2) each."""
    return nn.Linear(width, 2), MLP(width, width, width, 2)


class QueryAnchors(nn.Module):
    """Anchors of the moment queries: learned, or read from an encoded token (D24).

    The weights of the last layer keep PyTorch's initialisation: where all contents start at zero, equal anchors would
    make equal queries.
    """

    def __init__(self, width: int, count: int, dynamic: bool, grid: bool = False) -> None:
        """Build the anchors.

        Args:
            width: d.
            count: N_q.
            dynamic: whether they are read from the token.
            grid: whether dynamic anchors start with centres spread evenly over the video.
        """
        super().__init__()
        self.count = count
        self.mlp = MLP(width, width, width, 2 * count) if dynamic else None
        self.learned = None if dynamic else nn.Embedding(count, 2)
        if dynamic and grid:
            centres = (torch.arange(count) + 0.5) / count
            with torch.no_grad():
                self.mlp[-1].bias.view(count, 2)[:, 0] = centres.logit()

    def forward(self, token: Tensor) -> Tensor:
        """(B, d) -> (B, N_q, 2) ``cw`` in (0, 1)."""
        if self.mlp is not None:
            return self.mlp(token).unflatten(-1, (self.count, 2)).sigmoid()
        return self.learned.weight.sigmoid().expand(len(token), -1, -1)


def counted_rows(mask: Tensor, padding: str) -> Tensor:
    """What takes part where attention has no say, by the setting ``padding``: (B, N) bool.

    ``masked``: what ``mask`` shows; otherwise all of it, as several repositories publish it.
    """
    return mask if padding == "masked" else torch.ones_like(mask)
