"""BAM-DETR's decoder: a query is a point and its distances to both ends, each with a content of its own.

A layer first moves the point by what the whole video shows, then each end by what is found around it.
"""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.models.bam_detr.boundaries import BoundaryLayer
from sadetr.nn.decoders import CentreEncoding, DABDecoderLayer, Decoded, Memory, dab_layers, iterate
from sadetr.nn.layers import MLP, copies, xavier_matrices
from sadetr.nn.spans import inverse_sigmoid, moved, se_to_cw


@dataclass(frozen=True)
class BoundaryMemory:
    """What layers read around a moment's start and around its end."""

    left: Tensor
    """(B, L, 2d)."""
    right: Tensor
    """(B, L, 2d)."""
    length: Tensor
    """(B, 1, 1, 1) valid clips."""
    extent: Tensor
    """(B, 1, 1, 1) clips that places may lie in."""


class References(nn.Module):
    """Learned references (point, distance to the start, distance to the end), kept inside the video.

    Distances that reach out of it are shortened in front of every step, unseen by the optimiser, as published.
    """

    def __init__(self, count: int) -> None:
        super().__init__()
        self.logits = nn.Parameter(torch.randn(count, 3))

    def forward(self) -> Tensor:
        """(N, 3) in (0, 1)."""
        if not self.training:
            return self._within().sigmoid()
        with torch.no_grad():
            self.logits.copy_(self._within())
        return self.logits.sigmoid()

    def _within(self) -> Tensor:
        point, left, right = self.logits.unbind(-1)
        return torch.stack((point, torch.minimum(left, point), torch.minimum(right, self._room(point))), -1)

    @staticmethod
    def _room(point: Tensor) -> Tensor:
        return inverse_sigmoid(1 - point.sigmoid())


def reference_ends(references: Tensor) -> Tensor:
    """(..., 3) point and distances -> (..., 2) ``se``, within the video."""
    point, left, right = references.unbind(-1)
    return torch.stack((point - left, point + right), -1).clamp(0, 1)


def reference_spans(references: Tensor) -> Tensor:
    """(..., 3) point and distances -> (..., 2) ``cw``, not clamped."""
    point, left, right = references.unbind(-1)
    return se_to_cw(torch.stack((point - left, point + right), -1))


class BoundaryDecoderLayer(nn.Module):
    """Layers for the point, the start and the end."""

    def __init__(self, point: DABDecoderLayer, left: BoundaryLayer, right: BoundaryLayer) -> None:
        super().__init__()
        self.point, self.left, self.right = point, left, right


class ReferenceMoves(nn.Module):
    """Moves of a reference's three logits, each by its own content; they start at zero."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.point, self.left, self.right = (MLP(width, width, width, 1) for _ in range(3))
        for head in (self.point, self.left, self.right):
            nn.init.zeros_(head[-1].weight)
            nn.init.zeros_(head[-1].bias)


class BoundaryDecoder(nn.Module):
    """Refine points and ends in turns; layers start as copies of one, with matrices of their own."""

    def __init__(self, count: int, width: int, heads: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        points = dab_layers(count, width, heads, feedforward, dropout)
        boundary = BoundaryLayer(width, heads, feedforward, dropout)
        self.layers = nn.ModuleList(BoundaryDecoderLayer(point, *copies(boundary, 2)) for point in points)
        self.encoding = CentreEncoding(width, inner=2 * width, scale_first=False)
        xavier_matrices(self)
        self.moves = nn.ModuleList(copies(ReferenceMoves(width), count))

    def forward(self, content: Tensor, references: Tensor, memory: Memory, boundaries: BoundaryMemory) -> Decoded:
        """Decode (B, N, 3d) contents, of points, starts and ends, from (B, N, 3) references."""

        def step(index: int, content: Tensor, references: Tensor) -> tuple[Tensor, Tensor]:
            point, left, right = content.chunk(3, -1)
            layer, moves = self.layers[index], self.moves[index]
            anchors = se_to_cw(reference_ends(references))
            position, sine = self.encoding(anchors, point, index == 0)
            point = layer.point(point, position, sine, anchors, memory)
            placed = moved(references, functional.pad(moves.point(point), (0, 2)))
            start, end = reference_ends(placed.detach()).unbind(-1)
            left = layer.left(left, start, boundaries.left, boundaries.length, boundaries.extent)
            right = layer.right(right, end, boundaries.right, boundaries.length, boundaries.extent)
            distances = moved(placed.detach()[..., 1:], torch.cat((moves.left(left), moves.right(right)), -1))
            return torch.cat((point, left, right), -1), torch.cat((placed[..., :1], distances), -1)

        return iterate(step, len(self.layers), content, references)
