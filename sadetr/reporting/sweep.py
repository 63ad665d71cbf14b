"""Figures with one point per row: a metric against one value of the settings, Figure 6's number of noise groups say."""

from typing import TYPE_CHECKING

from sadetr.configuration import ScaleSettings
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment
from sadetr.reporting.figures import STYLE
from sadetr.reporting.requirements import place_of
from sadetr.reporting.scores import ScaleResults

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def sweep_figure(experiment: Experiment, scale: ScaleSettings, results: ScaleResults) -> "Figure":
    """A line through the rows' points, with bars of one standard deviation where a row has several seeds.

    Rows that are not run, or whose split has no labels, keep their place on the axis and are named in the legend.

    Raises:
        SettingsError: a row has no ``x``.
        ResultsError: none of the rows is run, or a run's metrics are unreadable.
    """
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.style import context

    (metric,), (label,) = experiment.metrics, experiment.label_columns
    places = {row.key: place_of(experiment, row) for row in experiment.rows}
    scores = {row.key: results.score(row.runs, experiment.split, row.checkpoint, metric) for row in experiment.rows}
    there = [row for row in experiment.rows if scores[row.key].mean is not None]
    missing: dict[str, list[str]] = {}
    for row in experiment.rows:
        if row not in there:
            state = "no labels" if scores[row.key].state == "no labels" else "not run"
            missing.setdefault(state, []).append(row.labels[label])
    if not there and "no labels" not in missing:
        raise ResultsError(
            f"{results.folder / 'runs'}: no run of {experiment.name} is evaluated. Train them first: "
            f"'snakemake --cores 1 {experiment.name}'"
        )
    x = [places[row.key] for row in there]
    y = [scores[row.key].mean for row in there]
    spreads = [scores[row.key].std for row in there]
    with context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        colour = seaborn.color_palette("colorblind", 1)[0]
        axes.plot(x, y, "o-", color=colour, clip_on=False)
        if any(spread is not None for spread in spreads):
            bars = [spread or 0.0 for spread in spreads]
            axes.errorbar(x, y, yerr=bars, fmt="none", ecolor=colour, capsize=3, label="± one standard deviation")
        for state, names in missing.items():
            axes.plot([], [], " ", label=f"{state}: {', '.join(names)}")
        axes.set_xticks(list(places.values()), [row.labels[label] for row in experiment.rows])
        axes.set(xlabel=label, ylabel=f"{experiment.split} {metric} (%)", title=scale.label)
        if axes.get_legend_handles_labels()[1]:
            axes.legend(loc="best")
    return figure
