"""A report as a terminal table and as a document."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sadetr.documents.model import Cell, Column, Document, Listing, Paragraph, Part, Row, Title, Tone
from sadetr.documents.model import Table as DocumentTable
from sadetr.verification.findings import Finding, Report, plural
from sadetr.verification.statistics import Comparison, shown

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
PLACES = {"terminal": 5, "page": 50}
"""Places listed per finding; the JSON report lists all."""
OPEN = 5
"""Places up to which a page shows the list unfolded."""
PLAIN_WIDTH = 160
"""Columns where the output is no terminal."""


def print_report(report: Report, console: Console | None = None) -> None:
    """Print statistics, findings and the summary."""
    console = console or Console()
    if not console.is_terminal:
        console = Console(file=console.file, width=PLAIN_WIDTH)
    if report.banner:
        console.print(Text(report.banner, style="bold"))
    if report.statistics:
        console.print(_statistics_table(report))
    for finding in report.ordered:
        console.print(_finding_text(finding))
    for heading, lines in (("checked", report.checked), ("not checked", report.skipped)):
        for line in lines:
            console.print(Text(f"{heading}: {line}", style="dim"))
    console.print(Text(report.summary, style="bold green" if report.passed else "bold red"))


def report_document(report: Report) -> Document:
    """Summary, findings, what was checked and what was not, and the statistics of every split."""
    parts = (
        Paragraph(report.summary, tone="good" if report.passed else "bad"),
        Title("Findings"),
        *(part for finding in report.ordered for part in _finding_parts(finding)),
        *([] if report.findings else [Paragraph("None.")]),
        *_list_parts("Checked", report.checked),
        *_list_parts("Not checked", report.skipped),
        *_statistics_parts(report),
    )
    return Document(report.setting, f"Data check: {report.title}", report.banner, parts)


def _statistics_table(report: Report) -> Table:
    compared = any(entry.known is not None for entry in report.statistics)
    title = f"{report.title}: statistics of the annotations{', measured beside known' if compared else ''}"
    table = Table(title=title, title_justify="left", header_style="bold")
    for heading in ("split", "statistic", "measured", *(("known", "") if compared else ())):
        table.add_column(heading, no_wrap=heading in ("split", "statistic"))
    split = None
    for entry in report.statistics:
        if split not in (None, entry.split):
            table.add_section()
        first, split = ("" if entry.split == split else entry.split), entry.split
        measured, known = _values(entry)
        style = "red" if entry.agrees is False else ""
        # Text, not markup: brackets in titles are no tags.
        cells = (first, entry.title, measured, *((known, _verdict(entry)) if compared else ()))
        table.add_row(*map(Text, cells), style=style)
    return table


def _finding_text(finding: Finding) -> Text:
    text = Text()
    text.append(f"{finding.severity.upper()}: {finding.what}\n", style=STYLES[finding.severity])
    for line in _places(finding, PLACES["terminal"]):
        text.append(f"    {line}\n")
    text.append(f"    remedy: {finding.remedy}")
    if finding.source:
        text.append(f"\n    {finding.source}")
    return text


def _places(finding: Finding, limit: int) -> Iterator[str]:
    yield from map(str, finding.places[:limit])
    if len(finding.places) > limit:
        yield f"... and {plural(len(finding.places) - limit, 'more place')}"


def _finding_parts(finding: Finding) -> Iterator[Part]:
    tone: Tone = "bad" if finding.severity == "error" else ""
    yield Title(f"{finding.severity}: {finding.what}", level=2, tone=tone)
    yield Paragraph(finding.remedy)
    if finding.source:
        yield Paragraph(finding.source)
    if finding.places:
        places = tuple(_places(finding, PLACES["page"]))
        yield Listing(places, plural(len(finding.places), "place"), open=len(finding.places) <= OPEN)


def _list_parts(heading: str, lines: list[str]) -> Iterator[Part]:
    if lines:
        yield Title(heading)
        yield Listing(tuple(lines))


def _statistics_parts(report: Report) -> Iterator[Part]:
    for split in dict.fromkeys(entry.split for entry in report.statistics):
        entries = [entry for entry in report.statistics if entry.split == split]
        yield DocumentTable(
            name=f"{report.setting}-{split}",
            title=f"Annotations of split {split}: {entries[0].file}",
            columns=(Column("statistic", left=True), Column("measured"), Column("known"), Column("agreement")),
            rows=tuple(map(_row, entries)),
        )


def _row(entry: Comparison) -> Row:
    tones: dict[bool | None, Tone] = {True: "good", False: "bad", None: ""}
    return Row((Cell(entry.title), *map(Cell, _values(entry)), Cell(_verdict(entry), tone=tones[entry.agrees])))


def _values(entry: Comparison) -> tuple[str, str]:
    known = "" if entry.known is None else shown(entry.known, entry.known)
    return shown(entry.measured, entry.known), known


def _verdict(entry: Comparison) -> str:
    return {True: "agrees", False: "DIFFERS", None: ""}[entry.agrees]
