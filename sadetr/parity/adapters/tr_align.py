"""TR-DETR's alignment losses. SA-DETR's L_local averages over valid clips and normalises the sentence (D12)."""

import torch
from torch import Tensor

from sadetr.losses.alignment import clip_text_loss, video_text_contrast
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Both losses and their gradients, and the clip-text loss with padding taken for content."""
    temperature = fixture.option("temperature")
    globals_ = {name: fixture.leaf(f"input.{name}") for name in ("vid_global", "txt_global")}
    locals_ = {name: fixture.leaf(f"input.{name}") for name in ("vid_feat", "txt_feat")}
    video_mask, text_mask = fixture["input.vid_mask"].bool(), fixture["input.txt_mask"].bool()
    relevant, everything = fixture["input.pos_mask"], torch.ones_like(video_mask)
    losses = {
        "video_text": video_text_contrast(*globals_.values(), temperature),
        "clip_text": clip_text_loss(*locals_.values(), video_mask, text_mask, relevant, temperature, everything),
        "clip_text_without_masks": clip_text_loss(
            *locals_.values(), everything, torch.ones_like(text_mask), relevant, temperature, everything
        ),
    }
    values = named("loss", losses)
    values |= named("grad.video_text", gradients(losses["video_text"], globals_))
    for name in ("clip_text", "clip_text_without_masks"):
        values |= named(f"grad.{name}", gradients(losses[name], locals_))
    return values
