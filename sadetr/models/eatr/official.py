"""What EaTR's authors call everything (jinhyunj/EaTR)."""

from sadetr.losses.saliency import margin_loss
from sadetr.models.detr.official import ATTENTION, DAB_LAYER, SLOT_ATTENTION, descendant, match_rows
from sadetr.models.eatr.events import pseudo_events, supervise_events
from sadetr.models.eatr.model import EaTROutput
from sadetr.models.eatr.settings import EaTRSettings
from sadetr.models.interface import Batch
from sadetr.models.official import Values, below, perceptron, size

GATED_LAYER = {
    **DAB_LAYER,
    **below("gate_cross_attn", "gate.text_attention", ATTENTION),
    **below("gate_self_attn", "gate.self_attention", ATTENTION),
    "gate_linear.*": "gate.linear.*",
    "gate_norm.*": "gate.norm.*",
}
"""QD-DETR's layer, and the gate that the first layer has."""


def outputs(output: EaTROutput, batch: Batch, settings: EaTRSettings) -> Values:
    """Event predictions, and each sample's pseudo events."""
    events = pseudo_events(batch.video, batch.video_mask, settings.events)
    values = {"pred_event_spans": output.event_spans}
    return values | {
        f"pseudo_event_spans.{sample}": spans[mask]
        for sample, (spans, mask) in enumerate(zip(events.spans, events.mask, strict=True))
    }


def losses(output: EaTROutput, batch: Batch, settings: EaTRSettings) -> Values:
    """The saliency margin, and the losses and matches of events."""
    events = pseudo_events(batch.video, batch.video_mask, settings.events)
    supervised = supervise_events(output.event_spans, events, settings.matching)
    return {
        "loss.loss_saliency": margin_loss(
            output.saliency, batch.positive_clips, batch.negative_clips, settings.saliency_margin
        ),
        "loss.loss_event_span": supervised.l1,
        "loss.loss_event_giou": supervised.giou,
        "match.event_call0": match_rows(supervised.assigned, supervised.matched),
    }


OFFICIAL = descendant(
    rules={
        **below("transformer.decoder.layers.*", "decoder.layers.*", GATED_LAYER),
        **perceptron("transformer.decoder.ref_point_head", "decoder.encoding.position", 2),
        **perceptron("transformer.decoder.query_scale", "decoder.encoding.scale", 2),
        **perceptron("transformer.decoder.ref_anchor_head", "decoder.encoding.reference_width", 2),
        "transformer.decoder.slot_atten.slots": "slots",
        **below("transformer.decoder.slot_atten", "slot_attention", SLOT_ATTENTION),
        "transformer.decoder.event_norm.*": "event_norm.*",
        # Both heads are used inside the decoder too, and stand there again.
        **perceptron("moment_span_embed", "span_head", 3),
        **perceptron("transformer.decoder.moment_span_embed", "span_head", 3),
        **perceptron("event_span_embed", "event_head", 3),
        **perceptron("transformer.decoder.event_span_embed", "event_head", 3),
        "saliency_proj.*": "saliency_head.*",
    },
    sizes={"num_moment_queries": size("transformer.decoder.slot_atten.slots", 0)},
    options={
        "saliency_margin": "saliency_margin",
        "slot_iterations": "num_slot_iter",
        "event_weight": "event_coef",
    },
    outputs=outputs,
    losses=losses,
)
