"""What decoders compute between their layers, for ``explain --qid``: recorded from outside."""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor

from sadetr.models.interface import Batch, Method, Output
from sadetr.nn.gaussian import log_gaussian_mask
from sadetr.nn.recording import recorded_calls


def recorded_attention(
    model: Method, batch: Batch, layers: Sequence[str], dropout: str
) -> tuple[Output, list[tuple[Any, ...]], Tensor]:
    """Predict ``batch`` and keep what its cross attentions ``layers`` are given and give.

    Args:
        model: of which ``layers`` are submodules by name, one per decoder layer.
        batch: what to predict.
        layers: the cross attentions, in order.
        dropout: submodule of each that is called with the attention.

    Returns:
        The prediction, the positional arguments of each cross attention, and the attention (R, B, h, N, L) that
        multiplies the clips; what a decoder that reads words behind them gives to those is left out.
    """
    weights = [f"{layer}.{dropout}" for layer in layers]
    with recorded_calls(model, [*layers, *weights]) as calls:
        output = model(batch)
    attention = torch.stack([calls[name][0][0] for name in weights])
    return output, [calls[layer][0] for layer in layers], attention[..., : batch.video.shape[1]]


def gaussian_masks(model: Method, batch: Batch, layers: Sequence[str], anchors: Sequence[Tensor]) -> Tensor | None:
    """Eq 5 at the anchors (B, N, 2) that each of ``layers`` received: (R, B, N, L); None where nothing modulates."""
    settings = [model.get_submodule(layer).gauss for layer in layers]
    if None in settings:
        return None
    masks = [log_gaussian_mask(each, batch.video_mask, gauss) for each, gauss in zip(anchors, settings, strict=True)]
    return torch.stack(masks).exp()
