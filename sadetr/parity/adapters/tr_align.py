"""TR-DETR's alignment losses. SA-DETR's L_local averages over valid clips and normalises the sentence (D12)."""

import torch
from torch import Tensor
from torch.nn import functional

from sadetr.losses.alignment import clip_text_logits, local_loss, video_text_contrast
from sadetr.nn.layers import masked_mean
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Both losses and their gradients, and the clip-text loss with padding taken for content."""
    temperature = fixture.option("temperature")
    globals_ = {name: fixture.leaf(f"input.{name}") for name in ("vid_global", "txt_global")}
    locals_ = {name: fixture.leaf(f"input.{name}") for name in ("vid_feat", "txt_feat")}
    video_mask, text_mask = fixture["input.vid_mask"].bool(), fixture["input.txt_mask"].bool()
    relevant = fixture["input.pos_mask"]
    losses = {
        "video_text": video_text_contrast(*globals_.values(), temperature),
        "clip_text": clip_text(*locals_.values(), video_mask, text_mask, relevant, temperature),
        "clip_text_without_masks": clip_text(
            *locals_.values(), torch.ones_like(video_mask), torch.ones_like(text_mask), relevant, temperature
        ),
    }
    values = named("loss", losses)
    values |= named("grad.video_text", gradients(losses["video_text"], globals_))
    for name in ("clip_text", "clip_text_without_masks"):
        values |= named(f"grad.{name}", gradients(losses[name], locals_))
    return values


def clip_text(
    clips: Tensor, words: Tensor, video_mask: Tensor, text_mask: Tensor, relevant: Tensor, temperature: float
) -> Tensor:
    """The clip-text loss: a sentence is the mean of its unit words, and padded clips count with similarity 0."""
    sentence = masked_mean(functional.normalize(words, dim=-1), text_mask)
    logits = clip_text_logits(clips, sentence, temperature, unit_sentence=False) * video_mask
    return local_loss(logits, relevant, torch.ones_like(video_mask))
