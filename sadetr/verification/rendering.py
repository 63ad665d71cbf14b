"""A report as a terminal table and as an HTML page."""

from collections.abc import Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from sadetr.markup import escape_html, html_page
from sadetr.verification.findings import Finding, Report, plural
from sadetr.verification.statistics import Comparison, shown

STYLES = {"error": "bold red", "warning": "yellow", "note": "cyan"}
PLACES = {"terminal": 5, "html": 50}
"""Places listed per finding; the JSON report lists all."""
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


def render_html(report: Report) -> str:
    """A page that needs no other file."""
    title = f"Data check: {report.title}"
    body = [
        f"<h1>{escape_html(title)}</h1>",
        f'<p class="{"good" if report.passed else "bad"}">{escape_html(report.summary)}</p>',
        "<h2>Findings</h2>",
        *(line for finding in report.ordered for line in _html_finding(finding)),
        *([] if report.findings else ["<p>None.</p>"]),
        *_html_list("Checked", report.checked),
        *_html_list("Not checked", report.skipped),
        *_html_statistics(report),
    ]
    return html_page(title, report.banner, body)


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


def _html_finding(finding: Finding) -> Iterator[str]:
    tone = ' class="bad"' if finding.severity == "error" else ""
    yield f"<h3{tone}>{finding.severity}: {escape_html(finding.what)}</h3>"
    yield f"<p>{escape_html(finding.remedy)}</p>"
    if finding.source:
        yield f"<p>{escape_html(finding.source)}</p>"
    if finding.places:
        lines = "".join(f"<li>{escape_html(line)}</li>" for line in _places(finding, PLACES["html"]))
        folded = f"<summary>{plural(len(finding.places), 'place')}</summary>"
        yield f"<details{' open' if len(finding.places) <= 5 else ''}>{folded}<ul>{lines}</ul></details>"


def _html_list(heading: str, lines: list[str]) -> Iterator[str]:
    if lines:
        yield f"<h2>{heading}</h2>"
        yield f"<ul>{''.join(f'<li>{escape_html(line)}</li>' for line in lines)}</ul>"


def _html_statistics(report: Report) -> Iterator[str]:
    for split in dict.fromkeys(entry.split for entry in report.statistics):
        entries = [entry for entry in report.statistics if entry.split == split]
        yield f"<h2>Annotations of split {escape_html(split)}: {escape_html(entries[0].file)}</h2>"
        yield '<div class="scroll"><table><thead><tr>'
        yield "<th>statistic</th><th>measured</th><th>known</th><th></th></tr></thead><tbody>"
        for entry in entries:
            cells = "".join(f'<td style="white-space: normal">{escape_html(value)}</td>' for value in _values(entry))
            tone = {True: ' class="good"', False: ' class="bad"', None: ""}[entry.agrees]
            yield f'<tr><th scope="row">{escape_html(entry.title)}</th>{cells}<td{tone}>{_verdict(entry)}</td></tr>'
        yield "</tbody></table></div>"


def _values(entry: Comparison) -> tuple[str, str]:
    known = "" if entry.known is None else shown(entry.known, entry.known)
    return shown(entry.measured, entry.known), known


def _verdict(entry: Comparison) -> str:
    return {True: "agrees", False: "DIFFERS", None: ""}[entry.agrees]
