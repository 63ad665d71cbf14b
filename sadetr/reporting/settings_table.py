"""Table 9: the settings that runs were trained with, cell by cell beside the paper's."""

import csv
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sadetr.configuration import ScaleSettings
from sadetr.disguise import CSV, disguise
from sadetr.errors import ResultsError, SettingsError
from sadetr.experiments import Experiment, Row, run_settings
from sadetr.layering import find
from sadetr.layout import RunFolder
from sadetr.reporting.grids import Grid
from sadetr.reporting.metrics import ScaleResults
from sadetr.reporting.requirements import only_run

STREAMS = {"slowfast": "SF", "clip": "C", "vgg": "VGG"}
"""Name of a video stream -> the paper's abbreviation."""
TEXTS = {"clip": "CLIP", "glove": "GloVe"}
"""First word of a token folder or a file of word vectors -> the paper's name."""


def _at(*path: str) -> Callable[[dict[str, Any]], float]:
    def read(settings: dict[str, Any]) -> float:
        value: Any = settings
        for key in path:
            value = value[key]
        return float(value)

    return read


def _video(settings: dict[str, Any]) -> str:
    names = [stream["name"] for stream in settings["dataset"]["video_streams"]]
    return "+".join(STREAMS.get(name, name) for name in names)


def _text(settings: dict[str, Any]) -> str:
    stream = settings["dataset"]["text_stream"]
    source = stream["file"] if stream["kind"] == "words" else stream["directory"]
    word = source.replace(".", "_").partition("_")[0]
    return TEXTS.get(word, word)


def _sigma_n(settings: dict[str, Any]) -> float:
    noise = settings["model"]["dn"]
    return noise["sigma_p"] + noise["margin_start"]


COLUMNS: dict[str, Callable[[dict[str, Any]], str | float]] = {
    "Vid": _video,
    "Txt": _text,
    "BS": _at("training", "batch_size"),
    "Epoch": _at("training", "epochs"),
    "LR": _at("training", "learning_rate"),
    "N_q": _at("model", "num_moment_queries"),
    "N_n": _at("model", "dn", "groups"),
    "N_s": _at("model", "enhance", "samples"),
    "α": _at("model", "gauss", "alpha"),
    "σ_p": _at("model", "dn", "sigma_p"),
    "σ_n": _sigma_n,
    "λ_L1": _at("model", "loss", "l1"),
    "λ_gIoU": _at("model", "loss", "giou"),
    "w_q": _at("model", "loss", "matched_quality"),
    "δ_q": _at("model", "loss", "quality_margin"),
    "λ_A": _at("model", "loss", "align"),
    "λ_S": _at("model", "loss", "saliency"),
    "λ_M": _at("model", "loss", "moment"),
    "λ_Q": _at("model", "loss", "quality"),
}
"""The paper's column -> how it is read from the resolved settings of a run."""


@dataclass(frozen=True)
class SettingsRow:
    """One benchmark: ours and the paper's by column, as text; ``source`` is "run" or "planned"."""

    key: str
    label: str
    source: str
    ours: dict[str, str]
    paper: dict[str, str]
    note: str

    def equal(self, column: str) -> bool:
        """Whether ours is the paper's: as numbers where both are some."""
        ours, paper = self.ours[column], self.paper[column]
        try:
            return math.isclose(float(ours), float(paper), rel_tol=1e-9)
        except ValueError:
            return ours == paper


def settings_rows(
    experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper_file: Path
) -> Iterator[SettingsRow]:
    """Ours beside the paper's for every row of the experiment.

    Raises:
        SettingsError: the paper's file lacks a row or column.
        ResultsError: a run's settings are unreadable.
    """
    paper = _load_paper(paper_file)
    for row in experiment.rows:
        key = _paper_key(row, paper, paper_file)
        settings, source = _used(row, scale, results)
        ours = {column: _printed(read(settings)) for column, read in COLUMNS.items()}
        label = " ".join(row.labels.values())
        yield SettingsRow(row.key, label, source, ours, paper[key], paper[key]["note"])


