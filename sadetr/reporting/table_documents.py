"""Tables of every layout as documents."""

from collections.abc import Callable

from sadetr.configuration import ScaleSettings
from sadetr.documents.model import Document
from sadetr.experiments import Experiment
from sadetr.layering import find
from sadetr.reporting.metrics_document import metrics_document
from sadetr.reporting.requirements import paper_table
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.seeds import seeds_document
from sadetr.reporting.sensitivity import sensitivity_document
from sadetr.reporting.settings_table import settings_document
from sadetr.reporting.tables import build_table


def table_document(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> Document:
    """A table, by its layout; cells without a run say so.

    Raises:
        SettingsError: the paper's numbers do not fit it.
        ResultsError: a run's metrics are unreadable.
    """
    return DOCUMENTS[experiment.layout](experiment, scale, source)


def _metrics(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> Document:
    """One row per run, one column per metric, ours beside the paper's."""
    return metrics_document(build_table(experiment, scale, source, paper_table(experiment)))


def _seeds(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> Document:
    """One row per run as in ``metrics``, with tests of the differences over seeds."""
    return seeds_document(experiment, scale, source, paper_table(experiment))


def _settings(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> Document:
    """The settings of one run per row beside the paper's."""
    return settings_document(experiment, scale, source, find("paper", f"{experiment.name}.csv"))


DOCUMENTS: dict[str, Callable[[Experiment, ScaleSettings, ScaleResults], Document]] = {
    "metrics": _metrics,
    "seeds": _seeds,
    "settings": _settings,
    # Differences to one row, paired by seed.
    "sensitivity": sensitivity_document,
}
"""Layout of an experiment file -> what makes a document of such a table."""
