"""What the adapters of DETR-style methods share: the official names of batches, options, outputs, losses."""

from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from sadetr.errors import DataError
from sadetr.losses.detection import detection_terms
from sadetr.models.detection import DetectionOutput, supervise
from sadetr.models.interface import Batch, Method, Step
from sadetr.models.weights import Imported, WeightMapping, import_weights
from sadetr.parity.fixture import Fixture, gradient_norms, named, valid_spans

Values = dict[str, Tensor]

SUPPORTED = {"position_embedding": "sine", "pre_norm": False, "span_loss_type": "l1"}
"""Options of the official code that no published run changes, and that ours does not have."""
UNCOMPARED = {"loss.class_error*": "the authors log it; it is part of no loss"}


def batch_of(fixture: Fixture) -> Batch:
    """The fixture's inputs and targets."""
    video, spans = fixture["input.src_vid"], fixture["target.spans"]
    size = len(video)
    return Batch(
        video=video,
        video_mask=fixture["input.src_vid_mask"].bool(),
        text=fixture["input.src_txt"],
        text_mask=fixture["input.src_txt_mask"].bool(),
        spans=spans,
        spans_mask=valid_spans(fixture),
        saliency=fixture["target.saliency_all_labels"].to(video.dtype),
        relevant=fixture["target.relevant_clips"].bool(),
        positive_clips=fixture["target.saliency_pos_labels"].long(),
        negative_clips=fixture["target.saliency_neg_labels"].long(),
        aligned_clip=torch.zeros(size, dtype=torch.int64),
        video_id=torch.arange(size),
    )


def settings_of(fixture: Fixture) -> dict[str, Any]:
    """Settings that no tensor shows, from the authors' options.

    Raises:
        DataError: an option is set that ours does not have.
    """
    for name, value in SUPPORTED.items():
        if fixture.option(name) != value:
            raise DataError(f"{fixture.path}: {name} is {fixture.option(name)!r}; ours has only {value!r}")
    costs = {ours: float(fixture.option(f"set_cost_{theirs}")) for ours, theirs in COSTS.items()}
    weights = {ours: float(fixture.option(f"{theirs}_loss_coef")) for ours, theirs in LOSSES.items()}
    table = fixture["weight.txt_position_embed.position_embeddings.weight"]
    return {
        "num_heads": fixture.option("nheads"),
        "dropout": float(fixture.option("dropout")),
        "input_dropout": float(fixture.option("input_dropout")),
        "text_positions": len(table) if fixture.option("use_txt_pos") else 0,
        "matching": costs,
        "loss": weights
        | {
            "saliency": float(fixture.option("lw_saliency")),
            "background": float(fixture.option("eos_coef")),
            "aux": fixture.option("aux_loss"),
        },
    }


COSTS = {"l1": "span", "giou": "giou", "label": "class"}
LOSSES = {"l1": "span", "giou": "giou", "label": "label"}


def load(fixture: Fixture, model: Method, mapping: WeightMapping) -> Imported:
    """Load the fixture's weights through the mapping of official checkpoints; ``model`` takes their precision."""
    imported = import_weights(fixture.group("weight"), mapping, model.state_dict())
    model.to(fixture["input.src_vid"].dtype).load_state_dict(imported.weights)
    return imported


def evaluate(
    fixture: Fixture,
    model: Method,
    imported: Imported,
    outputs: Callable[[Any], Values],
    losses: Callable[[Any, Batch], Values],
) -> Values:
    """All values of a fixture.

    Args:
        fixture: whose weights ``model`` holds.
        model: of the method.
        imported: what :func:`load` returned.
        outputs: the method's own outputs by official name, beside those of :func:`detections`.
        losses: the method's own losses, ``loss.x`` and ``part.x``.
    """
    batch, values = batch_of(fixture), {}
    # Given a step, a model also computes what the authors compute in evaluation and no prediction reads.
    step = Step(0, 1, torch.Generator())
    for prefix, training in (("eval_output", False), ("output", True)):
        output = model.train(training)(batch, step)
        values |= named(prefix, detections(output, model.settings.loss.aux) | outputs(output))
    values |= set_losses(output, batch, model) | losses(output, batch)
    total = torch.stack(list(model.objective(output, batch).values())).sum()
    values["loss.total"] = total
    parameters = {imported.sources[name]: parameter for name, parameter in model.named_parameters()}
    norms = gradient_norms(total, parameters)
    # What ours leaves out must be what the authors' total does not depend on.
    norms |= dict.fromkeys(imported.unused, total.new_zeros(()))
    return values | named("grad_norm", norms)


def numbered(layers: int, aux: bool) -> Mapping[str, int]:
    """Official prefix of a decoder layer's outputs -> its index; the last layer has none."""
    return {"": layers - 1} | {f"aux_outputs.{index}.": index for index in range(layers - 1) if aux}


def detections(output: DetectionOutput, aux: bool) -> Values:
    """Spans and class logits of the layers that the authors return, and clip scores."""
    values = {"saliency_scores": output.saliency}
    for prefix, layer in numbered(len(output.layer_spans), aux).items():
        values[f"{prefix}pred_spans"] = output.layer_spans[layer]
        values[f"{prefix}pred_logits"] = output.layer_logits[layer]
    return values


def loss_names(stages: int) -> Mapping[str, int]:
    """Official suffix of a supervised layer's losses -> its index, in the order in which the authors match them."""
    return {"": stages - 1} | {f"_{index}": index for index in range(stages - 1)}


def set_losses(output: DetectionOutput, batch: Batch, model: Method) -> Values:
    """The unweighted set loss of every supervised layer, and the matches."""
    settings = model.settings
    supervised = supervise(output, batch, settings)
    unweighted = settings.loss.model_copy(update=dict.fromkeys(LOSSES, 1.0))
    spans, logits = output.layer_spans[supervised.layers], output.layer_logits[supervised.layers]
    values: Values = {}
    for call, (suffix, stage) in enumerate(loss_names(len(spans)).items()):
        only, assigned = slice(stage, stage + 1), supervised.assigned[stage : stage + 1]
        terms = detection_terms(spans[only], logits[only], batch.spans, batch.spans_mask, assigned, unweighted)
        values |= {f"loss.loss_{theirs}{suffix}": terms[ours] for ours, theirs in LOSSES.items()}
        values[f"match.call{call}"] = match_rows(assigned[0], batch.spans_mask)
    return values


def match_rows(assigned: Tensor, mask: Tensor) -> Tensor:
    """(B, G) queries and mask -> (M, 3) sample, query, window; samples ascend, and queries within them."""
    rows = torch.cat((mask.nonzero(), assigned[mask].unsqueeze(1)), 1)[:, [0, 2, 1]]
    rows = rows[rows[:, 1].argsort()]
    return rows[rows[:, 0].argsort(stable=True)]
