"""What adapters of DAB-DETR's decoder layers share: the authors' names of parameters and inputs."""

from torch import Tensor, nn

from sadetr.models.eatr.official import GATED_LAYER
from sadetr.models.official import renamed
from sadetr.nn.decoders import Memory
from sadetr.parity.fixture import Fixture


def our_name(theirs: str) -> str:
    """Our name of a parameter of the authors' layer; KeyError if ours has none like it."""
    ours = renamed(theirs, GATED_LAYER)
    if ours is None:
        raise KeyError(theirs)
    return ours


def layer_inputs(fixture: Fixture, prefix: str) -> dict[str, Tensor]:
    """Leaves of the layer's inputs under the authors' names, (length, batch, d)."""
    names = ("tgt", "query_pos", "query_sine_embed", "memory", "pos")
    return {name: fixture.leaf(f"{prefix}.{name}") for name in names}


def run_layer(layer: nn.Module, leaves: dict[str, Tensor], padding: Tensor, sentence: Tensor | None = None) -> Tensor:
    """Run a layer on the authors' inputs and their padding mask (B, L), True = padded -> (N, B, d)."""
    content, position, sine, clips, time = (leaf.transpose(0, 1) for leaf in leaves.values())
    # The anchors matter only where a Gaussian modulates the attention.
    anchors = content.new_full((*content.shape[:2], 2), 0.5)
    memory = Memory(clips, time, ~padding.bool(), sentence)
    return layer(content, position, sine, anchors, memory).transpose(0, 1)
