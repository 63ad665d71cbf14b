"""What UVCOM does between projections and decoder: clips and words read each other, and meet again by a few centres."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.models.detr.encoders import Stack
from sadetr.models.detr.parts import counted_rows, layer_sizes
from sadetr.models.detr.texts import visible_words
from sadetr.models.uvcom.settings import UVCOMSettings
from sadetr.nn.attention import CrossAttentionLayer, EncoderLayer
from sadetr.nn.convolutions import LocalBlock
from sadetr.nn.layers import exact, masked_mean

VARIANCE = 1.2**2
"""Of the Gaussian that shares inputs out over centres."""
SHARPNESS = 5.0
"""What cosines of clips and centres are multiplied by in the random walk."""
WALK = 0.5
"""Share of a walk's step that the other side makes; the rest stays where it started."""


class Centres(nn.Module):
    """Soft k-means on the unit sphere from learned starts: expectation maximisation in the authors' words."""

    def __init__(self, width: int, count: int, iterations: int) -> None:
        super().__init__()
        self.starts = nn.Parameter(torch.empty(count, width))
        self.iterations = iterations
        nn.init.xavier_uniform_(self.starts)

    def forward(self, values: Tensor, counted: Tensor) -> Tensor:
        """(B, N, d) and (B, N) bool, what takes part -> (B, K, d) centres.

        Inputs are shared out by a Gaussian of their distance to the centres, both of length 1, of which only the
        product depends on the centre. The centres are means of inputs of any length. Gradients pass all iterations.
        """
        units, counted = functional.normalize(values, dim=-1), counted.unsqueeze(1)
        centres = self.starts.expand(len(values), -1, -1)
        for _ in range(self.iterations):
            products = functional.normalize(centres, dim=-1) @ units.transpose(1, 2)
            shares = (products / VARIANCE).softmax(1) * counted
            centres = shares / shares.sum(2, keepdim=True) @ values
        return centres


def nearest_centre(centres: Tensor, others: Tensor) -> Tensor:
    """The centre whose mean cosine to the ``others`` is largest: (B, K, d), (B, J, d) -> (B, 1, d)."""
    mean = functional.normalize(others, dim=-1).mean(1, keepdim=True)
    best = (functional.normalize(centres, dim=-1) * mean).sum(-1).argmax(1)
    return centres.gather(1, best.view(-1, 1, 1).expand(-1, 1, centres.shape[-1]))


def random_walk(clips: Tensor, centres: Tensor, starts: Tensor, counted: Tensor) -> Tensor:
    """Where a walk between clips and centres, which starts anew with every step's chance 1 - w, leads the clips.

    With Z the clips' shares of centres, (K, L), Z' the same with rows that sum to one, and w = ``WALK``:
    ``(1 - w) (I - w² Z^T Z')^-1 (w Z^T y + x)``. The matrix is I less one of rank K, and its inverse is
    ``I + w² Z^T (I - w² Z' Z^T)^-1 Z'``, which takes a system of K equations instead of L.

    Args:
        clips: (B, L, d) that are shared out.
        centres: (B, K, d), y.
        starts: (B, L, d), x.
        counted: (B, L) bool, clips that take part.

    Returns:
        (B, L, d).
    """
    cosines = functional.normalize(centres, dim=-1) @ functional.normalize(clips, dim=-1).transpose(1, 2)
    shares = (SHARPNESS * cosines).softmax(1) * counted.unsqueeze(1)
    steps = shares / (shares.sum(2, keepdim=True) + 1e-9)
    first = WALK * shares.transpose(1, 2) @ centres + starts
    system = torch.eye(centres.shape[1], dtype=clips.dtype, device=clips.device)
    system = system - WALK**2 * steps @ shares.transpose(1, 2)
    # Never singular, as rows of what is taken off sum to w² at most; `solve` would wait for the device to see that.
    solution, _ = torch.linalg.solve_ex(exact(system), exact(steps @ first))
    rest = shares.transpose(1, 2) @ solution
    return (1 - WALK) * (first + WALK**2 * rest)


@dataclass(frozen=True)
class Inputs:
    """Projected clips, or words, of a batch."""

    values: Tensor
    """(B, N, d)."""
    mask: Tensor
    """(B, N) bool."""
    positions: Tensor | None
    """(B, N, d)."""


@dataclass(frozen=True)
class Integrated:
    """What clips and words become."""

    refined: Tensor
    """(B, L, d) clips that have met the words, in front of the encoder."""
    encoded: Tensor
    """(B, L + 1, d), the video's token in row 0."""
    sentence: Tensor
    """(B, d)."""


class Integration(nn.Module):
    """Comprehensive integration: everything between the projections and the decoder."""

    def __init__(self, settings: UVCOMSettings) -> None:
        super().__init__()
        self.settings = settings
        width, sizes = settings.hidden_width, layer_sizes(settings)
        self.video_fusion = Stack.of_copies(CrossAttentionLayer(*sizes), settings.fusion_layers)
        self.text_fusion = Stack.of_copies(CrossAttentionLayer(*sizes), settings.text_fusion_layers)
        self.sentence = nn.Sequential(nn.Linear(width, width), nn.LayerNorm(width))
        self.text_centres, self.video_centres = (
            Centres(width, count, settings.centre_iterations)
            for count in (settings.text_centres, settings.video_centres)
        )
        self.local = LocalBlock(width, remask=settings.padding == "masked")
        self.token_position = nn.Parameter(torch.randn(width))
        self.encoder = Stack.of_copies(EncoderLayer(*sizes), settings.encoder_layers)

    def forward(self, video: Inputs, text: Inputs) -> Integrated:
        """Let clips and words read each other, refine the clips, and encode them with the token."""
        clips, words = self._fuse(self.video_fusion, video, text), self._fuse(self.text_fusion, text, video)
        clips_counted, words_counted = (counted_rows(inputs.mask, self.settings.padding) for inputs in (video, text))
        text_centres = self.text_centres(words, words_counted)
        token = nearest_centre(self.video_centres(clips, clips_counted), text_centres)
        refined = clips + random_walk(clips, text_centres, self.local(clips, video.mask), clips_counted)
        place = self.token_position.expand_as(token)
        mask = torch.cat((video.mask.new_ones(len(token), 1), video.mask), 1)
        encoded = self.encoder(torch.cat((token, refined), 1), torch.cat((place, video.positions), 1), mask)
        return Integrated(refined, encoded, masked_mean(self.sentence(words), words_counted))

    def _fuse(self, layers: Stack, readers: Inputs, read: Inputs) -> Tensor:
        """Let the ones read the others, which stay as they are in all layers: (B, N, d)."""
        visible = visible_words(readers.mask, read.mask, self.settings.num_heads, self.settings.word_mask)
        return layers(readers.values, readers.positions, read.values, visible, read.positions)
