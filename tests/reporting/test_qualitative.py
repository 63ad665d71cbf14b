"""Figure 4: which queries it shows, what it says about them, and bytes that depend on the data alone."""

import json
import shlex
import sys
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from sadetr.data.annotations import Query, write_annotations
from sadetr.errors import DataError, ResultsError, SettingsError
from sadetr.evaluation.moment_retrieval import FULL
from sadetr.evaluation.predictions import SALIENCY, WINDOWS, write_predictions
from sadetr.evaluation.scorer import score
from sadetr.experiments import Experiment, Predictions, Row, RunId
from sadetr.reporting.command import figure_command
from sadetr.reporting.figures import write_figure
from sadetr.reporting.frames import ASPECT, read_frames
from sadetr.reporting.panels import qualitative_figure
from sadetr.reporting.qualitative import default_choice, mean_saliency, panels, scaled
from sadetr.reporting.queries import find_query
from sadetr.reporting.scores import ScaleResults
from sadetr.settings import AnnotationRules

from .conftest import GENERATED, run_id

QUERIES = 9


def query(index: int) -> Query:
    """Query number ``index``: one to five windows, annotated in the first clips of the first window."""
    windows = np.array([[10.0 * k, 10.0 * k + 4] for k in range(1 + index % 5)])
    clips = np.array([0, 1])
    text = "a man in a $5_000 suit walks slowly along a very long road " * (1 + 5 * (index == 4))
    return Query(100 + index, text.strip(), f"v{index}", 50.0, windows, clips, np.array([[4, 4, 4], [0, 2, 4]]))


def prediction(item: Query, shift: float) -> dict:
    """Every ground-truth window moved by ``shift``, then one that is wrong."""
    windows = [[start + shift, end + shift, 0.9] for start, end in item.windows.tolist()]
    saliency = [float(np.sin(clip)) for clip in range(25)]
    row = {"qid": item.qid, "query": item.query, "vid": item.vid, WINDOWS: [*windows, [44.0, 44.0, 0.1]]}
    return row | {SALIENCY: saliency}


@pytest.fixture
def experiment() -> Experiment:
    return Experiment(
        name="figure4",
        kind="figure",
        number=4,
        layout="qualitative",
        title="Qualitative results",
        split="val",
        checkpoint="best",
        metrics=("mIoU",),
        label_columns=("Method",),
        rows=(
            Row("full", {"Method": "SA-DETR"}, (run_id("full"),), "best", None),
            Row("plain", {"Method": "plain"}, (run_id("plain"),), "best", None),
            Row("cg", {"Method": "CG-DETR"}, (), "best", None, rescored=Predictions("qvhighlights", "cg_detr", "val")),
        ),
        note="",
    )


@pytest.fixture
def source(tmp_path):
    """Results of a scale with annotations, and the predictions of both runs."""

    def make(scale, **shifts: list[float]) -> ScaleResults:
        results = ScaleResults(tmp_path, scale, tmp_path / "data")
        queries = [query(index) for index in range(QUERIES)]
        root = results.layout.data_root
        write_annotations(root / "annotations/qvhighlights/highlight_val_release.jsonl", queries)
        for variant, values in shifts.items():
            rows = [prediction(item, shift) for item, shift in zip(queries, values, strict=True)]
            write_predictions(results.layout.run(run_id(variant)).prediction("best", "val"), rows)
        return results

    return make


# Top-1 IoU falls with the shift: 4 s long windows.
SHIFTS = [3.0, 0.0, 1.0, 5.0, 2.0, 0.5, 5.0, 2.5, 1.5]


def test_default_queries_lie_at_fixed_places_of_our_iou(generated, experiment, source):
    shown = panels(experiment, generated, source(generated, full=SHIFTS, plain=SHIFTS[::-1]))
    # Ascending IoU: queries 3 and 6 (0, in file order), 0, 7, 4, 8, 2, 5, 1.
    assert [panel.query.qid for panel in shown] == [102, 104, 103]
    reasons = ["upper quartile IoU of SA-DETR", "median IoU of SA-DETR", "lowest IoU of SA-DETR"]
    assert [panel.reason for panel in shown] == reasons


def test_the_other_predictor_does_not_change_the_choice(generated, experiment, source):
    alone = panels(experiment, generated, source(generated, full=SHIFTS))
    both = panels(experiment, generated, source(generated, full=SHIFTS, plain=[0.0] * QUERIES))
    assert [panel.query.qid for panel in alone] == [panel.query.qid for panel in both]
    assert [panel.predictions[1].windows is None for panel in alone] == [True] * 3


