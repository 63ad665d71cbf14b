"""Columns of Table 9: how each is read from a run's settings, and what the paper says there."""

import csv
from collections.abc import Callable
from pathlib import Path
from typing import Any

from sadetr.disguise import CSV, disguise
from sadetr.errors import SettingsError
from sadetr.experiments import Row

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
    source = stream["directory"] if stream["kind"] == "files" else stream["file"]
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


def load_paper_settings(path: Path) -> dict[str, dict[str, str]]:
    """Read the paper's settings: row -> column -> text.

    Raises:
        SettingsError: the file cannot be read, or has other columns.
    """
    try:
        with open(path, encoding="utf-8", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if reader.fieldnames != ["row", *COLUMNS, "note"]:
                raise SettingsError(f"{path}: the first line must be {','.join(['row', *COLUMNS, 'note'])!r}")
            return {record["row"]: record for record in reader}
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise SettingsError(f"{path}: {disguise(path, CSV) or f'cannot be read ({error})'}") from error


def paper_key(row: Row, paper: dict[str, dict[str, str]], paper_file: Path) -> str:
    """The row of the paper's settings that a row stands beside.

    Raises:
        SettingsError: there is none.
    """
    key = row.paper or row.key
    if key not in paper:
        raise SettingsError(f"{paper_file}: no row {key!r}; rows here: {', '.join(paper)}")
    return key
