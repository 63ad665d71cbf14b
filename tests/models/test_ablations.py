"""Each row of the ablation tables changes exactly what it says: parameters, loss terms and the graph behind each term.

The full model is compared with every other row. What a switch is expected to change is written down once per switch in
:data:`CHANGES`; a row must show the changes of the switches that its labels turn, and no other.
"""

import functools
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import pytest
import torch
from torch import Tensor

from sadetr.configuration import resolve
from sadetr.experiments import load_experiment
from sadetr.models.sa_detr.model import SADETR
from sadetr.models.sa_detr.settings import SADETRSettings
from tests.samples import SHAPE, shaken, small_batch, small_step

NARROW = {
    "hidden_width": 32,
    "num_heads": 4,
    "feedforward_width": 48,
    "dropout": 0.0,
    "input_dropout": 0.0,
}

ENCODER = {"saliency_margin", "saliency_rank", "saliency_negative"}
ALIGNMENT = {"vtc", "ctm_local", "ctm_intra", "ctm_inter"}
INIT = {"init_l1", "init_giou"}
DIRECT = {"direct_l1", "direct_giou", "quality"}
NOISE = {"noise_l1", "noise_giou"}
MARGIN = {"quality_margin"}
ALL_TERMS = ENCODER | ALIGNMENT | INIT | DIRECT | NOISE | MARGIN

ENHANCE = {
    f"refiner.layers.{layer}.enhance.{name}"
    for layer in (0, 1)
    for name in ("clip.weight", "sentence.weight", "fuse.weight", "fuse.bias", "norm.weight", "norm.bias")
}
ANCHOR_MLP = {f"direct_anchors.mlp.{layer}.{kind}" for layer in (0, 2, 4) for kind in ("weight", "bias")}


@dataclass(frozen=True)
class Change:
    """What a switch changes in the full model."""

    removed: set[str] = field(default_factory=set)
    """Parameters that are gone."""
    added: set[str] = field(default_factory=set)
    lost: set[str] = field(default_factory=set)
    """Loss terms that are gone."""
    rewired: set[str] = field(default_factory=set)
    """Terms that remain, but with another graph behind them: other operations or other parameters."""
    moved: set[str] = field(default_factory=set)
    """Terms that remain with the same graph and another value."""


CHANGES = {
    # Losses alone.
    "vtc off": Change(lost={"vtc"}),
    "ctm off": Change(lost=ALIGNMENT - {"vtc"}),
    "init_loss off": Change(lost=INIT),
    # Other anchors for the direct queries; everything the refiner makes of them is rewired.
    "learned anchors": Change(
        removed=ANCHOR_MLP,
        added={"direct_anchors.learned.weight"},
        lost=INIT,
        rewired=DIRECT | NOISE | MARGIN,
    ),
    # The refiner's blocks; noise queries pass through them too.
    "enhance off": Change(removed=ENHANCE, rewired=DIRECT | NOISE | MARGIN),
    "modulate off": Change(rewired=DIRECT | NOISE | MARGIN),
    # Without noise the direct queries compute what they computed, in a graph without the noise's rows.
    "denoising off": Change(removed={"noise_content"}, lost=NOISE | MARGIN, rewired=DIRECT),
    "negatives off": Change(lost=MARGIN, moved=NOISE),
    "shrinking margin": Change(moved=NOISE | MARGIN),
    "groups": Change(moved=NOISE | MARGIN),
    # The stage of one loss: other features behind that loss.
    "vtc after": Change(rewired={"vtc"}),
    "ctm before": Change(rewired=ALIGNMENT - {"vtc"}),
}

FA_OFF, QI_OFF, AD_OFF, DN_OFF = (
    ("vtc off", "ctm off"),
    ("learned anchors",),
    ("enhance off", "modulate off"),
    ("denoising off",),
)


def table_4(labels: dict[str, str]) -> tuple[str, ...]:
    off = {"FA": FA_OFF, "QI": QI_OFF, "AD": AD_OFF, "DN": DN_OFF}
    return tuple(switch for name, mark in labels.items() if not mark for switch in off[name])


