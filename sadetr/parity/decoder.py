"""What adapters of DAB-DETR's decoder layers share: the authors' names of parameters and inputs."""

from torch import Tensor, nn

from sadetr.nn.decoders import Memory
from sadetr.parity.fixture import Fixture

PARAMETERS = {
    "sa_qcontent_proj": "self_attention.query",
    "sa_qpos_proj": "self_attention.query_position",
    "sa_kcontent_proj": "self_attention.key",
    "sa_kpos_proj": "self_attention.key_position",
    "sa_v_proj": "self_attention.value",
    "self_attn.out_proj": "self_attention.out",
    "ca_qcontent_proj": "cross_attention.query",
    "ca_qpos_proj": "cross_attention.query_position",
    "ca_kcontent_proj": "cross_attention.key",
    "ca_kpos_proj": "cross_attention.key_position",
    "ca_v_proj": "cross_attention.value",
    "ca_qpos_sine_proj": "cross_attention.query_sine",
    "cross_attn.out_proj": "cross_attention.out",
    "linear1": "feedforward.0",
    "activation": "feedforward.1",
    "linear2": "feedforward.3",
    "norm1": "norm1",
    "norm2": "norm2",
    "norm3": "norm3",
    "gate_cross_attn.out_proj": "gate.text_attention.out",
    "gate_self_attn.out_proj": "gate.self_attention.out",
    "gate_linear": "gate.linear",
    "gate_norm": "gate.norm",
}
"""The authors' module -> ours."""
PACKED = {
    "gate_cross_attn.in_proj_": "gate.text_attention.in_",
    "gate_self_attn.in_proj_": "gate.self_attention.in_",
}
"""The same for packed input projections, whose parameters belong to the attention itself."""


def our_name(theirs: str) -> str:
    """Our name of a parameter of the authors' layer; KeyError if ours has none like it."""
    for prefix, ours in PACKED.items():
        if theirs.startswith(prefix):
            return ours + theirs.removeprefix(prefix)
    module, _, parameter = theirs.rpartition(".")
    return f"{PARAMETERS[module]}.{parameter}"


def layer_inputs(fixture: Fixture, prefix: str) -> dict[str, Tensor]:
    """Leaves of the layer's inputs under the authors' names, (length, batch, d)."""
    names = ("tgt", "query_pos", "query_sine_embed", "memory", "pos")
    return {name: fixture.leaf(f"{prefix}.{name}") for name in names}


def run_layer(layer: nn.Module, leaves: dict[str, Tensor], padding: Tensor, *more: Tensor) -> Tensor:
    """Run a layer on the authors' inputs and their padding mask (B, L), True = padded -> (N, B, d)."""
    content, position, sine, clips, time = (leaf.transpose(0, 1) for leaf in leaves.values())
    # The anchors matter only where a Gaussian modulates the attention.
    anchors = content.new_full((*content.shape[:2], 2), 0.5)
    return layer(content, position, sine, anchors, Memory(clips, time, ~padding.bool()), *more).transpose(0, 1)
