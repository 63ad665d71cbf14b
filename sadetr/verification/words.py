"""Checks of a text file of word vectors: its content, and how much of the queries' vocabulary it covers."""

import hashlib
from collections import Counter
from pathlib import Path

from sadetr.data.sources import Sources
from sadetr.data.words import bare_word, count_numbers, parse_vector, split_line
from sadetr.disguise import TEXT, disguise
from sadetr.errors import DataError
from sadetr.settings import DatasetSettings, WordVectors
from sadetr.verification.annotations import Annotations
from sadetr.verification.features import where_from
from sadetr.verification.findings import Place, Report

MOST_UNKNOWN = 0.05
"""Share of unknown tokens beyond which something is wrong with the file or the tokens."""


def check_words(
    report: Report,
    dataset: DatasetSettings,
    stream: WordVectors,
    root: Path,
    annotations: Annotations,
    sources: Sources | None,
    headers_only: bool,
) -> None:
    """Check that the file is there, has the right width on every line and knows the queries' words.

    With ``headers_only`` only its presence and first line are looked at.
    """
    place = f"features/{dataset.name}/{stream.file}"
    source = where_from(dataset, sources, stream.file)
    path = root / place
    found = disguise(path, TEXT)
    if found is not None:
        report.add("error", f"file of word vectors {found.fault}", f"To mend: {found.remedy}.", [place], source)
        return
    if not path.is_file():
        remedy = f"Put it there, or run {report.refill}."
        report.add("error", "file of word vectors is missing", remedy, [place], source)
        return
    tokens = Counter(token for query in annotations.queries for token in query.query.lower().split())
    wanted = set(tokens) | {bare_word(token) for token in tokens}
    known, lines, faults = _read(path, place, stream.width, wanted, headers_only)
    if faults:
        what = f"word vectors are not {stream.width} finite numbers after each word ({len(faults):,} lines)"
        report.add("error", what, "Unpack the file again, or correct text_stream.width.", faults, source)
    if headers_only:
        report.checked.append("word vectors: presence and first line")
        report.skipped.append("word vectors: the other lines, coverage of the queries' words and checksum (--quick)")
        return
    report.checked.append(f"word vectors: {lines:,} lines; {_check_coverage(report, stream, place, tokens, known)}")
    _check_content(report, path, place, stream, sources)


def _read(path: Path, place: str, width: int, wanted: set[str], first_only: bool) -> tuple[set[str], int, list[Place]]:
    """The wanted words that the file has, its number of lines, and the lines that are malformed."""
    known: set[str] = set()
    faults: list[Place] = []
    number = 0
    with open(path, "rb") as content:
        for number, line in enumerate(content, 1):
            first, numbers = split_line(line, width) or (line.partition(b" ")[0], None)
            word = first.decode("utf-8", "replace")
            if numbers is None:
                faults.append(Place(place, number, f"{count_numbers(line)} numbers after {word[:20]!r}"))
            elif word in wanted:
                known.add(word)
                try:
                    parse_vector(path, number, numbers)
                except DataError:
                    faults.append(Place(place, number, f"not finite numbers after {word[:20]!r}"))
            if first_only:
                break
    if number == 0:
        faults.append(Place(place, None, "the file is empty"))
    return known, number, faults


def _check_coverage(report: Report, stream: WordVectors, place: str, tokens: Counter[str], known: set[str]) -> str:
    """Report unknown tokens; returns the shares with and without punctuation as a phrase."""
    total = max(1, tokens.total())
    bare = Counter({token: count for token, count in tokens.items() if bare_word(token) not in known})
    plain = Counter({token: count for token, count in tokens.items() if token not in known})
    shares = {True: bare.total() / total, False: plain.total() / total}
    unknown, share = (bare if stream.strip_punctuation else plain), shares[stream.strip_punctuation]
    if share > MOST_UNKNOWN:
        what = f"{share:.1%} of the queries' tokens have no word vector and become zero vectors"
        remedy = "Use other word vectors, or set text_stream.strip_punctuation."
        places = [Place(place, None, f"{token!r} ({count} times)") for token, count in unknown.most_common(20)]
        report.add("warning", what, remedy, places)
    return f"unknown tokens {shares[True]:.2%} without punctuation, {shares[False]:.2%} with"


def _check_content(report: Report, path: Path, place: str, stream: WordVectors, sources: Sources | None) -> None:
    expected = sources.word_vectors.get(stream.file) if sources else None
    if expected is None:
        return
    with open(path, "rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != expected:
        detail = Place(place, None, f"sha256 {found}, official {expected}")
        report.add("warning", "file of word vectors is not the official one", "Unpack the archive again.", [detail])
