"""What autograd keeps for a backward pass, and what that makes of it."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn


def tensors_kept(forward: Callable[[], Tensor], given: Sequence[Tensor] = ()) -> list[Tensor]:
    """All that ``forward`` keeps, one of each memory, those ``given`` left out."""
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        kept[tensor.untyped_storage().data_ptr()] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        result = forward()
    for tensor in given:
        kept.pop(tensor.untyped_storage().data_ptr(), None)
    assert result.requires_grad
    return list(kept.values())


def bytes_kept(forward: Callable[[], Tensor], given: Sequence[Tensor] = ()) -> int:
    """Of these tensors."""
    return sum(tensor.untyped_storage().nbytes() for tensor in tensors_kept(forward, given))


def has_gradients_of_its_values(module: nn.Module, x: Tensor) -> bool:
    """Whether finite differences of a module, of the same draws each time, are its gradients."""

    def forward(x: Tensor, *parameters: Tensor) -> Tensor:
        torch.manual_seed(3)
        return module(x)

    return torch.autograd.gradcheck(forward, (x, *module.parameters()))
