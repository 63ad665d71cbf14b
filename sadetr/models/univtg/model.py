"""UniVTG: clips and words encoded together, and every clip predicts its window, a foreground score and its saliency."""

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from sadetr.losses.alignment import clip_text_logits, inter_loss, intra_loss
from sadetr.losses.dense import ClipTargets, boundary_losses, clip_targets, foreground_loss
from sadetr.models.detr.encoders import JointEncoder
from sadetr.models.interface import Batch, Length, Method, Output, Step
from sadetr.models.univtg.settings import UniVTGSettings
from sadetr.nn.attention import EncoderLayer
from sadetr.nn.convolutions import ConvolutionHead
from sadetr.nn.layers import FeatureProjection, WeightedPooling, xavier_matrices
from sadetr.nn.spans import se_to_cw
from sadetr.nn.stochastic import DropPath
from sadetr.nn.tokens import TokenPositions
from sadetr.shapes import FeatureShape

PADDED = -149 * math.log(2)
"""Added to the saliency of padded clips: the logarithm of float32's smallest number, as published."""
TEXT, VIDEO = 0, 1
"""Rows of the type embedding."""


@dataclass(frozen=True)
class UniVTGOutput(Output):
    """Predictions of every clip, L candidates, and what the losses need beside them."""

    logits: Tensor
    """(B, L) of the foreground, before the sigmoid."""
    offsets: Tensor
    """(B, L, 2) of the window's ends from the clip's point, the first negative."""
    points: Tensor
    """(B, L) normalised."""
    similarity: Tensor
    """(B, L) cosine of clip and sentence, about -103 lower at padded clips."""
    clips: Tensor
    """(B, L, d) before the encoder."""
    sentence: Tensor
    """(B, d) pooled before the encoder."""


class UniVTG(Method):
    """UniVTG."""

    def __init__(self, settings: UniVTGSettings, shape: FeatureShape) -> None:
        super().__init__()
        self.settings = settings
        self.clip_length = shape.clip_length
        width = settings.hidden_width
        self.video_projection, self.text_projection = (
            FeatureProjection(channels, width, settings.input_dropout, settings.projection_blocks)
            for channels in (shape.video_width, shape.text_width)
        )
        self.types = nn.Embedding(2, width)
        nn.init.normal_(self.types.weight, std=0.02)
        words = settings.text_positions
        self.token_positions = TokenPositions(words, width, settings.input_dropout) if words else None
        path = DropPath(settings.path_dropout)
        layer = EncoderLayer(width, settings.num_heads, settings.feedforward_width, 0.0, nn.GELU, path)
        # Copies, as published: the layers' biases start equal.
        self.encoder = JointEncoder.of_copies(layer, settings.encoder_layers)
        xavier_matrices(self.encoder)
        self.span_head = ConvolutionHead(width, 2, settings.head_layers)
        self.foreground_head = ConvolutionHead(width, 1, settings.head_layers)
        self.pooling = WeightedPooling(width)

    def forward(self, batch: Batch, step: Step | None = None) -> UniVTGOutput:
        """Encode clips and words together; padded clips are no candidates."""
        mask = batch.video_mask
        video = self.video_projection(batch.video) + self.types.weight[VIDEO]
        text = self.text_projection(batch.text) + self.types.weight[TEXT]
        places = None if self.token_positions is None else self.token_positions(text)
        encoded = self.encoder.encode(video, mask, text, batch.text_mask, places).values[:, : video.shape[1]]
        read = mask if self.settings.padding == "masked" else None
        logits = self.foreground_head(encoded, read).squeeze(-1)
        # A clip's window begins before its point and ends behind it.
        directions = torch.arange(-1, 2, 2, device=encoded.device)
        offsets = self.span_head(encoded, read).sigmoid() * directions
        points, score = self.points(mask).to(offsets.dtype), logits.sigmoid()
        sentence = self.pooling(text, batch.text_mask)
        similarity = functional.cosine_similarity(video, sentence.unsqueeze(1), dim=-1) + PADDED * ~mask
        return UniVTGOutput(
            se_to_cw(points.unsqueeze(-1) + offsets),
            score.masked_fill(~mask, -torch.inf),
            # The authors add both where highlights are scored (their option eval_mode, "add").
            similarity + score,
            logits=logits,
            offsets=offsets,
            points=points,
            similarity=similarity,
            clips=video,
            sentence=sentence,
        )

    def points(self, mask: Tensor) -> Tensor:
        """The point of each clip that its window is predicted from: (B, L) bool -> (B, L); 0 at padded clips."""
        behind = self.clip_length / 2 if self.settings.timestamps == "clip_length" else 0.5
        index = torch.arange(mask.shape[1], device=mask.device)
        return (index + behind) / mask.sum(1, keepdim=True) * mask

    @property
    def extendable(self) -> frozenset[Length]:
        """The heads read what is behind the last clip, unless it is masked."""
        masked = self.settings.padding == "masked"
        return frozenset({"clips", "tokens", "windows"} if masked else {"tokens", "windows"})

    def objective(self, output: UniVTGOutput, batch: Batch) -> dict[str, Tensor]:
        """Foreground and window of single clips; contrasts of one relevant clip across and within videos."""
        weights = self.settings.loss
        terms = losses(output, batch, self.settings)
        return {name: getattr(weights, name) * term for name, term in terms.items()}


def losses(output: UniVTGOutput, batch: Batch, settings: UniVTGSettings) -> dict[str, Tensor]:
    """Unweighted terms by the names of their weights."""
    mask, temperature = batch.video_mask, settings.temperature
    targets = clip_targets(output.points, mask, batch.spans, batch.spans_mask)
    l1, giou = boundary_losses(output.points.unsqueeze(-1) + output.offsets, targets)
    logits = clip_text_logits(output.clips, output.sentence, temperature)
    return {
        "foreground": foreground_loss(output.logits, targets.inside, mask, settings.loss.background),
        "l1": l1,
        "giou": giou,
        "inter": inter_loss(output.clips, output.sentence, batch.aligned_clip, temperature),
        "intra": intra_loss(logits, _labels(targets, batch, settings), mask, batch.aligned_clip),
    }


def _labels(targets: ClipTargets, batch: Batch, settings: UniVTGSettings) -> Tensor:
    """(B, L) clip labels of the contrast within a video."""
    if settings.contrast == "saliency":
        return batch.saliency
    # A clip that a window covers in part may be the positive, although its point lies outside.
    return targets.inside.to(batch.saliency.dtype).scatter(1, batch.aligned_clip.unsqueeze(1), 1.0)
