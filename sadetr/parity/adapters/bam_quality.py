"""BAM-DETR's quality loss; SA-DETR has its targets, and another mean (eq 8)."""

from torch import Tensor

from sadetr.losses.quality import binned_quality_losses, quality_bins, quality_targets
from sadetr.models.official import valid_spans
from sadetr.parity.fixture import Fixture, gradients, named

BINS = ("low", "middle", "high")


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Targets, sizes of the bins, losses and gradients of every variant."""
    values, mask = {}, valid_spans(fixture)
    for variant in fixture.variants:
        quality = fixture.leaf(f"input.{variant}.pred_quality")
        targets = quality_targets(fixture[f"input.{variant}.pred_spans"][None], fixture["target.spans"], mask)[0]
        losses = binned_quality_losses(quality.squeeze(-1), targets)
        counts = quality_bins(targets).flatten().bincount(minlength=len(BINS))
        values |= {f"output.{variant}.target_quality": targets, f"output.{variant}.bucket_counts": counts.flip(0)}
        values |= named(f"loss.{variant}", dict(zip(BINS, losses, strict=True)) | {"total": losses.mean()})
        values |= named(f"grad.{variant}", gradients(losses.mean(), {"pred_quality": quality}))
    return values