SAID = {
    "table4": lambda row: table_4(row.labels),
    "table5": lambda row: {
        "baseline": ("learned anchors",),
        "dynamic_anchor": ("init_loss off",),
        "init_loss": (),
    }[row.key],
    "table6": lambda row: tuple(f"{name} off" for name in ("modulate", "enhance") if not row.labels[name]),
    "table7": lambda row: (
        ("vtc after",) * (row.labels["L_vtc"] == "after") + ("ctm before",) * (row.labels["L_ctm"] == "before")
    ),
    "table8": lambda row: {
        "without_contrastive_groups": ("negatives off",),
        "course_learning": ("shrinking margin",),
        "fixed_margin": (),
    }[row.key],
    "table10": lambda row: tuple(f"{name} off" for name in ("vtc", "ctm") if not row.labels[f"L_{name}"]),
    "figure6": lambda row: {"0": ("denoising off",), "5": ()}.get(row.key, ("groups",)),
}
"""Table -> the switches that a row turns in the full model, read from the row's labels."""

ROWS = [(name, row) for name in SAID for row in load_experiment(name, "paper").rows]


def built(variant: str) -> SADETR:
    """The variant as trained at the paper's scale, narrow and without dropout, with the full model's weights."""
    settings = resolve("qvhighlights", "sa_detr", variant, 2018, "paper").model
    torch.manual_seed(0)
    full = shaken(SADETR(narrow(resolve("qvhighlights", "sa_detr", "full", 2018, "paper").model), SHAPE))
    model = SADETR(narrow(settings), SHAPE)
    model.load_state_dict(full.state_dict(), strict=False)
    return model.train()


def narrow(settings: SADETRSettings) -> SADETRSettings:
    return settings.model_copy(update=NARROW)


@dataclass(frozen=True)
class Term:
    """A loss term's value, and the operations (by name) and parameters that its gradient reaches."""

    value: float
    operations: Counter
    parameters: frozenset[str]


@dataclass(frozen=True)
class Signature:
    """What a row is: shapes of its parameters, and its loss terms."""

    parameters: dict[str, torch.Size]
    terms: dict[str, Term]


def signature(variant: str) -> Signature:
    # Many windows, so that every case of a loss occurs also with one noise group.
    model, batch = built(variant), small_batch(clips=(9, 6, 8, 7), tokens=(5, 3, 1, 4), windows=(4, 3, 5, 5))
    # Half-way through training, where a shrinking margin has moved.
    terms = model.objective(model(batch, small_step(progress=0.5)), batch)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    reached: list[Any] = []
    for node in nodes_behind(terms.values()):
        node.register_prehook(functools.partial(remember, node, reached))
    found = {}
    for name, value in terms.items():
        reached.clear()
        value.backward(retain_graph=True)
        trained = frozenset(names[id(node.variable)] for node in reached if hasattr(node, "variable"))
        found[name] = Term(value.item(), Counter(node.name() for node in reached), trained)
    return Signature({name: parameter.shape for name, parameter in model.named_parameters()}, found)


def nodes_behind(values: Iterable[Tensor]) -> set[Any]:
    """All nodes of the autograd graph behind ``values``."""
    open_nodes = [value.grad_fn for value in values]
    nodes = set(open_nodes)
    while open_nodes:
        fresh = {following for following, _ in open_nodes.pop().next_functions if following is not None} - nodes
        nodes |= fresh
        open_nodes += fresh
    return nodes


def remember(node: Any, reached: list[Any], gradients: tuple[Tensor | None, ...]) -> None:
    """Called before ``node`` passes its gradients on. Terms of one tensor share nodes: a zero gradient reaches none."""
    if any(gradient is not None and bool(gradient.any()) for gradient in gradients):
        reached.append(node)


