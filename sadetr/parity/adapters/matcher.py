"""QD-DETR's matching and set loss; SA-DETR's has no class in it (D50)."""

from torch import Tensor

from sadetr.losses.detection import FOREGROUND, foreground_probability, label_loss
from sadetr.losses.matching import match, pair_terms, take
from sadetr.losses.moment import span_losses
from sadetr.models.detr.official import match_rows
from sadetr.models.official import valid_spans
from sadetr.parity.fixture import Fixture, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Costs of all queries and windows of the batch, assignment, losses and gradients."""
    spans, logits = fixture.leaf("input.pred_spans"), fixture.leaf("input.pred_logits")
    truth, mask = fixture["target.spans"], valid_spans(fixture)
    weights = {name: fixture.option(f"cost_{name}") for name in ("class", "span", "giou")}

    # Samples see each other's windows here: one list of windows for all of them.
    everything = truth[mask].expand(len(spans), -1, -1)
    distance, overlap = pair_terms(spans.detach(), everything)
    label = -foreground_probability(logits.detach())
    costs = {"span": distance, "giou": -overlap, "class": label.unsqueeze(-1).expand_as(distance)}
    values = {f"output.cost_{name}": cost for name, cost in costs.items()}
    values["output.cost_total"] = sum(weights[name] * cost for name, cost in costs.items())

    assigned = match(spans[None], truth, mask, weights["span"], weights["giou"], weights["class"] * label[None])
    values["output.assignment"] = match_rows(assigned[0], mask)
    l1, giou = span_losses(take(spans[None], assigned), truth, mask)
    matched = take(logits[None], assigned)[0][mask]
    losses = {
        "label": label_loss(logits[None], assigned, mask, fixture.option("eos_coef")),
        "span_l1": l1,
        "span_giou": giou,
        "class_error": 100 * (matched.argmax(-1) != FOREGROUND).to(matched.dtype).mean(),
    }
    values |= named("loss", losses)
    values |= named("grad.label", gradients(losses["label"], {"pred_logits": logits}))
    for name in ("span_l1", "span_giou"):
        values |= named(f"grad.{name}", gradients(losses[name], {"pred_spans": spans}))
    return values
