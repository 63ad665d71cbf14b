"""What the command line calls: each function reads the runs of one scale below ``<results>/<scale>`` and reports.

``results`` is the folder that holds all scales, ``data_root`` that of real data. Functions that write return the paths
written.
"""

import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from sadetr.configuration import ScaleSettings, seeds_text
from sadetr.documents.rendering import write_document
from sadetr.errors import SettingsError
from sadetr.experiments import Experiment, load_experiment, target_experiments
from sadetr.files import atomic_write_text
from sadetr.layout import Layout
from sadetr.reporting.figures import absent_logs, convergence_figure, write_figure
from sadetr.reporting.metrics import gather
from sadetr.reporting.panels import qualitative_figure
from sadetr.reporting.qualitative import panels
from sadetr.reporting.requirements import check_rendered
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.sweep import sweep_figure
from sadetr.reporting.table_documents import DOCUMENTS, table_document
from sadetr.reporting.typesetting import check_rendered_files, render_paper


def gather_command(scale: ScaleSettings, results: Path, names: Sequence[str] = ()) -> list[Path]:
    """Join the metrics of the named experiments (default: those of ``all``) into ``metrics.parquet``.

    They are of runs and of rescored predictions. Files that are not there yet are left out.

    Raises:
        ResultsError: there is nothing to join, or a file is unreadable.
    """
    layout = Layout(scale, results)
    experiments = target_experiments(names, scale)
    runs = dict.fromkeys(run for experiment in experiments for run in experiment.runs)
    settings = dict.fromkeys(setting for experiment in experiments for setting in experiment.settings)
    paths = [*(layout.run(run).metrics for run in runs), *map(layout.rescored, settings)]
    gather([path for path in paths if path.exists()], layout.metrics, seeds_text(scale))
    return [layout.metrics]


def table_command(name: str, scale: ScaleSettings, results: Path) -> list[Path]:
    """Render a table, ``table4`` say, to ``tables/<name>.{csv,md,tex,html}``; cells without a run say so.

    Raises:
        SettingsError: no such table, or the paper's numbers do not fit it.
        ResultsError: a run's metrics are unreadable.
    """
    return _render(_load_kind(name, "table", scale), scale, ScaleResults(results, scale))


def figure_command(
    name: str,
    scale: ScaleSettings,
    results: Path,
    data_root: Path | None = None,
    qids: Sequence[str] = (),
    videos: Path | None = None,
) -> list[Path]:
    """Draw a figure, ``figure5`` say, to ``figures/<name>.{pdf,svg,png}``.

    Args:
        name: of the experiment.
        scale: which runs, and what label they carry.
        results: folder of all scales.
        data_root: real data, for figures that show annotations.
        qids: queries to show instead of the default ones, in a figure of single queries.
        videos: folder of the user's videos, for strips of frames in such a figure.

    Raises:
        SettingsError: no such figure, or it shows no single queries.
        ResultsError: there is nothing to draw, or a run is unreadable.
        DataError: annotations, predictions, published logs or videos are unreadable.
    """
    experiment, source = _load_kind(name, "figure", scale), ScaleResults(results, scale, data_root)
    if not qids and videos is None:
        return _render(experiment, scale, source)
    if experiment.layout != "qualitative":
        raise SettingsError(f"{name} shows no single queries: it takes neither --qid nor --videos")
    check_rendered(experiment, scale)
    return _qualitative(experiment, scale, source, qids, videos)


def _render(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> list[Path]:
    check_rendered(experiment, scale)
    return LAYOUTS[experiment.layout](experiment, scale, source)


def _table(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> list[Path]:
    return write_document(table_document(experiment, scale, source), source.folder / "tables")


def _convergence(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> list[Path]:
    """Validation curves."""
    figure = convergence_figure(experiment, scale, source)
    if scale.data != "generated" and (absent := absent_logs(experiment, source)):
        print(f"{experiment.name}: no published log of {', '.join(absent)}", file=sys.stderr)
    return write_figure(figure, source.folder / "figures", experiment.name)


def _qualitative(
    experiment: Experiment,
    scale: ScaleSettings,
    source: ScaleResults,
    qids: Sequence[str] = (),
    videos: Path | None = None,
) -> list[Path]:
    """Single queries. Those asked for get a file name of their own: the workflow's figure shows the default ones."""
    figure = qualitative_figure(panels(experiment, scale, source, qids), scale.label, videos)
    parts = [experiment.name, *(f"qid{re.sub(r'[^A-Za-z0-9]', '-', qid)}" for qid in qids)]
    parts += [] if videos is None else ["frames"]
    return write_figure(figure, source.folder / "figures", "_".join(parts))


def _sweep(experiment: Experiment, scale: ScaleSettings, source: ScaleResults) -> list[Path]:
    """One point per row."""
    figure = sweep_figure(experiment, scale, source)
    return write_figure(figure, source.folder / "figures", experiment.name)


LAYOUTS: dict[str, Callable[[Experiment, ScaleSettings, ScaleResults], list[Path]]] = {
    **dict.fromkeys(DOCUMENTS, _table),
    "convergence": _convergence,
    "qualitative": _qualitative,
    "sweep": _sweep,
}
"""Layout of an experiment file -> what renders it and returns the files written (``NEEDS`` says what it needs)."""


def paper_command(scale: ScaleSettings, results: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write ``paper.tex``, which shows the rendered tables and figures (default: those of ``all``).

    Raises:
        ResultsError: one of them is not rendered.
        SettingsError: LaTeX cannot read a file of an experiment's name.
    """
    layout, experiments = Layout(scale, results), target_experiments(names, scale)
    check_rendered_files(experiments, layout)
    atomic_write_text(layout.paper, render_paper(experiments, scale))
    return [layout.paper]


def _load_kind(name: str, kind: str, scale: ScaleSettings) -> Experiment:
    experiment = load_experiment(name, scale)
    if experiment.kind != kind:
        raise SettingsError(f"{name} is a {experiment.kind}; use 'python -m sadetr {experiment.kind}'")
    return experiment
