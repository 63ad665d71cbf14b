"""What ``report`` does once the command line has been parsed: everything of a scale as one page, ``report.html``.

Tables are rendered from the runs that are there; figures are shown as ``figure`` drew them.
"""

import base64
from pathlib import Path

from sadetr.configuration import ScaleSettings
from sadetr.documents.report import Picture, Report, Section, render_report
from sadetr.experiments import Experiment, target_experiments
from sadetr.files import atomic_write_text
from sadetr.reporting.comparison import Comparison
from sadetr.reporting.comparison_command import judged
from sadetr.reporting.report_facts import making, report_facts
from sadetr.reporting.report_parts import (
    cells_document,
    claims_document,
    joined_verdicts,
    summary_document,
    with_verdicts,
)
from sadetr.reporting.requirements import check_rendered
from sadetr.reporting.scores import ScaleResults
from sadetr.reporting.table_documents import table_document

TYPES = {"svg": "image/svg+xml", "png": "image/png"}
"""Suffix of a drawn figure -> its media type; the first is sharp at every size, and preferred up to :data:`LARGE`."""
LARGE = 400_000
"""Bytes from which on a figure is shown in its smallest form: with frames of videos in it, say."""


def report_command(scale: ScaleSettings, results: Path) -> list[Path]:
    """Write the report of a scale; runs and figures that are not there yet are named in it.

    Raises:
        SettingsError: the paper's numbers do not fit an experiment.
        ResultsError: a file of a run is unreadable.
    """
    source = ScaleResults(results, scale)
    report = make_report(scale, source, judged(scale, source))
    path = source.folder / "report.html"
    atomic_write_text(path, render_report(report))
    return [path]


def make_report(scale: ScaleSettings, source: ScaleResults, comparison: Comparison) -> Report:
    """The report of the experiments of ``all`` as a value; without claims it has no section of them.

    Raises:
        As :func:`report_command`.
    """
    experiments = target_experiments((), scale)
    for experiment in experiments:
        check_rendered(experiment, scale)
    facts = report_facts(experiments, scale, comparison, source)
    tables = tuple(
        with_verdicts(table_document(experiment, scale, source), comparison)
        for experiment in experiments
        if experiment.kind == "table"
    )
    pictures = tuple(
        picture(experiment, scale, source.folder, comparison)
        for experiment in experiments
        if experiment.kind == "figure"
    )
    summary = summary_document(experiments, comparison, facts["runs"])
    sections = [
        Section("results", "", (summary,), filtered=False),
        Section("tables", "Tables", tables),
        Section("figures", "Figures", pictures=pictures),
        Section("every-cell", "", (cells_document(comparison),)),
        *([Section("the-claims", "", (claims_document(comparison.claims),))] if comparison.claims else []),
    ]
    return Report(
        title=f"SA-DETR beside its paper: scale {scale.name}",
        banner=comparison.banner,
        sections=tuple(sections),
        tables=tuple((experiment.name, experiment.caption) for experiment in experiments),
        verdicts=tuple(dict.fromkeys([*comparison.counts, *(claim.verdict for claim in comparison.claims)])),
        facts=facts,
    )


def picture(experiment: Experiment, scale: ScaleSettings, folder: Path, comparison: Comparison) -> Picture:
    """A figure as it was drawn, with the verdicts of its cells; without a file it says what draws it."""
    verdicts = joined_verdicts(cell.verdict for cell in comparison.cells if cell.experiment == experiment.name)
    data = (("experiment", experiment.name), verdicts)
    remark = f"Not drawn yet. Draw it: {making(experiment, scale)}"
    return Picture(experiment.name, experiment.caption, _address(folder / "figures", experiment.name), remark, data)


def _address(folder: Path, name: str) -> str:
    """The drawn figure as a ``data:`` address; empty where there is none."""
    files = {suffix: folder / f"{name}.{suffix}" for suffix in TYPES}
    drawn = {suffix: path.read_bytes() for suffix, path in files.items() if path.exists()}
    if not drawn:
        return ""
    first = next(iter(drawn))
    suffix = first if len(drawn[first]) <= LARGE else min(drawn, key=lambda each: len(drawn[each]))
    return f"data:{TYPES[suffix]};base64,{base64.b64encode(drawn[suffix]).decode('ascii')}"
