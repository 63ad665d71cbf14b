"""What the network hands to its objective."""

from dataclasses import dataclass

from torch import Tensor

from sadetr.models.interface import Output
from sadetr.models.sa_detr.initializer import NoiseGroups


@dataclass(frozen=True)
class SADETROutput(Output):
    """Everything that the objective needs beside the predictions; R refiner layers, N noise and direct queries."""

    anchors: Tensor
    """(B, N_q, 2) S_d^0, ``cw``."""
    layer_spans: Tensor
    """(R, B, N_q, 2) direct group."""
    layer_qualities: Tensor
    """(R, B, N_q)."""
    noise: NoiseGroups | None
    noise_spans: Tensor
    """(R, B, N_n..., 2), empty without noise."""
    noise_qualities: Tensor
    negative_saliency: Tensor | None
    """(B, L) clip scores against the next sample's text; training with B > 1 only."""
    video_embedding: Tensor
    """(B, d) pooled video of L_vtc, at its stage."""
    text_embedding: Tensor
    """(B, d)."""
    clip_embeddings: Tensor
    """(B, L, d) clips of L_ctm, at its stage."""
    sentence_embedding: Tensor
    """(B, d)."""

    @property
    def layer_scores(self) -> Tensor:
        """Quality after each layer, (R, B, N_q)."""
        return self.layer_qualities
