"""CLIP's byte-pair encoding, and where weights and vocabulary come from."""

import errno
import gzip
import hashlib
import importlib.util
import os
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sadetr.errors import DataError, DownloadError, ResultsError, SettingsError
from sadetr.extraction import published
from sadetr.extraction.extractors import SentenceEncoder
from sadetr.extraction.published import Published, obtain
from sadetr.extraction.tokenizer import Tokenizer
from tests.extraction import networks

pytest.importorskip("ftfy", reason="ftfy is not installed (extra 'extract')")
pytest.importorskip("regex", reason="regex is not installed (extra 'extract')")


@pytest.fixture(scope="module")
def tokenizer(tmp_path_factory) -> Tokenizer:
    return Tokenizer.read(networks.write_vocabulary(tmp_path_factory.mktemp("words") / "words.txt.gz"))


def number(tokenizer: Tokenizer, symbol: str) -> int:
    return tokenizer._numbers[symbol]


def spelled(tokenizer: Tokenizer, *symbols: str) -> list[int]:
    return [tokenizer.begin, *(number(tokenizer, symbol) for symbol in symbols), tokenizer.end]


def test_the_outer_tokens_are_the_last_two(tokenizer):
    assert (tokenizer.begin, tokenizer.end, len(tokenizer)) == (520, 521, 522)


def test_merges_are_applied_in_the_order_of_the_file(tokenizer):
    assert tokenizer("the cat", 32) == spelled(tokenizer, "the</w>", "cat</w>")
    # "th" comes before "in", and "ing" ends words only.
    assert tokenizer("thing things", 32) == spelled(tokenizer, "th", "ing</w>", "th", "in", "g", "s</w>")
    assert tokenizer("and", 32) == spelled(tokenizer, "and</w>")
    assert tokenizer("bands", 32) == spelled(tokenizer, "b", "an", "d", "s</w>")


def test_texts_are_cleaned(tokenizer):
    plain = tokenizer("the cat & the cat", 32)
    assert tokenizer("  The\t cat &amp;amp; THE\ncat ", 32) == plain
    assert tokenizer("don't", 32) == spelled(tokenizer, "d", "o", "n</w>", "'", "t</w>")
    assert tokenizer("a12", 32) == spelled(tokenizer, "a</w>", "1</w>", "2</w>")
    # Text that was decoded wrongly once is mended.
    assert tokenizer("cafÃ©", 32) == tokenizer("café", 32)
    assert tokenizer("", 32) == [tokenizer.begin, tokenizer.end]


def test_long_sentences_keep_their_first_tokens(tokenizer):
    whole = tokenizer("the cat " * 50, 200)
    assert len(whole) == 102
    cut = tokenizer("the cat " * 50, 32)
    assert cut == [*whole[:31], tokenizer.end]


@settings(max_examples=50)
@given(text=st.text())
def test_every_text_has_numbers(tokenizer, text):
    found = tokenizer(text, 1000)
    assert (found[0], found[-1]) == (tokenizer.begin, tokenizer.end)
    assert all(0 <= each < tokenizer.begin for each in found[1:-1])


def test_numbers_equal_open_clips():
    found = importlib.util.find_spec("open_clip")
    if found is None:
        pytest.skip("open_clip is not installed")
    folder = Path(found.origin).parent
    spec = importlib.util.spec_from_file_location("their_tokenizer", folder / "tokenizer.py")
    theirs = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(theirs)
    ours = Tokenizer.read(folder / published.VOCABULARY.file)
    assert len(ours) == 49_408
    sentences = [
        "Chef makes pizza and cuts it up.",
        "A man in a  café's kitchen, wearing a t-shirt (size 42) &amp; jeans",
        "naïve señor ran 100m in 9.58s!!! #winning",
        "日本語 и русский 😀 mixed",
        "they'll've don't I'M we're",
        "word " * 30,
    ]
    read = theirs.SimpleTokenizer(clean="lower")
    for sentence in sentences:
        assert ours(sentence, 77)[1:-1] == read.encode(sentence)[:75]
    assert len(ours(sentences[0], 32)) == 10
    checksum = hashlib.sha256((folder / published.VOCABULARY.file).read_bytes()).hexdigest()
    assert checksum == published.VOCABULARY.sha256


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "No such file"),
        (b"no gzip", "cannot be read as CLIP's vocabulary"),
        (gzip.compress(b"x" * 10_000, mtime=0)[:-20], "cannot be read as CLIP's vocabulary"),
        (gzip.compress(b"#version: 0.2\na b c\n", mtime=0), "hold other than two symbols"),
        (gzip.compress(b"", mtime=0), "hold other than two symbols"),
    ],
)
def test_wrong_vocabularies_are_one_error(tmp_path, content, message):
    file = tmp_path / "words.txt.gz"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(DataError, match=message):
        Tokenizer.read(file)


