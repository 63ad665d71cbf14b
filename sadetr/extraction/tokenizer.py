"""CLIP's byte-pair encoding (openai/CLIP), from the vocabulary file that its authors published.

The file, compressed, has one merge of two symbols per line behind a first line that says its version.
"""

import functools
import gzip
import html
import itertools
import zlib
from collections.abc import Iterable
from pathlib import Path

from sadetr.errors import DataError, SettingsError

MERGES = 49_152 - 256 - 2
"""Merges of the file that CLIP uses; the file has more."""
END_OF_WORD = "</w>"
PATTERN = r"'s|'t|'re|'ve|'m|'ll|'d|\p{L}+|\p{N}|[^\s\p{L}\p{N}]+"
"""What merges never reach across: contractions, words, single digits, other signs."""


class Tokenizer:
    """Sentences to numbers of tokens."""

    def __init__(self, merges: Iterable[tuple[str, str]]):
        self._ranks = {pair: rank for rank, pair in enumerate(merges)}
        letters = list(_spelling().values())
        symbols = [*letters, *(letter + END_OF_WORD for letter in letters), *map("".join, self._ranks)]
        self._numbers = {symbol: number for number, symbol in enumerate(symbols)}
        self.begin = len(symbols)
        """Number of the token before a sentence."""
        self.end = len(symbols) + 1
        """Number of the token behind a sentence."""
        self._merged = functools.lru_cache(1 << 16)(self._merge)
        self._fix, self._split = _libraries()

    @classmethod
    def read(cls, file: Path) -> "Tokenizer":
        """The published vocabulary.

        Raises:
            DataError: the file is not there, damaged or another one.
        """
        try:
            with gzip.open(file, "rt", encoding="utf-8") as lines:
                following = [tuple(line.split()) for line in lines.read().split("\n")[1 : MERGES + 1]]
        except (OSError, EOFError, ValueError, zlib.error) as error:
            raise DataError(f"{file}: cannot be read as CLIP's vocabulary ({error}); download it again.") from error
        merges = [pair for pair in following if pair]
        if not merges or any(len(pair) != 2 for pair in merges):
            raise DataError(f"{file}: is not CLIP's vocabulary: its lines hold other than two symbols each.")
        return cls(merges)

    def __len__(self) -> int:
        """Tokens that there are."""
        return self.end + 1

    def __call__(self, sentence: str, most: int) -> list[int]:
        """Numbers of the begin token, the sentence's first tokens and the end token, ``most`` of them altogether.

        As in Moment-DETR and UniVTG; OpenAI's own tokenizer refuses longer sentences instead of cutting them.
        """
        text = self.clean(sentence)
        numbers = [number for part in self._split(text) for number in self._merged(part)]
        return [self.begin, *numbers[: most - 2], self.end]

    def clean(self, sentence: str) -> str:
        """Lower case, with mended encoding, without HTML entities and repeated blanks."""
        mended = html.unescape(html.unescape(self._fix(sentence))).strip()
        return " ".join(mended.split()).lower()

    def _merge(self, part: str) -> tuple[int, ...]:
        """Numbers of what the merges make of a part, the earliest merge of the file first."""
        spelling = _spelling()
        symbols = [spelling[byte] for byte in part.encode("utf-8")]
        symbols[-1] += END_OF_WORD
        while len(symbols) > 1:
            pairs = set(itertools.pairwise(symbols))
            best = min(pairs, key=lambda pair: self._ranks.get(pair, len(self._ranks)))
            if best not in self._ranks:
                break
            symbols = _joined(symbols, best)
        return tuple(self._numbers[symbol] for symbol in symbols)


def _joined(symbols: list[str], pair: tuple[str, str]) -> list[str]:
    """``symbols`` with every occurrence of ``pair``, from the left, as one."""
    joined: list[str] = []
    place = 0
    while place < len(symbols):
        step = 2 if tuple(symbols[place : place + 2]) == pair else 1
        joined.append("".join(symbols[place : place + step]))
        place += step
    return joined


@functools.cache
def _spelling() -> dict[int, str]:
    """Byte -> the letter that stands for it, in the order of the vocabulary: printable ones for themselves first."""
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + place) for place, byte in enumerate(others)}


def _libraries():
    """What mends text, and what splits it by classes of Unicode.

    Raises:
        SettingsError: a library is not installed.
    """
    try:
        import ftfy
        import regex
    except ImportError as error:
        raise SettingsError(
            f"CLIP's tokenizer needs {error.name}, of the optional extra 'extract': pip install ftfy regex"
        ) from error
    return ftfy.fix_text, regex.compile(PATTERN, regex.IGNORECASE).findall
