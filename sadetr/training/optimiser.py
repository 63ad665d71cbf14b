"""The optimiser of a training: which algorithm, and which parameters decay."""

from torch import nn, optim

from sadetr.training_settings import TrainingSettings

ALGORITHMS: dict[str, type[optim.Optimizer]] = {"adamw": optim.AdamW, "adam": optim.Adam}


def make_optimiser(model: nn.Module, settings: TrainingSettings) -> optim.Optimizer:
    """The optimiser of all parameters of ``model``, which is on its device; the schedule sets the rates.

    With ``decayed: matrices`` parameters of fewer than two dimensions (norms, biases, single vectors) form a second
    group without weight decay: timm's rule, which MH-DETR has. VSLNet's, by names, leaves out the same parameters.
    """
    parameters = list(model.parameters())
    matrices = [parameter for parameter in parameters if parameter.ndim > 1]
    vectors = [parameter for parameter in parameters if parameter.ndim < 2]
    groups = [{"params": parameters}]
    if settings.decayed == "matrices":
        groups = [{"params": matrices}, {"params": vectors, "weight_decay": 0.0}]
    algorithm = ALGORITHMS[settings.optimiser]
    return algorithm(groups, lr=settings.learning_rate, weight_decay=settings.weight_decay, fused=True)