def test_another_method_is_a_predictor_like_any_other(generated, experiment, source):
    """As CG-DETR beside SA-DETR in the paper: its windows, and its saliency in the same video."""
    run = RunId("qvhighlights", "cg_detr", "full", 2018)
    compared = replace(experiment.rows[1], labels={"Method": "CG-DETR"}, runs=(run,))
    experiment = replace(experiment, rows=(experiment.rows[0], compared))
    results = source(generated, full=SHIFTS)
    rows = [prediction(query(index), 1.0) for index in range(QUERIES)]
    for number, row in enumerate(rows):
        row[SALIENCY] = [float(clip == number) for clip in range(25)]
    write_predictions(results.layout.run(run).prediction("best", "val"), rows)
    first, second = panels(experiment, generated, results, ["103"])[0].predictions
    assert (first.label, second.label) == ("SA-DETR", "CG-DETR")
    np.testing.assert_array_equal(second.windows, query(3).windows + 1)
    assert second.saliency.argmax() == 3
    assert not np.array_equal(first.saliency, second.saliency)


def test_one_query_is_shown_once():
    item = query(0)
    assert list(default_choice([prediction(item, 0.0)], [item], "SA-DETR")) == [0]


def test_shown_iou_is_the_scorers(generated, experiment, source):
    shown = panels(experiment, generated, source(generated, full=SHIFTS), [str(100 + i) for i in range(6)])
    queries = [query(index) for index in range(6)]
    rows = [prediction(item, shift) for item, shift in zip(queries, SHIFTS, strict=False)]
    expected = score(rows, queries, highlights=False, clip_length=2.0).moments[FULL].iou
    assert [panel.predictions[0].iou for panel in shown] == pytest.approx(expected, abs=1e-12)


def test_as_many_windows_as_the_ground_truth_has(generated, experiment, source):
    (panel,) = panels(experiment, generated, source(generated, full=SHIFTS), ["103"])
    np.testing.assert_array_equal(panel.predictions[0].windows, query(3).windows + 5)


def test_annotators_mean_and_scaling():
    values = mean_saliency(query(0), 2.0)
    assert len(values) == 25
    assert values[:3].tolist() == [1.0, 0.5, 0.0]
    assert mean_saliency(replace(query(0), saliency=None), 2.0) is None
    assert scaled(np.array([-2.0, 0.0, 2.0])).tolist() == [0.0, 0.5, 1.0]
    assert scaled(np.array([3.0, 3.0])).tolist() == [0.5, 0.5]


def test_published_predictions_are_shown_with_real_data_only(generated, official, experiment, source):
    assert len(panels(experiment, generated, source(generated, full=SHIFTS))[0].predictions) == 2
    results = source(official, full=SHIFTS)
    rows = [prediction(query(index), 0.0) for index in range(QUERIES)]
    write_predictions(results.layout.published / "qvhighlights" / "cg_detr_val.jsonl", rows)
    third = panels(experiment, official, results)[0].predictions[2]
    assert (third.label, third.iou) == ("CG-DETR", 1.0)


@pytest.mark.parametrize(
    ("qids", "message"),
    [
        (["250"], r"no query '250'; the nearest qid is 108\. Valid qids: val: 100 to 108 \(9\)"),
        (["abc"], "no query 'abc'; the nearest qid is"),
        (["101", "101"], "1 to 6 different queries"),
        ([str(100 + index) for index in range(7)], "1 to 6 different queries"),
    ],
    ids=["unknown number", "text", "repeated", "too many"],
)
def test_wrong_qids(generated, experiment, source, qids, message):
    results = source(generated, full=SHIFTS)
    with pytest.raises(SettingsError, match=message):
        panels(experiment, generated, results, qids)


def test_a_missing_run_of_ours(generated, experiment, source):
    with pytest.raises(ResultsError, match="is about SA-DETR"):
        panels(experiment, generated, source(generated, plain=SHIFTS))


def test_find_query_looks_in_every_split(tmp_path):
    files = {"train": tmp_path / "train.jsonl", "val": tmp_path / "val.jsonl"}
    write_annotations(files["train"], [query(0)])
    write_annotations(files["val"], [replace(query(1), qid="x7")])
    assert find_query("100", files, AnnotationRules())[0] == "train"
    split, found = find_query("x7", files, AnnotationRules())
    assert (split, found.vid) == ("val", "v1")
    with pytest.raises(SettingsError, match=r"nearest qid is x7\. Valid qids: train: 100 to 100 \(1\); val: x7 to x7"):
        find_query("x8", files, AnnotationRules())


def texts(figure) -> list[str]:
    from matplotlib.text import Text

    return [item.get_text() for item in figure.findobj(Text)]


