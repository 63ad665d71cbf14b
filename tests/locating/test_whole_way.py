"""From videos and sentences to moments: every command once, with networks of random weights that make the features.

CLIP's stream alone: a small SlowFast still takes a second per clip.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from sadetr.cli.options import app
from sadetr.configuration import load_scale, resolve_dataset
from sadetr.data.annotations import read_annotations
from sadetr.evaluation.moment_retrieval import pairwise_iou
from tests.locating.conftest import RUN, write_scale
from tests.locating.corpus import SECONDS, Event, sentence, write_corpus, write_events
from tests.training.conftest import own_torch_state


def sadetr(*words: object) -> None:
    with own_torch_state():
        done = CliRunner().invoke(app, [*map(str, words)])
    assert done.exit_code == 0, (done.output, done.exception)


@pytest.fixture(scope="module")
def folder(tmp_path_factory, weights) -> Path:
    """A trained network and what it was trained on: ``data/``, ``results/``, ``own.yaml``; not to be changed."""
    folder = tmp_path_factory.mktemp("whole_way")
    annotations = folder / "data/annotations/qvhighlights"
    rows = write_corpus(folder / "videos", annotations, {"train": 40, "val": 6, "test": 6})
    (folder / "rows.json").write_text(json.dumps([[vid, *vars(event).values()] for vid, event in rows["test"]]))
    scale = folder / "own.yaml"
    write_scale(scale, SECONDS // 2, others="")
    given = ("--setting", RUN.setting, "--scale", scale, "--data-root", folder / "data")
    sadetr("extract", *given, "--videos", folder / "videos", "--device", "cpu", *weight_options(weights))
    sadetr("prepare", *given, "--results", folder / "results")
    sadetr("train", "--run", RUN, *given[2:], "--results", folder / "results")
    return folder


def weight_options(weights: Path) -> tuple[object, ...]:
    return ("--clip-weights", weights / "clip.pt", "--bpe", weights / "words.txt.gz", "--other-weights")


def located(folder: Path, weights: Path, video: Path, *words: object) -> list[dict]:
    out = folder / "found.json"
    where = ("--scale", folder / "own.yaml", "--results", folder / "results", "--device", "cpu")
    sadetr("locate", video, *words, "--run", RUN, *where, "--json", out, *weight_options(weights))
    return json.loads(out.read_text())["results"]


def overlap(answer: dict, event: Event) -> float:
    best = answer["windows"][0]
    return float(pairwise_iou(np.array([best["start"], best["end"]]), np.array([event.start, event.end], float)))


def test_events_are_found_in_videos_that_were_not_trained_on(folder, weights):
    events = [(vid, Event(*event)) for vid, *event in json.loads((folder / "rows.json").read_text())]
    ious = []
    for vid in dict.fromkeys(vid for vid, _ in events):
        shown = [event for other, event in events if other == vid]
        queries = folder / "sentences.txt"
        queries.write_text("".join(f"{sentence(event)}\n" for event in shown))
        answers = located(folder, weights, folder / "videos" / f"{vid}.mp4", "--queries", queries)
        ious += [overlap(answer, event) for answer, event in zip(answers, shown, strict=True)]
    assert len(ious) == 12
    # By chance it would be a third of them: two events of which one is meant, and a place for either.
    assert np.mean(np.array(ious) > 0.5) >= 0.75


def test_an_event_far_behind_the_longest_trained_video_is_found(folder, weights):
    events = [Event("red", 4, 10), Event("blue", 60, 66)]
    video = write_events(folder / "long.mp4", events, np.random.default_rng(3), seconds=3 * SECONDS)
    for event in events:
        (answer,) = located(folder, weights, video, sentence(event))
        assert overlap(answer, event) > 0.5
        saliency = np.array(answer["saliency"])
        inside = slice(event.start // 2, event.end // 2)
        assert saliency[inside].mean() > np.delete(saliency, inside).mean()


def test_the_readmes_scale_file_is_one(tmp_path):
    readme = (Path(__file__).parents[2] / "README.md").read_text(encoding="utf-8")
    section = readme.split("### On a video of your own")[1].split("\n## ")[0]
    (text,) = re.findall(r"```yaml\n(.*?)```", section, re.S)
    (tmp_path / "own.yaml").write_text(text)
    dataset = resolve_dataset("qvhighlights", str(tmp_path / "own.yaml"))
    assert set(dataset.annotations.values()) == {"train.jsonl", "val.jsonl", "test.jsonl"}
    assert not dataset.needs_clip_labels
    assert load_scale(str(tmp_path / "own.yaml")).data == "official"
    (row,) = re.findall(r"```json\n(.*?)```", section, re.S)
    (tmp_path / "train.jsonl").write_text(row)
    (query,) = read_annotations(tmp_path / "train.jsonl", dataset.annotation_rules)
    assert query.windows.tolist() == [[10, 24]]
