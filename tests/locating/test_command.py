"""``python -m sadetr locate``: what it prints, writes and refuses."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.errors import DataError, SadetrError, SettingsError
from sadetr.locating.report import BARS, clock, curve
from sadetr.locating.sentences import read_sentences
from tests.locating.conftest import RUN, Studio


def invoke(studio: Studio, *words: object, run: bool = True):
    weights = {"clip-weights": "clip.pt", "slowfast-weights": "slowfast.pkl", "bpe": "words.txt.gz"}
    options = [part for name, file in weights.items() for part in (f"--{name}", studio.weights / file)]
    options += ["--other-weights", "--device", "cpu", "--scale", studio.scale, "--results", studio.results]
    options += ["--cache", studio.cache, *(["--run", RUN] if run else [])]
    return CliRunner().invoke(app, ["locate", *map(str, words), *map(str, options)])


def test_several_videos_and_sentences_go_to_every_output(studio, predictor, tmp_path):
    sentences = tmp_path / "sentences.txt"
    sentences.write_text("the red thing\n\n the [cat] in blue \n")
    picture, numbers = tmp_path / "found.png", tmp_path / "out" / "found.json"
    done = invoke(
        studio, studio.short, studio.long, "--queries", sentences, "--json", numbers, "--picture", picture, "--top", 2
    )
    assert done.exit_code == 0, done.output
    content = json.loads(numbers.read_text())
    expected = [
        located.as_json()
        for video in (studio.short, studio.long)
        for located in predictor.locate(video, ["the red thing", "the [cat] in blue"])
    ]
    assert content["results"] == expected
    assert content["data"].startswith("coloured shapes")
    assert content["network"] == f"{RUN} (best)"
    text = done.stdout
    assert "\x1b" not in text
    assert text.count("saliency  0:00 ") == 4
    assert f"{studio.long} (15.0 s): “the [cat] in blue”" in text
    for answer in expected:
        best = answer["windows"][0]
        assert f"{best['start']:.1f}" in text
        assert f"{best['score']:.4f}" in text
    ranks = [line.split()[0] for line in text.splitlines() if line.split()[:1] in (["1"], ["2"], ["3"])]
    assert ranks == ["1", "2"] * 4
    with Image.open(picture) as image:
        colours = np.asarray(image.convert("RGB")).astype(int)
    assert colours.shape[0] > colours.shape[1]
    # Frames are in it: the disc of the short video's event.
    red = ((colours[..., 0] > 150) & (colours[..., 1:] < 90).all(-1)).sum()
    assert red > 2000


@pytest.mark.parametrize("suffix", ["svg", "pdf"])
def test_pictures_have_the_format_of_their_name(studio, predictor, suffix, tmp_path):
    file = tmp_path / f"found.{suffix}"
    done = invoke(studio, studio.short, "the $red_ thing", "--picture", file)
    assert done.exit_code == 0, done.output
    assert file.read_bytes()[:5] in (b"<?xml", b"%PDF-")


def test_a_broken_video_stops_no_other(studio, tmp_path):
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video\n" * 50)
    done = invoke(studio, broken, studio.short, "the red thing", "--json", tmp_path / "found.json")
    assert isinstance(done.exception, DataError)
    assert str(done.exception) == "1 of 2 videos could not be searched."
    assert done.stderr.count("error: ") == 1
    assert f"error: {broken}: " in done.stderr
    (result,) = json.loads((tmp_path / "found.json").read_text())["results"]
    assert result["video"] == str(studio.short)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("{short}",), 'VIDEO... "sentence"'),
        (("{short}", "{long}"), r"long\.mp4: is a file, where the sentence should stand"),
        (("{short}", " "), "the sentence is blank"),
        (("{short}", "the", "--picture", "found.gif"), r"must end in \.pdf, \.svg, \.png"),
        (("{short}", "the", "--checkpoint", "none"), "beside --run it is one of best, last"),
        (("{short}", "the", "--setting", "tacos"), "--setting does nothing here"),
        (("{short}", "--queries", "{folder}/none.txt"), r"none\.txt: no such file"),
    ],
)
def test_a_mistake_is_one_message(studio, words, message):
    places = {"short": studio.short, "long": studio.long, "folder": studio.folder}
    done = invoke(studio, *(word.format(**places) for word in words))
    assert isinstance(done.exception, SadetrError)
    with pytest.raises(SadetrError, match=message):
        raise done.exception


def test_nobody_to_answer(studio):
    done = invoke(studio, studio.short, "the", run=False)
    assert isinstance(done.exception, SettingsError)
    assert "--run RUN, or --checkpoint FILE --setting S" in str(done.exception)


class TestSentences:
    def test_rows_of_annotations(self, tmp_path):
        file = tmp_path / "val.jsonl"
        file.write_text('{"qid": 1, "query": "a cat", "vid": "x"}\n\n{"query": "a king"}\n')
        assert read_sentences(file) == ["a cat", "a king"]

    @pytest.mark.parametrize(
        ("row", "message"),
        [
            ("{}", "line 1: field 'query' is missing"),
            ('{"query": " "}', "line 1: field 'query' is blank"),
            ("a", "JSON"),
        ],
    )
    def test_rows_without_a_sentence(self, row, message, tmp_path):
        (tmp_path / "val.jsonl").write_text(f"{row}\n")
        with pytest.raises(DataError, match=message):
            read_sentences(tmp_path / "val.jsonl")

    def test_an_empty_file(self, tmp_path):
        (tmp_path / "none.txt").write_text(" \n")
        with pytest.raises(DataError, match="the file is empty"):
            read_sentences(tmp_path / "none.txt")


class TestReport:
    def test_times_are_those_of_players(self):
        assert [clock(seconds) for seconds in (0, 59.9, 61, 3600 + 62)] == ["0:00", "0:59", "1:01", "1:01:02"]

    def test_a_curve_shows_where_it_is_high(self):
        values = np.zeros(600)
        values[300:310] = 4.0
        line = curve(values)
        assert len(line) == 60
        assert [place for place, bar in enumerate(line) if bar == BARS[-1]] == [30]
        assert curve(np.ones(3)) == BARS[0] * 3
