"""The comparison for programs: records of CSV, JSON, and JUnit XML, where cells, tables and claims are test cases."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from typing import Any
from xml.etree import ElementTree

from sadetr.reporting.comparison import ComparedCell, ComparedTable, Comparison, exit_code
from sadetr.reporting.judgement import JudgedClaim

COLUMNS = (
    "experiment",
    "row",
    "kind",
    "label",
    "split",
    "metric",
    "ours",
    "ours_std",
    "seeds",
    "paper",
    "paper_std",
    "paper_seeds",
    "judged_by",
    "judged_by_seeds",
    "judged_in",
    "difference",
    "limit",
    "detectable",
    "verdict",
    "reason",
    "required",
    "doubtful",
    "note",
)
SKIPPED = ("not reported", "not comparable")


def comparison_records(comparison: Comparison) -> tuple[tuple[str, ...], ...]:
    """A header and one line per cell: two decimals, empty where there is no number."""
    return (COLUMNS, *(tuple(_text(value) for value in _record(cell).values()) for cell in comparison.cells))


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "x" if value else ""
    if isinstance(value, float):
        # Two decimals, or as many as it has.
        return max(f"{value:.2f}", f"{round(value, 6):g}", key=len) if value < 0.01 else f"{value:.2f}"
    return "" if value is None else str(value)


def _record(cell: ComparedCell) -> dict[str, Any]:
    """A cell under :data:`COLUMNS`."""
    score, paper, reference = cell.score, cell.paper, cell.reference
    values = (
        *(cell.experiment, cell.row, cell.kind, cell.label, cell.split, cell.metric),
        *(score.mean, score.std, f"{score.found}/{score.wanted}"),
        *((paper.value, paper.std, paper.seeds) if paper else (None, None, None)),
        *((reference.value, reference.seeds, reference.origin) if reference else (None, None, None)),
        *(cell.difference, cell.limit, cell.detectable, cell.verdict, cell.reason, cell.required),
        *((paper.doubtful, paper.note) if paper else (False, "")),
    )
    return dict(zip(COLUMNS, values, strict=True))


def comparison_json(comparison: Comparison) -> str:
    """Everything: cells, tables, claims, how many cells there are of each verdict, and the exit code."""
    document = {
        "scale": comparison.scale,
        "banner": comparison.banner,
        "comparable": comparison.comparable,
        "exit_code": exit_code(comparison),
        "counts": comparison.counts,
        "tables": [asdict(table) for table in comparison.tables],
        "claims": [_record_of_claim(claim) for claim in comparison.claims],
        "cells": [_record(cell) for cell in comparison.cells],
    }
    return json.dumps(document, indent=1, ensure_ascii=False) + "\n"


def _record_of_claim(judged: JudgedClaim) -> dict[str, Any]:
    claim = judged.claim
    return {
        "claim": claim.name,
        "section": claim.section,
        "experiment": claim.experiment.name,
        "text": claim.text,
        "printed": judged.printed,
        "paper_difference": judged.paper_difference,
        "ours_difference": judged.ours_difference,
        "test": judged.test,
        "p": judged.p,
        "p_corrected": judged.p_corrected,
        "verdict": judged.verdict,
        "reason": judged.reason,
        "data": judged.label,
        "required": judged.required,
    }


def comparison_junit(comparison: Comparison) -> str:
    """A test suite per table or figure and one of claims: failures of what is required, errors for missing runs."""
    root = ElementTree.Element("testsuites", name=f"sadetr, scale {comparison.scale}")
    for name in dict.fromkeys(cell.experiment for cell in comparison.cells):
        cells = [cell for cell in comparison.cells if cell.experiment == name]
        tables = [table for table in comparison.tables if table.experiment == name]
        _suite(root, name, [*map(_case_of_cell, cells), *map(_case_of_table, tables)])
    if comparison.claims:
        _suite(root, "claims", list(map(_case_of_claim, comparison.claims)))
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _suite(root: ElementTree.Element, name: str, cases: Sequence[ElementTree.Element]) -> None:
    counts = {kind: sum(case.find(kind) is not None for case in cases) for kind in ("failure", "error", "skipped")}
    suite = ElementTree.SubElement(
        root,
        "testsuite",
        name=name,
        tests=str(len(cases)),
        failures=str(counts["failure"]),
        errors=str(counts["error"]),
        skipped=str(counts["skipped"]),
    )
    for case in cases:
        case.set("classname", f"sadetr.{name}")
        suite.append(case)


def _case_of_cell(cell: ComparedCell) -> ElementTree.Element:
    kind = " (rescored)" if cell.kind == "rescored" else ""
    case = ElementTree.Element("testcase", name=f"{cell.row}{kind}: {cell.metric}")
    if cell.fails:
        _outcome(case, "failure", _sentence(cell))
    elif cell.verdict == "missing":
        _outcome(case, "error", cell.verdict_text)
    elif cell.verdict in SKIPPED:
        _outcome(case, "skipped", cell.verdict_text)
    elif not cell.required:
        _outcome(case, "skipped", f"not required: {_sentence(cell)}")
    else:
        ElementTree.SubElement(case, "system-out").text = _sentence(cell)
    return case


def _sentence(cell: ComparedCell) -> str:
    doubt = f" {cell.paper.note}" if cell.paper is not None and cell.paper.doubtful else ""
    return (
        f"{cell.verdict}: ours {cell.score.mean:.2f}, {cell.reference.origin} {cell.reference.value:.2f}, difference "
        f"{cell.difference:+.2f}, chance explains {cell.limit:.2f}.{doubt}"
    )


def _case_of_table(table: ComparedTable) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name="the table as a whole")
    text = (
        f"{table.verdict}: {table.cells} cells, on average {table.shift:+.2f}; {table.statistic:+.2f} standard "
        f"deviations, limit {-table.limit:+.2f}"
    )
    if table.fails:
        _outcome(case, "failure", text)
    else:
        ElementTree.SubElement(case, "system-out").text = text
    return case


def _case_of_claim(judged: JudgedClaim) -> ElementTree.Element:
    case = ElementTree.Element("testcase", name=judged.claim.name)
    text = f"{judged.claim.text} {judged.verdict_text}"
    if judged.fails:
        _outcome(case, "failure", text)
    elif judged.verdict == "missing":
        _outcome(case, "error", text)
    elif judged.verdict == "holds":
        ElementTree.SubElement(case, "system-out").text = text
    else:
        _outcome(case, "skipped", text)
    return case


def _outcome(case: ElementTree.Element, kind: str, message: str) -> None:
    ElementTree.SubElement(case, kind, message=message)