@pytest.fixture(scope="module")
def signatures() -> dict[str, Signature]:
    variants = {row.runs[0].variant for _, row in ROWS}
    return {variant: signature(variant) for variant in sorted(variants)}


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row.key}" for name, row in ROWS])
def test_a_row_changes_what_it_says_and_nothing_else(name, row, signatures):
    full, ours = signatures["full"], signatures[row.runs[0].variant]
    changes = [CHANGES[switch] for switch in SAID[name](row)]

    def union(part: str) -> set[str]:
        return set().union(*(getattr(change, part) for change in changes))

    assert full.parameters.keys() - ours.parameters.keys() == union("removed")
    assert ours.parameters.keys() - full.parameters.keys() == union("added")
    kept = full.parameters.keys() & ours.parameters.keys()
    assert all(full.parameters[key] == ours.parameters[key] for key in kept)

    assert full.terms.keys() == ALL_TERMS
    assert full.terms.keys() - ours.terms.keys() == union("lost")
    assert ours.terms.keys() <= full.terms.keys()

    rewired = {
        key
        for key, term in ours.terms.items()
        if (term.operations, term.parameters) != (full.terms[key].operations, full.terms[key].parameters)
    }
    assert rewired == union("rewired") - union("lost")
    moved = {
        key
        for key, term in ours.terms.items()
        if key not in rewired and term.value != pytest.approx(full.terms[key].value, rel=1e-5)
    }
    assert moved == union("moved") - union("lost") - rewired


def operations(signatures, variant: str, term: str) -> Counter:
    return signatures[variant].terms[term].operations


@pytest.mark.parametrize(("name", "row"), ROWS, ids=[f"{name}-{row.key}" for name, row in ROWS])
def test_the_gaussian_is_there_exactly_where_the_row_modulates(name, row, signatures):
    """Logits times exp(-alpha (grid - c)^2 / w^2); only the first layer's anchors have a gradient."""
    without = operations(signatures, "enhance", "direct_l1")["ExpBackward0"]
    ours = operations(signatures, row.runs[0].variant, "direct_l1")["ExpBackward0"]
    assert ours - without == ("modulate off" not in SAID[name](row))


def test_modulation_adds_operations_and_no_parameter(signatures):
    full, off = (signatures[variant].terms["direct_l1"] for variant in ("full", "enhance"))
    assert not off.operations - full.operations
    assert full.parameters == off.parameters


def test_enhancement_trains_its_own_parameters_and_the_sentence_token(signatures):
    """M_t enters the refiner through the enhance block alone, and with it what makes it."""
    full, off = (signatures[variant].terms["direct_l1"].parameters for variant in ("full", "modulate"))
    assert full - off == ENHANCE | {"aligner.pooling.score.weight"}
    assert not off - full


def test_denoising_shares_every_weight_but_its_content(signatures):
    """Noise queries go through the refiner of the direct ones."""
    terms = signatures["full"].terms
    refiner = {key for key in terms["noise_l1"].parameters if key.startswith("refiner.")}
    assert {key for key in terms["direct_l1"].parameters if key.startswith("refiner.")} == refiner
    assert "noise_content" in terms["noise_l1"].parameters
    assert terms["direct_l1"].value == pytest.approx(signatures["without_denoising"].terms["direct_l1"].value, rel=1e-5)


def test_the_initial_anchors_learn_from_the_refiner_where_they_have_no_loss(signatures):
    terms = signatures["without_init_loss"].terms
    assert terms["direct_l1"].parameters >= ANCHOR_MLP
    assert signatures["full"].terms["init_l1"].parameters >= ANCHOR_MLP
    assert not any(key.startswith("refiner.") for key in signatures["full"].terms["init_l1"].parameters)


def test_stages_decide_what_the_alignment_trains(signatures):
    def reaches(variant: str, term: str, part: str) -> bool:
        return any(key.startswith(part) for key in signatures[variant].terms[term].parameters)

    for variant, vtc, ctm in (
        ("full", False, True),
        ("vtc_before_ctm_before", False, False),
        ("vtc_after_ctm_before", True, False),
        ("vtc_after_ctm_after", True, True),
    ):
        assert reaches(variant, "vtc", "aligner.layers") == vtc
        assert reaches(variant, "ctm_local", "aligner.layers") == ctm


def test_neighbouring_rows_of_table_4_differ_in_one_component():
    """The pairs that the paper's text compares, and those with the baseline."""
    rows = {row.key: {name for name, mark in row.labels.items() if mark} for name, row in ROWS if name == "table4"}
    steps = {"ab": "FA", "ac": "QI", "ad": "AD", "ae": "DN", "cf": "DN", "dg": "QI", "hj": "FA", "ij": "AD"}
    for (first, second), component in steps.items():
        assert rows[second] - rows[first] == {component}
        assert not rows[first] - rows[second]
