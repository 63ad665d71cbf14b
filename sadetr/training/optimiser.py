"""The optimiser of a training: which algorithm, and which parameters decay."""

import torch
from torch import nn, optim

from sadetr.training_settings import TrainingSettings

ALGORITHMS: dict[str, type[optim.Optimizer]] = {"adamw": optim.AdamW, "adam": optim.Adam}


def make_optimiser(model: nn.Module, settings: TrainingSettings, recorded: bool = False) -> optim.Optimizer:
    """The optimiser of all parameters of ``model``, which is on its device; :func:`set_rate` sets the rates.

    With ``recorded`` its step can be repeated from a recording, which reads the rate anew: that is a tensor on the
    device, in the precision that the device's kernels read it in. On a processor, the bits are those of a number.

    With ``decayed: matrices`` parameters of fewer than two dimensions (norms, biases, single vectors) form a second
    group without weight decay: timm's rule, which MH-DETR has. VSLNet's, by names, leaves out the same parameters.
    """
    parameters = list(model.parameters())
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": parameters}]
    if settings.decayed == "matrices":
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    algorithm, rate = ALGORITHMS[settings.optimiser], settings.learning_rate
    device = parameters[0].device
    capturable = recorded and device.type == "cuda"
    if recorded:
        rate = torch.tensor(rate, device=device, dtype=torch.float32 if capturable else torch.float64)
    return algorithm(groups, lr=rate, weight_decay=settings.weight_decay, fused=True, capturable=capturable)


def set_rate(optimiser: optim.Optimizer, rate: float) -> None:
    """Set the learning rate of all groups, without waiting for the device."""
    for group in optimiser.param_groups:
        if isinstance(group["lr"], torch.Tensor):
            group["lr"].fill_(rate)
        else:
            group["lr"] = rate
