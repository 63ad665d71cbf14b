"""UniVTG's contrastive losses, each direction and their sum."""

from torch import Tensor

from sadetr.losses.alignment import (
    clip_text_logits,
    contrast_directions,
    inter_logits,
    intra_candidates,
    intra_directions,
)
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Positive clips, candidates, losses and gradients."""
    leaves = {name: fixture.leaf(f"input.{name}") for name in ("vid_mem_proj", "txt_mem_proj")}
    clips, sentence = leaves["vid_mem_proj"], leaves["txt_mem_proj"].squeeze(1)
    labels, mask = fixture["target.saliency_scores"], fixture["target.timestamp_mask"].bool()
    positive, temperature = fixture["target.saliency_pos_labels"][:, 0].long(), fixture.option("temperature")
    to_text, to_video = contrast_directions(inter_logits(clips, sentence, positive, temperature))
    within, across = intra_directions(clip_text_logits(clips, sentence, temperature), labels, mask, positive)
    losses = {
        "inter_video_to_text": to_text,
        "inter_text_to_video": to_video,
        "inter": to_text + to_video,
        "intra_over_clips": within,
        "intra_over_batch": across,
        "intra": within + across,
    }
    values = named("loss", losses)
    values["output.positive_clip"] = positive
    values["output.intra_candidates"] = intra_candidates(labels, mask, positive)
    for name, loss in losses.items():
        values |= named(f"grad.{name}", gradients(loss, leaves))
    return values
