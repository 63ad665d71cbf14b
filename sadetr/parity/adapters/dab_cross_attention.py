"""DAB-DETR's decoder layer as QD-DETR has it; a first layer is one with a ``ca_qpos_proj``."""

from torch import Tensor

from sadetr.nn.decoders import DABDecoderLayer
from sadetr.parity.decoder import layer_inputs, our_name, run_layer
from sadetr.parity.fixture import Fixture, gradient_norms, gradients, named


def compute(fixture: Fixture) -> dict[str, Tensor]:
    """Contents, gradients and gradient norms of every variant."""
    values = {}
    for variant in fixture.variants:
        hidden, width = fixture[f"weight.{variant}.linear1.weight"].shape
        first = f"weight.{variant}.ca_qpos_proj.weight" in fixture
        layer = DABDecoderLayer(width, fixture.dimension("H"), hidden, 0.0, first)
        parameters = fixture.load(layer, f"weight.{variant}", our_name)
        leaves = layer_inputs(fixture, f"input.{variant}")
        content = run_layer(layer, leaves, fixture[f"input.{variant}.memory_key_padding_mask"])
        value = (content * fixture[f"input.{variant}.grad_weights"]).sum()
        values[f"output.{variant}.tgt"] = content
        values |= named(f"grad.{variant}", gradients(value, leaves))
        values |= named(f"grad_norm.{variant}", gradient_norms(value, parameters))
    return values
