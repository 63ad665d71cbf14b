"""What a method computed on the way to its predictions, for ``explain --qid``: where it declares, from outside."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sadetr.models.interface import Batch, Method, Output
from sadetr.nn.gaussian import log_gaussian_mask
from sadetr.nn.recording import recorded_calls


@dataclass(frozen=True)
class Inspection:
    """What there is to be seen of a batch, for people to look at; R layers, h heads.

    A method has the parts that it has. Moment queries keep their index through all parts.
    """

    output: Output
    anchors: Tensor | None = None
    """(R + 1, B, N_q, 2) ``cw``, normalised: what each layer starts from, and the predicted spans."""
    qualities: Tensor | None = None
    """(R, B, N_q) score after each layer, in [0, 1]."""
    masks: Tensor | None = None
    """(R, B, N_q, L) weight of each clip by the query's anchor, in [0, 1] (eq 5)."""
    attention: Tensor | None = None
    """(R, B, h, N_q, L) cross attention, after any modulation; 0 at padded clips."""


def inspect(model: Method, batch: Batch) -> Inspection:
    """Predict ``batch``, exactly as ``model(batch)`` does, and keep what the method says may be shown.

    What a decoder that reads words behind the clips, or padding, gives to those is left out.
    """
    shown = model.shown
    if shown is None:
        return Inspection(model(batch))
    layers = _layers(model, shown.cross_attentions)
    weights = [f"{layer}.{shown.weights}" for layer in layers]
    with recorded_calls(model, [*layers, *weights]) as calls:
        output = model(batch)
    attention = torch.stack([calls[name][0][0] for name in weights])[..., : batch.video.shape[1]]
    attention = attention.masked_fill(~batch.video_mask[:, None, None], 0)
    if shown.anchors is None:
        return Inspection(output, qualities=output.layer_scores, attention=attention)
    anchors = [calls[layer][0][shown.anchors] for layer in layers]
    masks = _gaussian_masks(model, batch, layers, anchors)
    return Inspection(output, torch.stack((*anchors, output.spans)), output.layer_scores, masks, attention)


def _layers(model: Method, pattern: str) -> list[str]:
    """The names that ``pattern`` stands for, in the order of the layers."""
    stack, _, rest = pattern.partition(".*.")
    return [f"{stack}.{index}.{rest}" for index in range(len(model.get_submodule(stack)))]


def _gaussian_masks(model: Method, batch: Batch, layers: list[str], anchors: list[Tensor]) -> Tensor | None:
    """Eq 5 at the anchors that each of ``layers`` received: (R, B, N_q, L); None where nothing modulates."""
    settings = [getattr(model.get_submodule(layer), "gauss", None) for layer in layers]
    if None in settings:
        return None
    masks = [log_gaussian_mask(each, batch.video_mask, gauss) for each, gauss in zip(anchors, settings, strict=True)]
    return torch.stack(masks).exp()
