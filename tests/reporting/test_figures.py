"""Figure 5: its data, its words, and bytes that depend on the data alone."""

from dataclasses import replace

import pytest

from sadetr.errors import ResultsError
from sadetr.experiments import Experiment, PublishedLog, Row
from sadetr.reporting.figures import absent_logs, convergence_data, convergence_figure, write_figure
from sadetr.reporting.scores import ScaleResults

from .conftest import GENERATED, run_id


@pytest.fixture
def curves() -> Experiment:
    return Experiment(
        name="figure5",
        kind="figure",
        number=5,
        layout="convergence",
        title="Convergence",
        split="val",
        checkpoint="best",
        metrics=("mAP",),
        label_columns=("Curve",),
        rows=(
            Row("full", {"Curve": "SA-DETR"}, (run_id("full", 0), run_id("full", 1)), "best", "full"),
            Row("plain", {"Curve": "SA-DETR w/o denoise"}, (run_id("plain"),), "best", "plain"),
        ),
        note="",
    )


@pytest.fixture
def both(write_run):
    def write(scale):
        write_run(run_id("full", 0), scale, {"mAP": 30.0}, [10.0, None, 30.0])
        write_run(run_id("full", 1), scale, {"mAP": 40.0}, [20.0, None, 40.0])
        write_run(run_id("plain"), scale, {"mAP": 20.0}, [5.0, None, 20.0])

    return write


def test_data_leaves_out_epochs_without_validation(generated, curves, results, both):
    both(generated)
    data = convergence_data(curves, results(generated))
    assert sorted(set(data["epoch"])) == [1, 3]
    assert data.groupby("curve")["mAP"].mean().to_dict() == {"SA-DETR": 25.0, "SA-DETR w/o denoise": 12.5}


@pytest.fixture
def draw(tmp_path):
    """The figure, and the words of its legend; published logs lie below ``tmp_path``."""

    def draw(experiment, scale):
        figure = convergence_figure(experiment, scale, ScaleResults(tmp_path, scale, tmp_path))
        return figure.axes[0], [text.get_text() for text in figure.legends[0].get_texts()]

    return draw


def lines_of(axes):
    """Drawn curves, without the dots and the legend's empty lines."""
    return [line for line in axes.get_lines() if len(line.get_xdata()) > 1]


def test_words_and_styles(generated, official, curves, draw, both):
    both(generated)
    axes, words = draw(curves, generated)
    assert axes.get_title() == GENERATED
    assert words == ["SA-DETR", "SA-DETR w/o denoise", "best epoch"]
    lines = lines_of(axes)
    assert [list(line.get_ydata()) for line in lines] == [[15.0, 35.0], [5.0, 20.0]]
    assert lines[0].is_dashed() != lines[1].is_dashed()
    assert lines[0].get_color() != lines[1].get_color()
    both(official)
    assert draw(curves, official)[0].get_title() == ""


def test_missing_runs(generated, curves, draw, write_run):
    with pytest.raises(ResultsError, match="no run of figure5 has a history"):
        draw(curves, generated)
    write_run(run_id("plain"), generated, {"mAP": 20.0}, [5.0, 20.0])
    assert draw(curves, generated)[1][0] == "SA-DETR (not run)"


@pytest.fixture
def with_logs(curves) -> Experiment:
    logs = [
        Row(name, {"Curve": name}, (), "best", None, published_log=PublishedLog("qvhighlights", name)) for name in "AB"
    ]
    return replace(curves, rows=(*curves.rows, *logs))


@pytest.fixture
def publish(tmp_path):
    def write(text):
        folder = tmp_path / "released_predictions/qvhighlights"
        folder.mkdir(parents=True)
        (folder / "convergence.csv").write_text("method,source_file,epoch,R1@0.5,mAP\n" + text)

    return write


def test_published_logs_are_dashed_and_named(official, with_logs, draw, both, publish):
    both(official)
    publish("A,a.txt,10,50,30.5\nA,a.txt,5,40,20\nC,c.txt,5,1,2\n")
    axes, words = draw(with_logs, official)
    assert words == ["SA-DETR", "SA-DETR w/o denoise", "A, published log", "best epoch"]
    log = lines_of(axes)[-1]
    assert (list(log.get_xdata()), list(log.get_ydata())) == ([5, 10], [20.0, 30.5])
    assert log.is_dashed()


def test_published_logs_alone_make_a_figure(official, with_logs, draw, publish):
    publish("A,a.txt,5,40,20\nB,b.txt,5,40,21\n")
    _, words = draw(with_logs, official)
    assert words[:2] == ["SA-DETR (not run)", "SA-DETR w/o denoise (not run)"]
    assert words[2:] == ["A, published log", "B, published log", "best epoch"]


def test_colours_do_not_depend_on_which_logs_are_there(tmp_path, official, with_logs, draw, both, publish):
    both(official)
    without = [line.get_color() for line in lines_of(draw(with_logs, official)[0])]
    publish("B,b.txt,5,40,21\nB,b.txt,10,40,22\n")
    *ours, log = [line.get_color() for line in lines_of(draw(with_logs, official)[0])]
    assert ours == without
    assert log not in ours
    source = ScaleResults(tmp_path, official, tmp_path)
    assert absent_logs(with_logs, source) == ["A"]


def test_generated_queries_have_no_published_logs(generated, with_logs, draw, both, publish):
    both(generated)
    publish("A,a.txt,5,40,20\n")
    assert draw(with_logs, generated)[1] == ["SA-DETR", "SA-DETR w/o denoise", "best epoch"]


def test_files_are_stable_and_without_dates(tmp_path, generated, curves, results, both):
    both(generated)
    for name in ("one", "two"):
        paths = write_figure(convergence_figure(curves, generated, results(generated)), tmp_path / name, "figure5")
        assert [path.name for path in paths] == ["figure5.pdf", "figure5.svg", "figure5.png"]
    for path in paths:
        content = path.read_bytes()
        assert content == (tmp_path / "one" / path.name).read_bytes()
        assert not any(word in content for word in (b"CreationDate", b"<dc:date>", b"Software"))
    assert len(list(tmp_path.glob("*/.*"))) == 0
