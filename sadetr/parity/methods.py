"""A whole method as its authors' code computes it: the one flow of every such check.

What differs between methods stands in their modules ``official``.
"""

import torch

from sadetr.configuration import MethodSettings
from sadetr.models.interface import Step
from sadetr.models.official import Values, import_weights
from sadetr.models.weights import load_official, official_network
from sadetr.parity.fixture import Fixture, gradient_norms, named


def compute(fixture: Fixture, method: MethodSettings) -> Values:
    """Outputs in training and evaluation, losses, matches and gradient norms.

    Raises:
        SadetrError: the fixture is not one of this method, or has an option that ours does not have.
    """
    official, tensors = load_official(method), fixture.group("weight")
    model, settings = official_network(method, tensors, fixture)
    imported = import_weights(tensors, official, model.state_dict())
    batch, values = official.batch(fixture), {}
    model.to(batch.video.dtype).load_state_dict(imported.weights)
    # Given a step, a model also computes what the authors compute in evaluation and no prediction reads. A fixture says
    # at which epoch training is, where that makes a difference; evaluation is at the first one.
    trained_epochs = fixture.meta.get("epoch", 0)
    for prefix, training, epoch in (("eval_output", False, 0), ("output", True, trained_epochs)):
        output = model.train(training)(batch, Step(epoch, epoch + 1, torch.Generator()))
        values |= named(prefix, official.outputs(output, batch, settings))
    output = official.losses_at(output, fixture)
    values |= official.losses(output, batch, settings)
    total = torch.stack(list(model.objective(output, batch).values())).sum()
    values["loss.total"] = total
    parameters = dict(model.named_parameters())
    trained = {theirs: parameters[ours] for theirs, ours in imported.targets.items() if ours in parameters}
    norms = gradient_norms(total, trained)
    # What ours leaves out must be what the authors' total does not depend on.
    norms |= dict.fromkeys(imported.unused, total.new_zeros(()))
    return values | named("grad_norm", norms)
