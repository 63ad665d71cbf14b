"""A run's settings become its network, whichever method it is of."""

from sadetr.configuration import load_method
from sadetr.models.interface import Method
from sadetr.settings import RunSettings


def make_method(settings: RunSettings) -> Method:
    """The network of a run, freshly initialised from torch's global generator.

    Raises:
        SettingsError: the method's file names a class that cannot be imported.
    """
    network = load_method(settings.method).network_type()
    return network(settings.model, settings.dataset.feature_shape)
