"""Figures from the runs' histories: seaborn on matplotlib, style in ``paper.mplstyle``, equal inputs, equal bytes."""

from pathlib import Path
from typing import TYPE_CHECKING

from sadetr.configuration import ScaleSettings
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment
from sadetr.files import atomic_path
from sadetr.reporting.metrics import ScaleResults, read_history

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


def convergence_data(experiment: Experiment, results: ScaleResults) -> "pandas.DataFrame":
    """Validation curves in long format: columns curve, seed, epoch (1-based) and the experiment's metric, in percent.

    Epochs without validation and runs without a history are left out.

    Raises:
        ResultsError: no run has a history, or one cannot be read.
    """
    import pandas

    (metric,), (label,) = experiment.metrics, experiment.label_columns
    column = f"{experiment.split}/{metric}"
    frames = []
    for row in experiment.rows:
        for run in row.runs:
            path = results.run_folder(run) / "history.parquet"
            if not path.exists():
                continue
            frame = read_history(path, ["epoch", column]).to_pandas().dropna()
            frames.append(frame.rename(columns={column: metric}).assign(curve=row.labels[label], seed=run.seed))
    if not frames:
        raise ResultsError(
            f"{results.folder / 'runs'}: no run of {experiment.name} has a history.parquet. Train them first: "
            f"'snakemake --cores 1 {experiment.name}'"
        )
    return pandas.concat(frames, ignore_index=True)


def convergence_figure(experiment: Experiment, scale: ScaleSettings, results: ScaleResults) -> "Figure":
    """Validation metric per epoch, one curve per row; the dot is the best epoch.

    Rows with several seeds show their mean with a band of one standard deviation. Rows whose runs are missing keep
    their place in the legend, as "not run".

    Raises:
        ResultsError: as :func:`convergence_data`.
    """
    import seaborn
    from matplotlib.figure import Figure
    from matplotlib.style import context
    from matplotlib.ticker import MaxNLocator

    data = convergence_data(experiment, results)
    metric, label = experiment.metrics[0], experiment.label_columns[0]
    curves = [row.labels[label] for row in experiment.rows]
    palette = dict(zip(curves, seaborn.color_palette("colorblind", len(curves)), strict=True))
    dashes = dict(zip(curves, ["", (4, 1.5), (1, 1), (3, 1, 1, 1), (5, 1, 1, 1, 1, 1)], strict=False))
    with context(STYLE):
        figure = Figure()
        axes = figure.subplots()
        style = {"palette": palette, "hue_order": curves, "dashes": dashes, "style_order": curves}
        seaborn.lineplot(
            data, x="epoch", y=metric, hue="curve", style="curve", errorbar="sd", legend=False, ax=axes, **style
        )
        means = data.groupby(["curve", "epoch"], sort=True)[metric].mean()
        for curve in curves:
            # An empty line carries the legend's entry also where there is no curve.
            missing = "" if curve in means.index.get_level_values("curve") else " (not run)"
            line = axes.plot([], [], color=palette[curve], label=curve + missing)[0]
            if dashes[curve]:
                line.set_dashes(dashes[curve])
            if not missing:
                epoch = means[curve].idxmax()
                axes.plot(epoch, means[curve, epoch], "o", color=palette[curve], clip_on=False)
        axes.plot([], [], "o", color="0.35", label="best epoch")
        axes.set(xlabel="Epoch", ylabel=f"{experiment.split} {metric} (%)", title=scale.label)
        axes.xaxis.set_major_locator(MaxNLocator(integer=True))
        axes.legend(loc="best")
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
