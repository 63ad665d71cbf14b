"""Figures from the runs' histories: seaborn on matplotlib, style in ``paper.mplstyle``, equal inputs, equal bytes."""

import itertools
import math
from pathlib import Path
from typing import TYPE_CHECKING

from sadetr.configuration import ScaleSettings
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment, Row
from sadetr.files import atomic_path
from sadetr.reporting.metrics import read_history
from sadetr.reporting.published import LOGS, Curve, read_curves
from sadetr.reporting.scores import ScaleResults

if TYPE_CHECKING:
    import pandas
    from matplotlib.figure import Figure

STYLE = Path(__file__).with_name("paper.mplstyle")
# Whatever names a date or a program is left out of the files.
METADATA = {
    "pdf": {"CreationDate": None, "Creator": None, "Producer": None},
    "svg": {"Date": None, "Creator": None},
    "png": {"Software": None},
}
OURS = ("", (3, 1, 1, 1), (1, 1), (5, 1, 1, 1, 1, 1))
"""Line styles of our own curves; published logs are dashed, each with a dash of its own length."""
PUBLISHED = ((4, 1.5), (2, 1), (7, 2), (4, 4), (2, 3), (10, 2))


def convergence_data(experiment: Experiment, results: ScaleResults) -> "pandas.DataFrame":
    """Validation curves in long format: columns curve, seed, epoch (1-based) and the experiment's metric, in percent.

    Epochs without validation, runs without a history and published logs that are not there are left out; the seed of
    a published log is 0.

    Raises:
        ResultsError: there is not one curve, or a history cannot be read.
        DataError: the published logs are malformed.
    """
    import pandas

    metric = experiment.metrics[0]
    column = f"{experiment.split}/{metric}"
    frames = []
    for row in experiment.rows:
        curve = _legend(experiment, row)
        for run in row.runs:
            path = results.run(run).history
            if path.exists():
                frame = read_history(path, ["epoch", column]).to_pandas().dropna()
                frames.append(frame.rename(columns={column: metric}).assign(curve=curve, seed=run.seed))
        if (log := _published(experiment, row, results)) is not None:
            points = {"epoch": log.epochs, metric: log.values, "curve": curve, "seed": 0}
            frames.append(pandas.DataFrame(points))
    if not frames:
        raise ResultsError(
            f"{results.folder / 'runs'}: no run of {experiment.name} has a history.parquet. Train them first: "
            f"'snakemake --cores 1 {experiment.name}'"
        )
    return pandas.concat(frames, ignore_index=True)


def absent_logs(experiment: Experiment, results: ScaleResults) -> list[str]:
    """Methods whose published log the experiment names and that is not there.

    Raises:
        DataError: the published logs are malformed.
    """
    rows = [row for row in experiment.rows if row.published_log is not None]
    return [row.published_log.method for row in rows if _published(experiment, row, results) is None]


def _published(experiment: Experiment, row: Row, results: ScaleResults) -> Curve | None:
    root, log = results.layout.published, row.published_log
    if root is None or log is None or not (path := root / log.setting / LOGS).exists():
        return None
    metric = experiment.metrics[0]
    return read_curves(path, [metric]).get((log.method, metric))


def _legend(experiment: Experiment, row: Row) -> str:
    label = row.labels[experiment.label_columns[0]]
    return label if row.published_log is None else f"{label}, published log"


def convergence_figure(experiment: Experiment, scale: ScaleSettings, results: ScaleResults) -> "Figure":
    """Validation metric per epoch, one curve per row; the dot is the best epoch.

    Rows with several seeds show their mean with a band of one standard deviation. Rows whose runs are missing keep
    their place in the legend, as "not run"; published logs that are missing do not.

    Raises:
        ResultsError, DataError: as :func:`convergence_data`.
    """
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.style import context
    from matplotlib.ticker import MaxNLocator

    data = convergence_data(experiment, results)
    metric = experiment.metrics[0]
    means = data.groupby(["curve", "epoch"], sort=True)[metric].mean()
    drawn = set(means.index.get_level_values("curve"))
    ours = [_legend(experiment, row) for row in experiment.rows if row.published_log is None]
    published = [_legend(experiment, row) for row in experiment.rows if row.published_log is not None]
    curves = ours + [curve for curve in published if curve in drawn]
    # Colours and dashes follow the experiment's rows, so that an absent log does not repaint the others.
    palette = dict(zip(ours + published, seaborn.color_palette("colorblind", len(ours + published)), strict=True))
    dashes = dict(zip(ours, itertools.cycle(OURS), strict=False))
    dashes |= dict(zip(published, itertools.cycle(PUBLISHED), strict=False))
    with context(STYLE):
        figure = Figure(figsize=(3.4, 2.2 + 0.15 * math.ceil((len(curves) + 1) / 2)))
        axes = figure.subplots()
        style = {"palette": palette, "hue_order": curves, "dashes": dashes, "style_order": curves}
        seaborn.lineplot(
            data, x="epoch", y=metric, hue="curve", style="curve", errorbar="sd", legend=False, ax=axes, **style
        )
        for curve in curves:
            # An empty line carries the legend's entry also where there is no curve.
            line = axes.plot([], [], color=palette[curve], label=curve if curve in drawn else f"{curve} (not run)")[0]
            if dashes[curve]:
                line.set_dashes(dashes[curve])
            if curve in drawn:
                epoch = means[curve].idxmax()
                axes.plot(epoch, means[curve, epoch], "o", color=palette[curve], clip_on=False)
        axes.plot([], [], "o", color="0.35", label="best epoch")
        axes.set(xlabel="Epoch", ylabel=f"{experiment.split} {metric} (%)", title=scale.label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        figure.legend(loc="outside lower center", ncols=2, fontsize=6, columnspacing=1.0)
    return figure


def write_figure(figure: "Figure", folder: Path | str, name: str) -> list[Path]:
    """Write ``<folder>/<name>`` as pdf, svg and png, each in one step; returns the paths."""
    from matplotlib.style import context

    paths = [Path(folder) / f"{name}.{suffix}" for suffix in METADATA]
    with context(STYLE):
        _fix_layout(figure)
        for path, (suffix, metadata) in zip(paths, METADATA.items(), strict=True):
            with atomic_path(path) as temporary:
                figure.savefig(temporary, format=suffix, metadata=metadata)
    return paths


def _fix_layout(figure: "Figure") -> None:
    """Arrange the axes now, and round where they are.

    The solver of the constrained layout may differ in the last bit from one call to the next, and SVG names its clip
    paths by those bits.
    """
    figure.draw_without_rendering()
    figure.set_layout_engine("none")
    for axes in figure.axes:
        axes.set_position([round(value, 6) for value in axes.get_position().bounds])
