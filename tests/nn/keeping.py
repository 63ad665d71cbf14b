"""What autograd keeps for a backward pass."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor


def bytes_kept(forward: Callable[[], Tensor], given: Sequence[Tensor] = ()) -> int:
    """Of all tensors that ``forward`` keeps, those ``given`` left out."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    for tensor in given:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    assert result.requires_grad
    return sum(tensor.untyped_storage().nbytes() for tensor in kept.values())
