"""What a check found, and the report that collects it."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from sadetr.verification.statistics import Comparison

Severity = Literal["error", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = ("error", "warning", "note")


@dataclass(frozen=True)
class Place:
    """Where something was found."""

    file: str
    """Relative to the data root."""
    row: int | None = None
    """Line of a text file (from 1), or row of an array (from 0)."""
    detail: str = ""
    """What is particular about this place."""

    def __str__(self) -> str:
        where = self.file if self.row is None else f"{self.file}: {self.row}"
        return f"{where}: {self.detail}" if self.detail else where


@dataclass(frozen=True)
class Finding:
    """One kind of fault, with every place where it was found."""

    severity: Severity
    what: str
    remedy: str
    places: tuple[Place, ...] = ()
    source: str = ""
    """Where the missing thing comes from, an archive or an address, and where it belongs."""


@dataclass
class Report:
    """The outcome of all checks of one setting."""

    setting: str
    title: str
    scale: str
    banner: str
    """The scale's label, where its data are not the paper's."""
    refill: str
    """Command that brings missing files."""
    checked: list[str] = field(default_factory=list)
    """What was looked at, in words."""
    skipped: list[str] = field(default_factory=list)
    """What was not, and why."""
    findings: list[Finding] = field(default_factory=list)
    statistics: list[Comparison] = field(default_factory=list)

    def add(
        self,
        severity: Severity,
        what: str,
        remedy: str,
        places: Iterable[Place | str] = (),
        source: str = "",
    ) -> None:
        """Append a finding."""
        found = tuple(Place(place) if isinstance(place, str) else place for place in places)
        self.findings.append(Finding(severity, what, remedy, found, source))

    @property
    def counts(self) -> Counter[str]:
        """Findings by severity."""
        return Counter(finding.severity for finding in self.findings)

    @property
    def passed(self) -> bool:
        """Whether there is no error."""
        return not self.counts["error"]

    @property
    def ordered(self) -> list[Finding]:
        """Findings, errors first, otherwise as they were found."""
        return sorted(self.findings, key=lambda finding: SEVERITIES.index(finding.severity))

    @property
    def summary(self) -> str:
        """The outcome in one sentence."""
        counts = ", ".join(plural(self.counts[severity], severity) for severity in SEVERITIES)
        return f"{self.setting}: {'passed' if self.passed else 'FAILED'} ({counts})"

    def as_json(self) -> dict[str, Any]:
        """Plain data, complete: no list of places is cut."""
        return {
            "setting": self.setting,
            "scale": self.scale,
            "label": self.banner,
            "passed": self.passed,
            "counts": {severity: self.counts[severity] for severity in SEVERITIES},
            "checked": self.checked,
            "skipped": self.skipped,
            "findings": [asdict(finding) for finding in self.ordered],
            "statistics": [{**asdict(entry), "agrees": entry.agrees} for entry in self.statistics],
        }


def plural(count: int, noun: str) -> str:
    """The number with its noun."""
    return f"{count:,} {noun}" if count == 1 else f"{count:,} {noun}s"