def test_words_of_the_figure(generated, experiment, source):
    results = source(generated, full=SHIFTS)
    path = results.layout.run(run_id("full")).prediction("best", "val")
    rows = [json.loads(line) for line in path.read_text().splitlines()]
    rows[1][WINDOWS] = []
    write_predictions(path, rows)
    figure = qualitative_figure(panels(experiment, generated, results, ["101", "104"]), GENERATED)
    words = texts(figure)
    assert GENERATED in words
    assert words.count("not run") == 2
    assert words.count("no window") == 1
    titles = [text for text in words if "qid" in text]
    assert titles[0].startswith("qid 101: “a man in a $5_000 suit")
    assert titles[1].endswith(" …”")
    assert max(len(line) for title in titles for line in title.splitlines()) <= 36


@pytest.mark.parametrize("count", [1, 4])
def test_nothing_leaves_the_page(generated, experiment, source, count):
    shown = panels(experiment, generated, source(generated, full=SHIFTS), [str(104 - i) for i in range(count)])
    figure = qualitative_figure(shown, GENERATED)
    figure.draw_without_rendering()
    box = figure.get_tightbbox()
    assert (box.x0, box.y0) >= (-0.01, -0.01)
    width, height = figure.get_size_inches()
    assert box.x1 <= width + 0.01
    assert box.y1 <= height + 0.01


def frames(folder, vid, count=4, size=(40, 30)):
    (folder / vid).mkdir(parents=True)
    for index in range(count):
        Image.new("RGB", size, (index * 30, 0, 0)).save(folder / vid / f"{index:02}.png")


def test_frames_of_a_folder_are_evenly_spaced_and_cut(tmp_path):
    frames(tmp_path, "v0", count=8)
    found = read_frames(tmp_path, query(0), 4)
    assert [frame[0, 0, 0] for frame in found] == [30, 90, 150, 210]
    height, width, _ = found[0].shape
    assert width == 40
    assert width / height == pytest.approx(ASPECT, rel=0.05)


@pytest.mark.parametrize("case", ["absent", "empty", "broken", "no ffmpeg"])
def test_videos_that_cannot_be_read(tmp_path, monkeypatch, case):
    if case in ("empty", "broken"):
        (tmp_path / "v0").mkdir()
    if case == "broken":
        (tmp_path / "v0/1.jpg").write_bytes(b"no image")
    if case == "no ffmpeg":
        (tmp_path / "v0.mp4").write_bytes(b"")
        monkeypatch.setenv("PATH", "")
    expected = {
        "absent": "neither the folder v0/ with frames nor v0.mp4",
        "empty": "holds no frame",
        "broken": "cannot be read as an image",
        "no ffmpeg": "ffmpeg, which is not on PATH",
    }
    with pytest.raises(DataError, match=expected[case]):
        read_frames(tmp_path, query(0), 2)


def test_a_video_file_is_read_at_the_centres_of_equal_parts(tmp_path, monkeypatch):
    """A stand-in for ffmpeg draws the second that it is asked for."""
    program = tmp_path / "bin/ffmpeg"
    program.parent.mkdir()
    code = "import sys, io; from PIL import Image; out = io.BytesIO(); second = float(sys.argv[4]); "
    code += "Image.new('RGB', (16, 9), (int(second), 0, 0)).save(out, 'PNG'); sys.stdout.buffer.write(out.getvalue())"
    program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -c "{code}" "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(program.parent), prepend=":")
    (tmp_path / "v0.mp4").write_bytes(b"")
    assert [frame[0, 0, 0] for frame in read_frames(tmp_path, query(0), 2)] == [12, 37]


def test_files_are_stable(tmp_path, generated, experiment, source):
    results = source(generated, full=SHIFTS, plain=SHIFTS[::-1])
    frames(tmp_path / "videos", "v2")
    for name in ("one", "two"):
        shown = panels(experiment, generated, results, ["102"])
        paths = write_figure(qualitative_figure(shown, GENERATED, tmp_path / "videos"), tmp_path / name, "figure4")
    for path in paths:
        assert path.read_bytes() == (tmp_path / "one" / path.name).read_bytes()


def test_asked_for_queries_have_a_file_of_their_own(tmp_path, generated, source):
    source(generated, full=SHIFTS, baseline=SHIFTS)
    paths = figure_command("figure4", generated, tmp_path, qids=["103"])
    assert [path.name for path in paths] == [f"figure4_qid103.{suffix}" for suffix in ("pdf", "svg", "png")]
    with pytest.raises(SettingsError, match="figure5 shows no single queries"):
        figure_command("figure5", generated, tmp_path, qids=["103"])