def check_settings(experiment: Experiment, scale: ScaleSettings) -> None:
    """Refuse what :func:`settings_rows` could not show.

    Raises:
        SettingsError: the paper's file lacks a row or column, a row has not one run, or its method lacks a setting.
    """
    paper_file = find("paper", f"{experiment.name}.csv")
    paper = _load_paper(paper_file)
    for row in experiment.rows:
        _paper_key(row, paper, paper_file)
        settings = run_settings(run := only_run(experiment, row), scale.reference).model_dump(mode="json")
        for column, read in COLUMNS.items():
            try:
                read(settings)
            except (KeyError, TypeError, ValueError):
                place = f"{find('experiments', f'{experiment.name}.yaml')}: row {row.key!r}"
                raise SettingsError(
                    f"{place}: method {run.method!r} has no setting for the column {column!r} of layout 'settings'; "
                    "leave the row out"
                ) from None


def _paper_key(row: Row, paper: dict[str, dict[str, str]], paper_file: Path) -> str:
    key = row.paper or row.key
    if key not in paper:
        raise SettingsError(f"{paper_file}: no row {key!r}; rows here: {', '.join(paper)}")
    return key


def _used(row: Row, scale: ScaleSettings, results: ScaleResults) -> tuple[dict[str, Any], str]:
    """What the run wrote down; where it is not there, what it would be trained with."""
    (run,) = row.runs
    path = RunFolder(results.folder / "runs" / run.folder).config
    if not path.exists():
        return run_settings(run, scale.reference).model_dump(mode="json"), "planned"
    try:
        settings = json.loads(path.read_text(encoding="utf-8"))
        for read in COLUMNS.values():
            read(settings)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(
            f"{path}: not the settings of a run ({error!r}). Delete the folder and train again."
        ) from error
    return settings, "run"


def _load_paper(path: Path) -> dict[str, dict[str, str]]:
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != ["row", *COLUMNS, "note"]:
                raise SettingsError(f"{path}: the first line must be {','.join(['row', *COLUMNS, 'note'])!r}")
            return {record["row"]: record for record in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: {disguise(path, CSV) or f'cannot be read ({error})'}") from error


def _printed(value: str | float) -> str:
    """Numbers as the paper prints them: 1e-4, 0.2, 10."""
    if isinstance(value, str):
        return value
    if value == 0 or abs(value) >= 1e-2:
        return f"{value:.10g}"
    mantissa, _, exponent = f"{value:.6e}".partition("e")
    return f"{mantissa.rstrip('0').rstrip('.')}e{int(exponent)}"


def settings_table(experiment: Experiment, scale: ScaleSettings, results: ScaleResults, paper_file: Path) -> Grid:
    """Table 9 as a grid.

    Raises:
        As :func:`settings_rows`.
    """
    rows = list(settings_rows(experiment, scale, results, paper_file))
    differing = sum(not row.equal(column) for row in rows for column in COLUMNS)
    header = ("row", *(name for column in COLUMNS for name in (column, f"{column}_paper", f"{column}_equal")))
    return Grid(
        name=experiment.name,
        caption=experiment.caption,
        number=experiment.number,
        banner=scale.label,
        header=(*experiment.label_columns, "from", *COLUMNS),
        rows=tuple((row.label, row.source, *(_cell(row, column) for column in COLUMNS)) for row in rows),
        remarks=_remarks(rows, differing, scale),
        records=((*header, "source", "note", "comparability"), *(_record(row, scale) for row in rows)),
    )


def _cell(row: SettingsRow, column: str) -> str:
    ours = row.ours[column]
    return f"= {ours}" if row.equal(column) else f"{ours} ≠ {row.paper[column]}"


def _record(row: SettingsRow, scale: ScaleSettings) -> tuple[str, ...]:
    cells = [(row.ours[column], row.paper[column], "yes" if row.equal(column) else "no") for column in COLUMNS]
    flat = (text for cell in cells for text in cell)
    return (row.key, *flat, row.source, row.note, scale.label or "comparable")


def _remarks(rows: list[SettingsRow], differing: int, scale: ScaleSettings) -> tuple[str, ...]:
    total = len(rows) * len(COLUMNS)
    count = f"{total - differing} of {total} cells are equal."
    if differing and not scale.comparable:
        count += f" The scale {scale.name!r} departs from the paper's settings on purpose."
    remarks = [f"= a: ours and the paper's; a ≠ b: ours is a, the paper's is b. {count}"]
    if any(row.source == "planned" for row in rows):
        remarks.append("planned: there is no run yet, the settings are those it would be trained with.")
    return (*remarks, *(f"{row.label} ({row.paper['Vid']}): {row.note}" for row in rows if row.note))
