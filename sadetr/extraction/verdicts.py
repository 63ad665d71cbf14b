"""Whether measured features pass as the official ones, what probably made them differ, and a table that says so."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from rich.console import Console
from rich.table import Table

from sadetr.extraction.comparison import KINDS, Measured, outliers

Word = Literal["pass", "warn", "fail"]
SHIFTED = 0.1
"""Share of rows nearer to a neighbour from which on frames count as shifted."""
NORM_RATIOS = (0.98, 1.02)
"""Beyond these the median ratio of norms is another layer's, or that of normalised rows."""
WORST = 3
"""Files that are named where a stream does not pass."""


@dataclass(frozen=True)
class Thresholds:
    """Of the median cosine; for sentences also of the smallest.

    They follow from what is known to make features differ and from users' reports of 0.85 and 0.91 for careless
    extractions; official files were not at hand to calibrate them.
    """

    passes: float
    warns: float
    every_row: float = -1.0


THRESHOLDS = {
    "clip": Thresholds(0.99, 0.95),
    "slowfast": Thresholds(0.97, 0.90),
    "text": Thresholds(0.999, 0.999, every_row=0.99),
}


@dataclass(frozen=True)
class Verdict:
    """What is to be said about one stream."""

    word: Word
    diagnoses: list[str]


def judge(measured: Mapping[str, Measured]) -> dict[str, Verdict]:
    """A verdict per stream; some diagnoses need the others."""
    words = {name: _word(name, found) for name, found in measured.items()}
    verdicts = {name: Verdict(words[name], _diagnoses(name, found)) for name, found in measured.items()}
    if words.get("slowfast") == "pass" and words.get("clip") in ("warn", "fail"):
        verdicts["clip"].diagnoses.append("SlowFast is good and CLIP is not: the choice of frames, or interpolation")
    if words.get("clip") == "pass" and words.get("slowfast") in ("warn", "fail"):
        verdicts["slowfast"].diagnoses.append(
            "CLIP is good and SlowFast is not: another source frame rate, batch statistics, or the hub's weights"
        )
    return verdicts


def _word(name: str, found: Measured) -> Word:
    limits, median = THRESHOLDS[name], float(np.median(found.cosines))
    if median < limits.warns or found.cosines.min() < limits.every_row or _other_lengths(name, found):
        return "fail"
    ratio = float(np.median(found.norm_ratios)) if len(found.norm_ratios) else 1.0
    right_norms = NORM_RATIOS[0] <= ratio <= NORM_RATIOS[1]
    return "pass" if median >= limits.passes and right_norms and found.shifted <= SHIFTED else "warn"


def _other_lengths(name: str, found: Measured) -> int:
    """Files whose numbers of rows are no rounding: of sentences any difference, of videos two rows."""
    allowed = 1 if KINDS[name].temporal else 0
    return sum(count for rows, count in found.row_differences.items() if abs(rows) > allowed)


def _diagnoses(name: str, found: Measured) -> list[str]:
    texts = []
    ratio = float(np.median(found.norm_ratios)) if len(found.norm_ratios) else 1.0
    if not NORM_RATIOS[0] <= ratio <= NORM_RATIOS[1]:
        texts.append(f"norms are {ratio:.3f} times the official ones: normalised rows, or another layer")
    if found.shifted > SHIFTED:
        texts.append(
            f"{found.shifted:.0%} of the rows are nearer to the row before or after: shifted frames, or a wrong clip "
            "length"
        )
    if lengths := _other_lengths(name, found):
        what = "another clip length or video" if KINDS[name].temporal else "another tokenizer, or another sentence"
        texts.append(f"{lengths:,} files have another number of rows: {what}")
    elif others := found.files - found.row_differences[0]:
        texts.append(f"{others:,} files are one row longer or shorter: videos of another encode")
    medians = {part: float(np.median(values)) for part, values in found.parts.items()}
    limits = THRESHOLDS[name]
    if medians and min(medians.values()) < limits.passes <= max(medians.values()):
        bad = min(medians, key=medians.__getitem__)
        texts.append(f"only the {bad} differs ({medians[bad]:.4f})")
    if _word(name, found) != "pass":
        worst = ", ".join(f"{file} ({value:.3f})" for file, value in outliers(found, WORST))
        texts.append(f"furthest from the official files: {worst}")
    return texts


def as_json(measured: Mapping[str, Measured], verdicts: Mapping[str, Verdict]) -> dict[str, Any]:
    """Everything as plain data."""
    return {
        name: {
            "verdict": verdicts[name].word,
            "diagnoses": verdicts[name].diagnoses,
            "files": found.files,
            "missing": found.missing,
            "extra": found.extra,
            "row_differences": {str(rows): count for rows, count in sorted(found.row_differences.items())},
            "dtypes": dict(found.dtypes),
            "cosine": _summary(found.cosines),
            "centred_cosine": _summary(found.centred),
            "norm_ratio": _summary(found.norm_ratios),
            "parts": {part: _summary(values) for part, values in found.parts.items()},
            "shifted_rows": found.shifted,
            "median_cosine_per_file": found.per_file,
        }
        for name, found in measured.items()
    }


def _summary(values: np.ndarray) -> dict[str, float]:
    if not len(values):
        return {}
    low, median = np.quantile(values, [0.05, 0.5])
    return {"median": float(median), "lowest 5 %": float(low), "lowest": float(values.min())}


def print_verdicts(measured: Mapping[str, Measured], verdicts: Mapping[str, Verdict]) -> None:
    """A line per stream, then the diagnoses, on standard output."""
    console = Console()
    table = Table()
    for title in ("stream", "files", "rows ±0 / ±1 / other", "numbers", "cosine, 5 %", "centred", "norms", "verdict"):
        table.add_column(title)
    for name, found in measured.items():
        differences = found.row_differences
        one = differences[1] + differences[-1]
        cosine, centred, ratio = (_summary(each) for each in (found.cosines, found.centred, found.norm_ratios))
        table.add_row(
            name,
            f"{found.files:,}" + (f" ({found.missing:,} missing)" if found.missing else ""),
            f"{differences[0]:,} / {one:,} / {found.files - differences[0] - one:,}",
            ", ".join(" / ".join(dict.fromkeys(pair.split(" / "))) for pair in found.dtypes),
            f"{cosine['median']:.4f}, {cosine['lowest 5 %']:.4f}",
            f"{centred['median']:.4f}" if centred else "–",
            f"{ratio['median']:.3f}" if ratio else "–",
            verdicts[name].word,
        )
    console.print(table)
    for name, verdict in verdicts.items():
        for text in verdict.diagnoses:
            console.print(f"{name}: {text}", markup=False, highlight=False, soft_wrap=True)
