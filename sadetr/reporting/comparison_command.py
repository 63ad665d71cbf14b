"""What ``comparison`` and ``compare`` do once the command line has been parsed.

``results`` is the folder that holds all scales.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from rich.box import SIMPLE
from rich.console import Console
from rich.table import Table

from sadetr.configuration import ScaleSettings, choose_seeds, load_scale
from sadetr.documents.rendering import render_csv, render_html, render_markdown
from sadetr.errors import SettingsError
from sadetr.experiments import target_experiments
from sadetr.files import atomic_write_text
from sadetr.reporting.agreement import Agreement, agreement
from sadetr.reporting.chance import load_chance, load_chance_settings
from sadetr.reporting.claims import load_claims
from sadetr.reporting.comparison import FAILED, INCOMPLETE, ComparedCell, Comparison, exit_code, judge, plan
from sadetr.reporting.comparison_pages import (
    HEADER,
    by_experiment,
    comparison_document,
    printed,
    summary,
    table_sentence,
)
from sadetr.reporting.comparison_records import comparison_json, comparison_junit
from sadetr.reporting.metrics_file import MetricsFile
from sadetr.reporting.requirements import compared_table
from sadetr.reporting.scores import ScaleResults, Scores

FORMATS: dict[str, Callable[[Comparison], str]] = {
    "csv": lambda comparison: render_csv(comparison_document(comparison)),
    "json": comparison_json,
    "md": lambda comparison: render_markdown(comparison_document(comparison)),
    "html": lambda comparison: render_html(comparison_document(comparison)),
    "xml": comparison_junit,
}
"""Suffix -> what renders a comparison in that format."""


def comparison_command(scale: ScaleSettings, results: Path, names: Sequence[str] = ()) -> list[Path]:
    """Write the verdicts on the named experiments (default: those of ``all``) in every format.

    Raises:
        SettingsError: the paper's numbers or their spreads do not fit an experiment.
        ResultsError: a run's metrics are unreadable.
    """
    comparison = judged(scale, ScaleResults(results, scale), names)
    return _write(comparison, {kind: results / scale.name / f"comparison.{kind}" for kind in FORMATS})


def compare_command(
    metrics: Path | None,
    scale: str | None,
    results: Path,
    seeds: str | None,
    exact: bool = False,
    outputs: Mapping[str, Path] | None = None,
    names: Sequence[str] = (),
) -> int:
    """Print the verdicts on the named experiments (default: those of ``all``) and return the exit code.

    Args:
        metrics: file that holds everything; None: the run folders below ``results``.
        scale: name or path; None: the file's, or the default scale.
        results: folder of all scales.
        seeds: as :func:`sadetr.configuration.choose_seeds`; None: the file's or the scale's own.
        exact: of no use here.
        outputs: format -> file to write the verdicts to.
        names: experiments.

    Raises:
        As :func:`comparison_command`; and ResultsError: the file is unusable.
    """
    if exact:
        raise SettingsError("--exact goes with --reference: nobody's numbers are the paper's to the last digit")
    if metrics is None:
        settings = choose_seeds(load_scale(scale or "mini"), seeds)
        source: Scores = ScaleResults(results, settings)
    else:
        source = MetricsFile(metrics)
        settings = source.settings(scale, seeds)
    comparison = judged(settings, source, names)
    _write(comparison, outputs or {})
    _print(comparison)
    return exit_code(comparison)


def judged(scale: ScaleSettings, source: Scores, names: Sequence[str] = ()) -> Comparison:
    """The verdicts on the named experiments, by default on those of ``all``.

    Raises:
        As :func:`comparison_command`.
    """
    tables = [(experiment, compared_table(experiment)) for experiment in target_experiments(names, scale)]
    return judge(plan(tables, scale, load_chance(scale), load_claims(tables)), source)


def _write(comparison: Comparison, outputs: Mapping[str, Path]) -> list[Path]:
    # All is rendered before the first file is written: an error leaves the old set as it was.
    texts = {path: FORMATS[kind](comparison) for kind, path in outputs.items()}
    for path, text in texts.items():
        atomic_write_text(path, text)
    return list(texts)


def _print(comparison: Comparison) -> None:
    """Counts per experiment and verdict, then every cell and table that makes the exit code other than 0."""
    verdicts = list(comparison.counts)
    counts = Table("", *verdicts, box=SIMPLE)
    for name, cells in by_experiment(comparison).items():
        found = [cell.verdict for cell in cells]
        counts.add_row(name, *(str(found.count(verdict)) for verdict in verdicts))
    failing = Table("", *HEADER, box=SIMPLE, padding=(0, 1, 0, 0))
    for cell in comparison.cells:
        if cell.fails:
            failing.add_row(cell.experiment, *printed(cell))
    console = _console()
    if comparison.banner:
        console.print(comparison.banner, style="bold")
    console.print(counts)
    if failing.rows:
        console.print(failing)
    missing = [f"{cell.experiment}, row {cell.row}: {cell.reason}" for cell in comparison.cells if _is_missing(cell)]
    for line in dict.fromkeys(missing):
        console.print(f"missing: {line}")
    for table in comparison.tables:
        if table.fails:
            console.print(table_sentence(table), style="bold")
    for claim in comparison.claims:
        if claim.fails:
            console.print(f"claim {claim.claim.name}: {claim.claim.text} {claim.verdict_text}", style="bold")
    console.print(summary(comparison))


def _is_missing(cell: ComparedCell) -> bool:
    return cell.verdict == "missing"


def _console() -> Console:
    """As wide as the terminal; wide enough for every column where there is none."""
    console = Console(highlight=False, markup=False)
    return console if console.is_terminal else Console(highlight=False, markup=False, width=160)


def reference_command(metrics: Path | None, reference: Path, exact: bool, outputs: Mapping[str, Path]) -> int:
    """Print how far results lie from those of another run of the same code, and return the exit code.

    0: within what another platform explains or, with ``exact``, equal; 1: not; 2: runs of the reference are missing.

    Raises:
        SettingsError: there is no file to compare, or outputs are asked for that only verdicts on the paper have.
        ResultsError: one of the files is unusable, or they are of two scales.
    """
    if metrics is None or outputs:
        raise SettingsError("--reference compares two files: compare METRICS --reference FILE, and nothing else")
    ours, theirs = MetricsFile(metrics), MetricsFile(reference)
    if ours.scale != theirs.scale:
        raise SettingsError(f"{metrics} is of the scale {ours.scale!r}, {reference} of {theirs.scale!r}")
    found = agreement(ours, theirs, load_chance_settings().reference)
    _print_agreement(found)
    if found.faults or (exact and not found.equal):
        return FAILED
    return INCOMPLETE if found.missing or not found.metrics else 0


def _print_agreement(found: Agreement) -> None:
    table = Table("metric", "numbers", "equal", "mean difference", "largest", box=SIMPLE)
    for metric in found.metrics:
        numbers = (str(metric.numbers), str(metric.equal), f"{metric.mean:+.2f}", f"{metric.largest:+.2f}")
        table.add_row(metric.metric, *numbers)
    console = _console()
    console.print(table)
    for words, runs in (("missing here", found.missing), ("not in the reference", found.added)):
        for run in runs:
            console.print(f"{words}: {run}")
    for fault in found.faults:
        console.print(f"beyond what another platform explains: {fault}")
    console.print("All numbers are equal." if found.equal else "Not all numbers are equal.")