def test_a_sentence_without_a_data_root(tokenizer):
    encoder = SentenceEncoder(networks.text_tower(), tokenizer, torch.device("cpu"))
    both = encoder(["the cat", "thing"])
    assert [(each.tokens.shape, each.tokens.dtype, each.pooled.shape) for each in both] == [
        ((4, 32), np.float16, (32,)),
        ((4, 32), np.float16, (32,)),
    ]
    # Computed for themselves.
    assert np.array_equal(both[1].tokens, encoder(["thing"])[0].tokens)
    assert not np.array_equal(both[0].tokens, both[1].tokens)


def test_vocabulary_and_weights_must_belong_together(tokenizer):
    with pytest.raises(SettingsError, match="the vocabulary has 522 tokens, the weights 600"):
        SentenceEncoder(networks.text_tower(vocabulary=600), tokenizer, torch.device("cpu"))


CONTENT = b"weights"
OFFICIAL = Published("the weights", "w.bin", "http://127.0.0.1:9/w.bin", hashlib.sha256(CONTENT).hexdigest())


def test_a_file_in_the_downloads_is_taken(tmp_path):
    (tmp_path / "w.bin").write_bytes(CONTENT)
    found = obtain(OFFICIAL, None, tmp_path)
    assert (found.path, found.official, found.record["is"]) == (tmp_path / "w.bin", True, "official")


def test_other_files_need_consent_and_are_remarked(tmp_path):
    own = tmp_path / "own.bin"
    own.write_bytes(b"other")
    with pytest.raises(DataError, match=r"own\.bin: is not the weights as published: sha256"):
        obtain(OFFICIAL, own, tmp_path)
    assert obtain(OFFICIAL, own, tmp_path, accept_others=True).record["is"] == "not the official file"


def test_without_a_published_checksum_the_format_tells(tmp_path):
    unknown = Published("SlowFast's weights", "w.pkl", "http://127.0.0.1:9/w.pkl", None)
    for name, remark in (("a.pkl", "no checksum was published"), ("hub.pyth", "not the official file")):
        (tmp_path / name).write_bytes(CONTENT)
        assert obtain(unknown, tmp_path / name, tmp_path).record["is"] == remark


def test_what_cannot_be_fetched_says_where_to_put_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sadetr.data.download.transfer.ATTEMPTS", 1)
    with pytest.raises(DownloadError, match=r"put w\.bin into .*downloads"):
        obtain(OFFICIAL, None, tmp_path / "downloads")


@pytest.mark.parametrize("fault", [errno.EACCES, errno.EROFS, errno.ENOSPC])
@pytest.mark.parametrize("refused", ["mkdir", "open"])
def test_a_folder_that_cannot_keep_what_is_fetched_is_one_error(tmp_path, monkeypatch, fault, refused):
    def refuse(*_: object, **__: object) -> None:
        raise OSError(fault, os.strerror(fault))

    monkeypatch.setattr(Path if refused == "mkdir" else os, refused, refuse)
    with pytest.raises(ResultsError, match=rf"w\.bin: the weights cannot be fetched to there \({os.strerror(fault)}\)"):
        obtain(OFFICIAL, None, tmp_path / "downloads")


def test_downloads_below_a_file_are_one_error(tmp_path):
    (tmp_path / "downloads").write_text("in the way")
    with pytest.raises(ResultsError, match=r"downloads.*cannot be fetched to there.*or name the file"):
        obtain(OFFICIAL, None, tmp_path / "downloads")
