"""Moment-DETR as its authors' code computes it."""

from torch import Tensor

from sadetr.losses.alignment import query_text_contrast
from sadetr.losses.saliency import margin_loss
from sadetr.models.detection import supervise
from sadetr.models.interface import Batch
from sadetr.models.moment_detr.model import MomentDETROutput
from sadetr.models.moment_detr.weights import MAPPING, architecture
from sadetr.parity import detection
from sadetr.parity.detection import Values
from sadetr.parity.fixture import Fixture

UNCOMPARED = detection.UNCOMPARED


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Outputs, losses and gradients of the whole network."""
    contrast = {}
    if fixture.option("contrastive_align_loss"):
        contrast = {
            "temperature": float(fixture.option("temperature")),
            "weight": float(fixture.option("contrastive_align_loss_coef")),
        }
    model = architecture(
        fixture.group("weight"),
        **detection.settings_of(fixture),
        saliency_margin=float(fixture.option("saliency_margin")),
        contrast=contrast,
    )
    imported = detection.load(fixture, model, MAPPING)

    def outputs(output: MomentDETROutput) -> Values:
        if output.contrast is None:
            return {}
        embeddings, values = output.contrast, {"proj_vid_mem": output.contrast.video}
        for prefix, layer in detection.numbered(len(embeddings.queries), model.settings.loss.aux).items():
            values |= {f"{prefix}proj_queries": embeddings.queries[layer], f"{prefix}proj_txt_mem": embeddings.text}
        return values

    def losses(output: MomentDETROutput, batch: Batch) -> Values:
        margin = model.settings.saliency_margin
        values = {
            "loss.loss_saliency": margin_loss(output.saliency, batch.positive_clips, batch.negative_clips, margin)
        }
        return values | _contrast_losses(output, batch, model.settings)

    return detection.evaluate(fixture, model, imported, outputs, losses)


def _contrast_losses(output: MomentDETROutput, batch: Batch, settings) -> Values:
    if output.contrast is None:
        return {}
    supervised = supervise(output, batch, settings)
    queries = output.contrast.queries[supervised.layers]
    return {
        f"loss.loss_contrastive_align{suffix}": query_text_contrast(
            queries[stage : stage + 1],
            output.contrast.text,
            supervised.assigned[stage : stage + 1],
            batch.spans_mask,
            settings.contrast.temperature,
        )
        for suffix, stage in detection.loss_names(len(queries)).items()
    }
