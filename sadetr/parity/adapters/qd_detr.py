"""QD-DETR as its authors' code computes it."""

from torch import Tensor

from sadetr.models.interface import Batch
from sadetr.models.qd_detr.model import QDDETROutput
from sadetr.models.qd_detr.weights import MAPPING, architecture
from sadetr.parity import detection
from sadetr.parity.detection import Values
from sadetr.parity.fixture import Fixture

UNCOMPARED = detection.UNCOMPARED


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Outputs, losses and gradients of the whole network."""
    model = architecture(
        fixture.group("weight"),
        **detection.settings_of(fixture),
        saliency={"margin": float(fixture.option("saliency_margin"))},
    )
    imported = detection.load(fixture, model, MAPPING)

    def outputs(output: QDDETROutput) -> Values:
        return {"saliency_scores_neg": output.negative_saliency, "video_mask": fixture["input.src_vid_mask"]}

    def losses(output: QDDETROutput, batch: Batch) -> Values:
        terms = model.saliency_terms(output, batch)
        return {
            "loss.loss_saliency": sum(terms.values()),
            "part.loss_rank_contrastive": terms["saliency_rank"],
            "part.loss_neg_pair": terms["saliency_negative"],
        }

    return detection.evaluate(fixture, model, imported, outputs, losses)
