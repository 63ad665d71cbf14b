"""Dual Path Query Initializer (section 3.3): noise anchors, and what they may see beside the direct ones."""

from dataclasses import dataclass

import torch
from torch import Tensor

from sadetr.models.interface import Step
from sadetr.models.sa_detr.settings import Denoising
from sadetr.nn.attention import visibility_bias
from sadetr.nn.spans import cw_to_se, se_to_cw


@dataclass(frozen=True)
class NoiseGroups:
    """Noise anchors of K groups, P polarities (positive first) and G ground-truth slots, flattened in this order."""

    anchors: Tensor
    """(B, K * P * G, 2) ``cw``."""
    valid: Tensor
    """(B, K * P * G) bool, False at slots beyond a sample's windows."""
    groups: int
    polarities: int
    slots: int

    def unflatten(self, values: Tensor) -> Tensor:
        """(..., K * P * G, *rest) on dimension 2 of (R, B, ...) -> (R, B, K, P, G, *rest)."""
        return values.unflatten(2, (self.groups, self.polarities, self.slots))


def scale_margin(settings: Denoising, progress: float) -> float:
    """Distance between the positive and the negative noise scale at ``progress`` in [0, 1) (Table 8, D64)."""
    if settings.margin_schedule == "fixed":
        return settings.margin_start
    return settings.margin_start + (settings.margin_end - settings.margin_start) * progress


def drawn_noise(batch: int, slots: int, settings: Denoising, step: Step) -> Tensor:
    """Noise of K groups and P polarities for the centre and the width of every ground-truth slot, on the CPU.

    Uniform between the bounds of its polarity (D29), with either sign: (B, K, P, G, 2).
    """
    polarities = 2 if settings.negatives else 1
    shape = (batch, settings.groups, polarities, slots, 2)
    draw = torch.rand(shape, generator=step.generator)
    sign = torch.randint(0, 2, shape, generator=step.generator) * 2.0 - 1.0
    low, high = _noise_ranges(settings, scale_margin(settings, step.progress))
    low, high = (torch.tensor(ends[:polarities]).view(1, 1, polarities, 1, 1) for ends in (low, high))
    return (low + (high - low) * draw) * sign


def noise_groups(spans: Tensor, mask: Tensor, settings: Denoising, noise: Tensor) -> NoiseGroups:
    """Jitter every ground-truth span once per group and polarity (section 4.2 of docs/interpretation.md, D26-D32).

    The centre moves by at most half the noise times the width (or the centre, D27), the width by the noise times
    itself; ends are clamped to the video and widths kept above ``min_width``.

    Args:
        spans: (B, G, 2) ``cw`` ground truth, zero-padded.
        mask: (B, G) bool.
        settings: the DN switches.
        noise: (B, K, P, G, 2) as :func:`drawn_noise`.

    Returns:
        Anchors with (0.5, 0.5) in invalid slots.
    """
    truth = spans[:, None, None]
    centre, width = truth.split(1, dim=-1)
    moved = width if settings.centre_scale == "width" else centre
    jittered = truth + noise * torch.cat((moved / 2, width), dim=-1)
    anchors = _valid_spans(jittered, settings.min_width)
    valid = mask[:, None, None].expand(noise.shape[:-1])
    anchors = torch.where(valid.unsqueeze(-1), anchors, anchors.new_full((), 0.5))
    return NoiseGroups(anchors.flatten(1, 3), valid.flatten(1, 3), *noise.shape[1:4])


def _noise_ranges(settings: Denoising, margin: float) -> tuple[list[float], list[float]]:
    """Lower and upper noise magnitude, positive then negative (D29)."""
    sigma_p = settings.sigma_p
    lower = {"ring": sigma_p, "full": 0.0, "shift": margin}[settings.neg_range]
    return [0.0, lower], [sigma_p, sigma_p + margin]


def _valid_spans(spans: Tensor, min_width: float) -> Tensor:
    """Clamp ``cw`` spans to the video and widen those narrower than ``min_width`` about their centre."""
    start, end = cw_to_se(spans).clamp(0, 1).unbind(-1)
    # A centre kept half the least width inside the video leaves room for the widening.
    centre = ((start + end) / 2).clamp(min_width / 2, 1 - min_width / 2)
    narrow = end - start < min_width
    start = torch.where(narrow, centre - min_width / 2, start)
    end = torch.where(narrow, centre + min_width / 2, end)
    return se_to_cw(torch.stack((start, end), dim=-1))


def self_attention_bias(noise: NoiseGroups | None, direct: int, batch: int, device: torch.device) -> Tensor | None:
    """Who sees whom in the refiner's self attention: (B, 1, N, N), 0 or -inf, row attends to column (D34).

    Direct queries see direct queries only; noise queries see their own group and the direct ones; nobody sees an
    invalid slot. Every row keeps the direct columns, so no row is empty.
    """
    if noise is None:
        return None
    group = torch.arange(noise.groups, device=device).repeat_interleave(noise.polarities * noise.slots)
    group = torch.cat((group, group.new_full((direct,), -1)))
    visible = (group[:, None] == group[None, :]) | (group[None, :] == -1)
    columns = torch.cat((noise.valid, noise.valid.new_ones(batch, direct)), dim=1)
    return visibility_bias((visible[None] & columns[:, None, :]).unsqueeze(1))
