"""What the command ``locate`` does."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.markup import escape

from sadetr.errors import DataError, SettingsError
from sadetr.locating.picture import check_picture, write_picture
from sadetr.locating.predictor import Predictor, check_sentence
from sadetr.locating.report import make_console, print_located, write_json
from sadetr.locating.result import Located
from sadetr.locating.sentences import read_sentences


@dataclass(frozen=True)
class Question:
    """Which videos are searched for which sentences."""

    videos: tuple[Path, ...]
    sentences: tuple[str, ...]


def question(words: Sequence[str], queries: Path | None, picture: Path | None = None) -> Question:
    """What stands on the command line: videos and, last, the sentence; with a file of sentences, videos alone.

    Raises:
        SettingsError: a video or the sentence is missing; ``picture`` names no format, or would show too much.
        DataError: the file of sentences is not there or malformed; the sentence is blank.
    """
    if queries is not None:
        sentences = tuple(read_sentences(queries))
        videos = words
    else:
        if len(words) < 2:
            raise SettingsError('say where to look and what for: VIDEO... "sentence", or VIDEO... --queries FILE')
        *videos, sentence = words
        if Path(sentence).is_file():
            raise SettingsError(
                f"{sentence}: is a file, where the sentence should stand: the last word is what is sought"
            )
        check_sentence(sentence, "the sentence")
        sentences = (sentence,)
    asked = Question(tuple(dict.fromkeys(map(Path, videos))), sentences)
    if picture is not None:
        check_picture(picture, len(asked.videos) * len(asked.sentences))
    return asked


def locate(predictor: Predictor, asked: Question, top: int, json: Path | None, picture: Path | None) -> list[str]:
    """Print and write the answers; returns what was wrong with videos that have none.

    Raises:
        ResultsError: a file or the cache cannot be written.
    """
    console = make_console()
    results: list[Located] = []
    failed = []
    console.print(predictor.name)
    if predictor.label:
        console.print(predictor.label, style="bold")
    for video in asked.videos:
        try:
            # On a terminal: SlowFast takes seconds per clip on a CPU.
            with Console(stderr=True).status(f"searching {escape(str(video))}"):
                found = predictor.locate(video, asked.sentences)
        except DataError as error:
            # The other videos are searched all the same.
            print(f"error: {error}", file=sys.stderr)
            failed.append(str(error))
            continue
        for warning in found[0].warnings:
            print(f"warning: {video}: {warning}", file=sys.stderr)
        for located in found:
            print_located(console, located, top)
        results += found
    if json is not None:
        write_json(json, results, predictor.name, predictor.label)
    if picture is not None and results:
        write_picture(picture, results, top, predictor.label)
    return failed
