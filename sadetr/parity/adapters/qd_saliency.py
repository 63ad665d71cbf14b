"""QD-DETR's saliency loss and its three terms."""

import torch
from torch import Tensor

from sadetr.losses.saliency import margin_loss, negative_pair_loss, rank_loss
from sadetr.parity.fixture import Fixture, gradients, named

LEVELS = 12
"""Highest label of a clip in the authors' code, whatever the labels of a batch."""


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Losses and gradients of every variant."""
    values = {}
    for variant in fixture.variants:
        leaves = {name: fixture.leaf(f"input.{variant}.{name}") for name in ("scores", "scores_neg")}
        own, other = leaves.values()
        mask = fixture[f"input.{variant}.video_mask"].bool()
        labels = fixture[f"target.{variant}.saliency_all_labels"]
        pairs = [fixture[f"target.{variant}.saliency_{kind}_labels"] for kind in ("pos", "neg")]
        # Every negative text counts, whichever video it belongs to (D22).
        real = torch.ones(len(own), dtype=torch.bool)
        losses = {
            "hinge": margin_loss(own, *pairs, fixture.option("saliency_margin")),
            "rank_contrastive": rank_loss(own, labels, mask, other, real, fixture.option("tau"), LEVELS),
            "negative_pair": negative_pair_loss(other, mask, real),
        }
        losses["total"] = sum(losses.values())
        values |= named(f"loss.{variant}", losses)
        for name, loss in losses.items():
            values |= named(f"grad.{variant}.{name}", gradients(loss, leaves))
    return values
