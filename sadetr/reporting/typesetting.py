"""All tables and figures of a scale as one LaTeX document, ``paper.tex``, beside the folders that hold them."""

from collections.abc import Sequence
from pathlib import Path

from sadetr.configuration import ScaleSettings
from sadetr.documents.templates import environment
from sadetr.errors import ResultsError
from sadetr.experiments import Experiment
from sadetr.layout import Layout

FILES = {"table": ("tables", "tex"), "figure": ("figures", "pdf")}
"""Kind of an experiment -> folder and suffix of what the document reads."""


def typeset_file(experiment: Experiment, folder: Path) -> Path:
    """What the document of the results in ``folder`` reads of an experiment."""
    place, suffix = FILES[experiment.kind]
    return folder / place / f"{experiment.name}.{suffix}"


def render_paper(experiments: Sequence[Experiment], scale: ScaleSettings) -> str:
    """The document: tables, then figures, in the order of ``experiments``; equal arguments, equal bytes.

    Raises:
        SettingsError: LaTeX cannot read a file of an experiment's name.
    """
    return (
        environment("latex")
        .get_template("paper.j2")
        .render(
            title=f"Tables and figures at the scale {scale.name}",
            banner=scale.label,
            tables=[experiment.name for experiment in experiments if experiment.kind == "table"],
            figures=[experiment for experiment in experiments if experiment.kind == "figure"],
        )
    )


def check_rendered_files(experiments: Sequence[Experiment], layout: Layout) -> None:
    """Refuse to write a document that could not be compiled.

    Raises:
        ResultsError: a table or figure is not there.
    """
    for experiment in experiments:
        path = typeset_file(experiment, layout.folder)
        if not path.exists():
            raise ResultsError(
                f"{path}: not there; make it with 'python -m sadetr {experiment.kind} {experiment.name} "
                f"--scale {layout.scale.reference}', or everything with 'snakemake all'"
            )
