"""EaTR's gated fusion alone, and inside its first decoder layer."""

from torch import Tensor

from sadetr.nn.gating import GatedDecoderLayer
from sadetr.parity.decoder import layer_inputs, our_name, run_layer
from sadetr.parity.fixture import Fixture, gradient_norms, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Outputs of the block and of the layer; gradients of the block."""
    hidden, width = fixture["weight.linear1.weight"].shape
    layer = GatedDecoderLayer(width, fixture.dimension("H"), hidden, 0.0)
    parameters = fixture.load(layer, "weight", our_name)
    leaves = {name: fixture.leaf(f"input.{name}") for name in ("content", "text_global")}
    content, sentence = (leaf.transpose(0, 1) for leaf in leaves.values())
    text, mixed = layer.gate.attended(content, sentence)
    gated = layer.gate(content, sentence).transpose(0, 1)
    value = (gated * fixture["input.grad_weights"]).sum()
    padding = fixture["input.full.memory_key_padding_mask"]
    values = {
        "output.gated": gated,
        "output.text_attended": text.transpose(0, 1),
        "output.self_attended": mixed.transpose(0, 1),
        "output.full.tgt": run_layer(layer, layer_inputs(fixture, "input.full"), padding, sentence),
    }
    values |= named("grad", gradients(value, leaves))
    return values | named("grad_norm", gradient_norms(value, parameters))
